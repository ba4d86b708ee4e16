"""Neighbour sums: against plain loops, and independent of the batch to the last bit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.contracts import Mask
from shortlist.index.neighbours import Sums
from shortlist.index.top import top


@given(st.integers(0, 10_000))
def test_sums_are_plain_sums(seed: int) -> None:
    draw = np.random.default_rng(seed)
    items, fitted, size = int(draw.integers(1, 30)), int(draw.integers(0, 30)), int(draw.integers(1, 40))
    counts = draw.integers(0, 6, size=3)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    history = draw.integers(0, items, size=offsets[-1]).astype(np.int32)
    weights = draw.random(offsets[-1]).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(draw.integers(0, 5, size=fitted))]).astype(np.int64)
    indices = draw.integers(0, 45, size=indptr[-1]).astype(np.int32)
    values = draw.normal(size=indptr[-1]).astype(np.float32)
    values[draw.random(len(values)) < 0.2] = 0.5  # equal scores
    sums = Sums(offsets, history, weights, indptr, indices, values, size)
    owner, every = np.repeat(np.arange(3), size), np.tile(np.arange(size, dtype=np.int32), 3)
    got = sums.of(owner, every).reshape(3, size)
    wanted = np.zeros((3, size))
    for i in range(3):
        for j in range(offsets[i], offsets[i + 1]):
            if history[j] < fitted:
                for e in range(indptr[history[j]], indptr[history[j] + 1]):
                    if indices[e] < size:
                        wanted[i, indices[e]] += float(weights[j]) * float(values[e])
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    some = np.sort(draw.permutation(len(owner))[:20])
    np.testing.assert_array_equal(sums.of(owner[some], every[some]), got[owner[some], every[some]])
    shared, banned = draw.random(size) < 0.8, draw.integers(0, size, 6).astype(np.int32)
    for mask in (None, Mask(shared), Mask(shared, np.array([0, 1, 1, 6]), banned)):
        for k in (0, 1, 5, size + 3):
            found = sums.top(k, mask)
            expected = top(got, k, mask, 0.0)
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1])


def test_more_candidates_than_the_buffer_holds() -> None:
    """Many items, many of them equal, in any order."""
    draw = np.random.default_rng(0)
    size, fitted = 5000, 40
    indptr = np.arange(0, fitted * 900 + 1, 900)
    indices = np.concatenate([draw.permutation(size)[:900] for _ in range(fitted)]).astype(np.int32)
    values = draw.integers(-2, 9, size=len(indices)).astype(np.float32)
    offsets, history = np.array([0, 7, 7, 27]), draw.integers(0, fitted, size=27).astype(np.int32)
    sums = Sums(offsets, history, np.ones(27, dtype=np.float32), indptr, indices, values, size)
    full = sums.of(np.repeat(np.arange(3), size), np.tile(np.arange(size, dtype=np.int32), 3)).reshape(3, size)
    for k in (1, 10, 300):
        for got, expected in zip(sums.top(k), top(full, k, None, 0.0), strict=True):
            np.testing.assert_array_equal(got, expected)
