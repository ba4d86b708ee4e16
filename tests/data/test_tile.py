"""A tile of a matrix product: against numpy, and the same bits wherever in a tile an entry stands."""

import numpy as np
import pytest
from numba import njit
from scipy import sparse

from shortlist.core.batch import Array
from shortlist.data.tile import LANES, ROWS, WIDE, forth_and_back, rows_less, strip, tile


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


@njit
def sparse_rows(indptr: Array, indices: Array, data: Array, right: Array, out: Array) -> None:
    for i in range(len(indptr) - 1):
        forth_and_back(indices, data, np.intp(indptr[i]), np.intp(indptr[i + 1]), right, out)


@njit
def less(left: Array, depth: int, right: Array, out: Array) -> None:
    for first in range(0, len(out), ROWS):
        rows_less(left, first, depth, right, out)


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_a_sparse_row_forth_and_back(index: type) -> None:
    draw = np.random.default_rng(1)
    x = np.where(draw.random((40, 19)) < 0.3, draw.normal(size=(40, 19)), 0.0).astype(np.float32)
    x[7] = 0.0
    matrix = sparse.csr_array(x)
    right, start = (draw.normal(size=(19, LANES)).astype(np.float32) for _ in range(2))
    out = start.copy()
    sparse_rows(matrix.indptr.astype(index), matrix.indices.astype(index), matrix.data, right, out)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(out, start + wide.T @ (wide @ right), atol=1e-4)


def test_rows_less_a_product() -> None:
    draw = np.random.default_rng(2)
    for depth in (0, 1, 9):
        left, right = draw.normal(size=(3 * ROWS, 11)).astype(np.float32), draw.normal(size=(9, LANES))
        right = right.astype(np.float32)
        start = draw.normal(size=(3 * ROWS, LANES)).astype(np.float32)
        out = start.copy()
        less(left, depth, right, out)
        np.testing.assert_allclose(out, start - left[:, :depth].astype(np.float64) @ right[:depth], atol=1e-5)
