"""Co-occurrence: norms by their definitions, the Markov chain, and what is kept. The counts themselves: tests/data/test_pairs."""

import math

import numpy as np
import pytest

from shortlist.data.pairs import NORMS, Pairs, normalised
from shortlist.retrieve.cooccurrence import Cooccurrence
from tests.retrieve import slow

TABLE = np.array([[0.0, 3.0, 1.0], [3.0, 0.0, 0.0], [1.0, 0.5, 0.0]])


@pytest.mark.parametrize("norm", NORMS)
def test_norms(norm: str) -> None:
    rows, columns = np.nonzero(TABLE)
    indptr = np.array([0, 2, 3, 5])
    ones = np.ones(5, dtype=np.int32)
    counted = Pairs(indptr, columns.astype(np.int32), TABLE[rows, columns].astype(np.float32), ones)
    total = TABLE.sum()
    wanted = []
    for a, b in zip(rows, columns, strict=True):
        c, ca, cb = TABLE[a, b], TABLE[a].sum(), TABLE[:, b].sum()
        lift = (c / total) / (ca / total * cb / total)
        wanted.append(
            {
                "count": c,
                "conditional": c / ca,
                "cosine": c / math.sqrt(ca * cb),
                "lift": lift,
                "npmi": math.log(lift) / -math.log(c / total),
            }[norm]
        )
    np.testing.assert_allclose(normalised(counted, norm), wanted, rtol=1e-6)


def test_the_only_pair_of_all() -> None:
    counted = Pairs(np.array([0, 1, 1]), np.array([1], np.int32), np.ones(1, np.float32), np.ones(1, np.int32))
    assert normalised(counted, "npmi").tolist() == [1.0]


def test_a_markov_chain() -> None:
    """window 1, ordered, conditional: the share of each next item among all that came next."""
    part = Cooccurrence(window=1, ordered=True, norm="conditional", last=1, least=1, k=1000)
    state = slow.ready(part)
    size = len(slow.small().catalogue.items)
    following = np.zeros((size, size))
    before: dict[int, int] = {}
    for user, item, _ in slow.events():
        if user in before and before[user] != item:
            following[before[user], item] += 1
        before[user] = item
    batch = slow.small().requests(20)
    got = slow.full_rows(part, state, batch)
    known = 0
    for i, user in enumerate(batch.user.tolist()):
        wanted = np.zeros(size)
        if user in before and following[before[user]].sum():
            wanted = following[before[user]] / following[before[user]].sum()
            known += 1
        np.testing.assert_allclose(got[i], wanted, rtol=1e-5)
    assert known > 10


def test_history_weights_fall_with_place() -> None:
    part = Cooccurrence(norm="count", distance=0.0, last=4, recency=0.5, least=1, k=1000)
    state = slow.ready(part)
    size = len(slow.small().catalogue.items)
    table = np.zeros((size, size))
    for a in range(len(part.indptr) - 1):
        row = slice(part.indptr[a], part.indptr[a + 1])
        table[a, part.indices[row]] = part.values[row]
    np.testing.assert_array_equal(table, table.T)
    batch = slow.small().requests(10)
    got = slow.full_rows(part, state, batch)
    for i, user in enumerate(batch.user.tolist()):
        wanted = np.zeros(size)
        for place, item in enumerate(slow.recent(user, 4)):
            wanted += 0.5**place * table[item]
        np.testing.assert_allclose(got[i], wanted, rtol=1e-5)


def test_least_and_k_prune() -> None:
    whole, pruned = Cooccurrence(least=1, k=1000), Cooccurrence(least=3, k=5)
    slow.ready(whole)
    slow.ready(pruned)
    assert np.diff(pruned.indptr).max() == 5
    assert 0 < len(pruned.indices) < len(whole.indices)
    for a in range(len(pruned.indptr) - 1):
        values = pruned.values[pruned.indptr[a] : pruned.indptr[a + 1]]
        assert (np.diff(values) <= 0).all()
        assert np.isin(values, whole.values[whole.indptr[a] : whole.indptr[a + 1]]).all()
