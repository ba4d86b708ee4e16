"""Neighbour sums and inner products: against plain loops, and independent of the batch to the last bit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.batch import Array
from shortlist.index.inner import inner
from shortlist.index.neighbours import accumulate


@given(st.integers(0, 10_000))
def test_accumulate_is_a_plain_sum(seed: int) -> None:
    draw = np.random.default_rng(seed)
    items, fitted, size = int(draw.integers(1, 30)), int(draw.integers(0, 30)), int(draw.integers(1, 40))
    counts = draw.integers(0, 6, size=3)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    history = draw.integers(0, items, size=offsets[-1]).astype(np.int32)
    weights = draw.random(offsets[-1]).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(draw.integers(0, 5, size=fitted))]).astype(np.int64)
    indices = draw.integers(0, 45, size=indptr[-1]).astype(np.int32)
    values = draw.normal(size=indptr[-1]).astype(np.float32)
    got = accumulate(offsets, history, weights, indptr, indices, values, size)
    wanted = np.zeros((3, size))
    for i in range(3):
        for j in range(offsets[i], offsets[i + 1]):
            if history[j] < fitted:
                for e in range(indptr[history[j]], indptr[history[j] + 1]):
                    if indices[e] < size:
                        wanted[i, indices[e]] += float(weights[j]) * float(values[e])
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def vectors(n: int, d: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_inner_products_and_what_is_beyond_them() -> None:
    users, items = vectors(5, 13, 0), vectors(1200, 13, 1)
    items[7, 2] = np.nan
    got = inner(users, items, 1203)
    wanted = users.astype(np.float64) @ items.astype(np.float64).T
    np.testing.assert_allclose(got[:, :1200], wanted, atol=1e-5)
    assert np.isnan(got[:, 7]).all()
    assert np.isnan(got[:, 1200:]).all()
    np.testing.assert_array_equal(inner(users, items, 600), got[:, :600])


def test_inner_products_do_not_depend_on_the_batch() -> None:
    for d in (1, 7, 16, 33, 64):
        users, items = vectors(70, d, d), vectors(700, d, d + 1)
        together = inner(users, items, 700)
        for i in range(70):
            np.testing.assert_array_equal(inner(users[i : i + 1], items, 700)[0], together[i])
