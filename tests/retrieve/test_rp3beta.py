"""RP3beta: against walks that are walked, step by step."""

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.retrieve.rp3beta import Rp3beta
from tests.retrieve import slow


def walked(alpha: float, beta: float) -> Array:
    """(items, items) W by the definition: over every path item - user - item."""
    x = slow.clicked()
    out = np.zeros((x.shape[1], x.shape[1]))
    for user in range(len(x)):
        items = np.flatnonzero(x[user])
        for a in items:
            for b in items:
                if a != b:
                    step = (1 / x[:, a].sum()) ** alpha * (1 / len(items)) ** alpha
                    out[a, b] += step / x[:, b].sum() ** beta
    return out


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, 0.6), (0.7, 0.3)])
def test_scores(alpha: float, beta: float) -> None:
    part = Rp3beta(alpha=alpha, beta=beta, k=1000, decay=0.9, last=7)
    state = slow.ready(part)
    table = walked(alpha, beta)
    batch = slow.small().requests(15)
    got = slow.full_rows(part, state, batch)
    for i, user in enumerate(batch.user.tolist()):
        wanted = np.zeros(len(table))
        for place, item in enumerate(slow.recent(user, 7)):
            wanted += 0.9**place * table[item]
        np.testing.assert_allclose(got[i], wanted, rtol=1e-4, atol=1e-7)


def test_p3_is_a_probability() -> None:
    """At alpha 1 and beta 0, the way out of every item has the probability of not coming straight back."""
    part = Rp3beta(alpha=1.0, beta=0.0, k=1000)
    slow.ready(part)
    x = slow.clicked()
    for a in np.flatnonzero(x.any(axis=0)):
        back = np.mean([1 / x[user].sum() for user in np.flatnonzero(x[:, a])])
        assert part.values[part.indptr[a] : part.indptr[a + 1]].sum() == pytest.approx(1 - back, rel=1e-4)


def test_the_best_are_kept() -> None:
    part = Rp3beta(k=5)
    slow.ready(part)
    table = walked(part.alpha, part.beta).astype(np.float32)
    for a in range(len(part.indptr) - 1):
        row = slice(part.indptr[a], part.indptr[a + 1])
        np.testing.assert_allclose(part.values[row], np.sort(table[a][table[a] > 0])[::-1][:5], rtol=1e-4)
    assert np.diff(part.indptr).max() == 5


def test_rows_of_one_and_the_best_both_ways() -> None:
    """Each item's k best partners, made to sum to 1, and of these the k that reach a partner best."""
    k = 6
    part = Rp3beta(alpha=0.9, beta=0.4, k=k, normalise=True, keep="both")
    state = slow.ready(part)
    table = walked(0.9, 0.4)
    for row in table:
        row[np.argsort(-row, kind="stable")[k:]] = 0
        row /= row.sum() or 1.0
    for column in table.T:
        column[np.argsort(-column, kind="stable")[k:]] = 0
    assert (table > 0).sum(axis=1).min(initial=k, where=table.any(axis=1)) < k
    batch = slow.small().requests(15)
    got = slow.full_rows(part, state, batch)
    for i, user in enumerate(batch.user.tolist()):
        wanted = table[slow.recent(user)].sum(axis=0)
        np.testing.assert_allclose(got[i], wanted, rtol=1e-4, atol=1e-7)
