"""SLIM: against coordinate descent written out, and against the conditions that only the minimum meets."""

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError
from shortlist.retrieve.slim import Slim
from tests.retrieve import slow


def written_out(x: Array, part: Slim) -> Array:
    """(items, items) W: every column by plain passes over all that may speak, until nothing moves."""
    gram = x.T @ x
    size = len(gram)
    w = np.zeros((size, size))
    for b in range(size):
        near = [a for a in range(size) if a != b and gram[a, b] > 0]
        if part.neighbours:
            near.sort(key=lambda a: (-gram[a, b] / np.sqrt(gram[a, a]), a))
            near = sorted(near[: part.neighbours])
        for _ in range(2000):
            before = w[:, b].copy()
            for a in near:
                pull = gram[a, b] - gram[a] @ w[:, b] + gram[a, a] * w[a, b]
                w[a, b] = np.sign(pull) * max(abs(pull) - part.l1, 0) / (gram[a, a] + part.l2)
                if part.positive:
                    w[a, b] = max(w[a, b], 0)
            if np.abs(w[:, b] - before).max() < 1e-9:
                break
    return w


def dense(part: Slim, size: int) -> Array:
    """(size, size) W as learned."""
    w = np.zeros((size, size))
    for a in range(len(part.indptr) - 1):
        row = slice(part.indptr[a], part.indptr[a + 1])
        w[a, part.indices[row]] = part.values[row]
    return w


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("neighbours", [0, 20])
def test_weights(positive: bool, neighbours: int) -> None:
    part = Slim(l1=0.5, l2=2.0, positive=positive, neighbours=neighbours, tolerance=1e-8, sweeps=5000)
    slow.ready(part)
    x = slow.clicked()
    wanted = written_out(x, part)
    np.testing.assert_allclose(dense(part, x.shape[1]), wanted, atol=1e-5)
    assert (wanted != 0).sum() > 100
    assert (wanted < 0).any() != positive


def test_no_weight_can_be_better() -> None:
    """At the minimum, the residual's pull is l1 wherever a weight is, and at most l1 elsewhere."""
    part = Slim(l1=1.5, l2=5.0, tolerance=1e-8, sweeps=5000)
    slow.ready(part)
    x = slow.clicked()
    w = dense(part, x.shape[1])
    pull = x.T @ x - x.T @ x @ w - part.l2 * w
    np.fill_diagonal(pull, 0.0)
    np.testing.assert_allclose(pull[w > 0], part.l1, atol=1e-4)
    assert pull[w == 0].max() <= part.l1 + 1e-4
    assert (np.diag(w) == 0).all()


def test_many_pieces_and_long_columns_agree() -> None:
    """More moving weights than there is room for at first, in a matrix that no thread has alone."""
    part = Slim(l1=0.0, l2=0.5, positive=False, tolerance=1e-8, sweeps=5000)
    slow.ready(part)
    x = slow.clicked()
    assert np.diff(part.indptr).max() > 32
    np.testing.assert_allclose(dense(part, x.shape[1]), written_out(x, part), atol=1e-4)


def test_scores() -> None:
    part = Slim(l1=1.0, l2=3.0, decay=0.9, last=6)
    state = slow.ready(part)
    batch = slow.small().requests(15)
    w = dense(part, len(slow.small().catalogue.items))
    got = slow.full_rows(part, state, batch)
    for i, user in enumerate(batch.user.tolist()):
        wanted = np.zeros(len(w))
        for place, item in enumerate(slow.recent(user, 6)):
            wanted += 0.9**place * w[item]
        np.testing.assert_allclose(got[i], wanted, rtol=1e-5, atol=1e-7)


def test_too_little_memory_is_one_line() -> None:
    part = Slim(memory_mb=0)
    with pytest.raises(ConfigError, match="slim: the items that share users need more than memory_mb"):
        slow.ready(part)


def test_the_largest_weights_are_kept() -> None:
    whole, cut = Slim(l1=0.5, l2=3.0), Slim(l1=0.5, l2=3.0, k=3)
    tables = []
    for part in (whole, cut):
        slow.ready(part)
        size = len(part.indptr) - 1
        table = np.zeros((size, size))
        for item in range(size):
            row = slice(part.indptr[item], part.indptr[item + 1])
            table[item, part.indices[row]] = part.values[row]
        tables.append(table)
    for target in range(len(tables[0])):
        column = tables[0][:, target]
        column[np.argsort(-column, kind="stable")[3:]] = 0
    assert (tables[0] > 0).sum() > 100
    np.testing.assert_array_equal(tables[1], tables[0])
