"""A tile of a matrix product: against numpy, and the same bits wherever in a tile an entry stands."""

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.data.tile import ROWS, WIDE, strip, tile


@njit
def whole(left: Array, right: Array, depth: int, out: Array) -> None:
    for a in range(0, out.shape[0], ROWS):
        for b in range(0, out.shape[1], WIDE):
            tile(left, a, right, b, depth, out, a, b)


@njit
def row(left: Array, column: int, right: Array, depth: int, out: Array) -> None:
    for b in range(0, out.shape[1], 64):
        strip(left, column, right, b, depth, out, 0, b)


def test_products() -> None:
    draw = np.random.default_rng(0)
    for depth in (0, 1, 5, 64):
        left = draw.normal(size=(70, 3 * ROWS)).astype(np.float32)
        right = draw.normal(size=(70, 128)).astype(np.float32)
        out = np.full((3 * ROWS, 128), np.nan, dtype=np.float32)
        whole(left, right, depth, out)
        wanted = left[:depth].astype(np.float64).T @ right[:depth]
        np.testing.assert_allclose(out, wanted, atol=1e-4)
        one = np.empty((1, 128), dtype=np.float32)
        for column in range(3 * ROWS):
            row(left, column, right, depth, one)
            np.testing.assert_array_equal(one[0], out[column])
