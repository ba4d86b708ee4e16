"""Truncated singular value decomposition of a sparse matrix, deterministic to the bit on one machine.

Few columns: the eigenvectors of the Gram matrix, which are the right singular vectors. Many: implicitly restarted Lanczos
(Lehoucq, Sorensen & Yang, ARPACK, 1998) from a fixed first vector; only products with the matrix are needed. They are made on all
cores, a row's sum always in the same order, in float32; one Rayleigh-Ritz step in float64 in the space that was found then
makes the vectors orthogonal, and the values exact to the square of what the vectors still lack.
Memory: the matrix twice, and some 3 d vectors.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, eigsh

from shortlist.core.batch import Array
from shortlist.core.rng import rng

DENSE = (
    400  # columns up to which all eigenvectors of the Gram matrix are worked out: quicker than Lanczos, and never stuck
)
TINY = 1e-6  # singular values below this share of the largest are rounding


def truncated(matrix: Any, d: int, seed: int = 0, dense: int = DENSE) -> tuple[Array, Array]:
    """The right singular vectors (columns, r) float64 of the r <= d largest singular values of a sparse matrix, and those values
    (r,), largest first; r < d where the rank is less. Of the two signs of a vector the one with a positive largest entry is
    taken, so that the result does not depend on the library."""
    if min(matrix.shape) == 0:
        return np.zeros((matrix.shape[1], 0)), np.zeros(0)
    columns = matrix.shape[1]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        product = _Product(matrix, pool)
        if _all_at_once(columns, d, dense):
            return of_gram(product.gram, columns, d, seed, dense)
        start = rng(seed, "svd").standard_normal(columns).astype(np.float32)
        operator = LinearOperator((columns, columns), product.gram, dtype=np.float32)
        _, rough = eigsh(operator, d, v0=start, which="LA", tol=1e-5)
        basis, _ = np.linalg.qr(rough.astype(np.float64))
        within = basis.T @ product.gram(basis)
    values, turn = linalg.eigh((within + within.T) / 2)
    return _strongest(values, basis @ turn, d)


class _Product:
    """Products X'X x of a sparse matrix X, its rows shared out among threads."""

    def __init__(self, matrix: Any, pool: ThreadPoolExecutor) -> None:
        forth = matrix.tocsr()
        sides = (forth, forth.T.tocsr())
        self.pool = pool
        self.sides = [(side.indptr, side.indices, side.data.astype(np.float32, copy=False)) for side in sides]
        # Pieces of about equal work.
        edges = [np.searchsorted(ptr, np.linspace(0, ptr[-1], (os.cpu_count() or 1) + 1)) for ptr, _, _ in self.sides]
        for cuts, (ptr, _, _) in zip(edges, self.sides, strict=True):
            cuts[0], cuts[-1] = 0, len(ptr) - 1
        self.pieces = [[(int(a), int(b)) for a, b in itertools.pairwise(cuts) if a < b] for cuts in edges]

    def gram(self, x: Array) -> Array:
        """X'X x: of x (columns,) in float32, of x (columns, k) in its own type."""
        x = np.ascontiguousarray(x)
        for (indptr, indices, data), pieces in zip(self.sides, self.pieces, strict=True):
            out = np.zeros((len(indptr) - 1, *x.shape[1:]), dtype=x.dtype)
            kernel = _times if x.ndim == 1 else _times_many
            work = partial(kernel, indptr, indices, data, x, out)
            list(self.pool.map(lambda piece, work=work: work(*piece), pieces))
            x = out
        return x


@njit(cache=True, nogil=True)
def _times(indptr: Array, indices: Array, data: Array, x: Array, out: Array, start: int, stop: int) -> None:
    """Rows start..stop of a sparse matrix times a vector, in four sums: one would wait for itself."""
    one, four = np.uint64(1), np.uint64(4)  # unsigned throughout: numba need not look for places counted from the end
    for i in range(start, stop):
        s0, s1, s2, s3 = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
        e, last = np.uint64(indptr[i]), np.uint64(indptr[i + 1])
        while e + four <= last:
            s0 += data[e] * x[np.uint32(indices[e])]
            s1 += data[e + one] * x[np.uint32(indices[e + one])]
            s2 += data[e + np.uint64(2)] * x[np.uint32(indices[e + np.uint64(2)])]
            s3 += data[e + np.uint64(3)] * x[np.uint32(indices[e + np.uint64(3)])]
            e += four
        while e < last:
            s0 += data[e] * x[np.uint32(indices[e])]
            e += one
        out[i] = (s0 + s1) + (s2 + s3)


@njit(cache=True, nogil=True)
def _times_many(indptr: Array, indices: Array, data: Array, x: Array, out: Array, start: int, stop: int) -> None:
    for i in range(start, stop):
        row = out[i]
        for e in range(indptr[i], indptr[i + 1]):
            other = x[indices[e]]
            for c in range(len(row)):
                row[c] += data[e] * other[c]


def _all_at_once(columns: int, d: int, dense: int) -> bool:
    return columns <= dense or d >= columns // 2


def of_gram(
    gram: Callable[[Array], Array], columns: int, d: int, seed: int = 0, dense: int = DENSE
) -> tuple[Array, Array]:
    """The same for a matrix X of which only products are known: gram(x) = X'X x, for x (columns,) or (columns, k)."""
    if _all_at_once(columns, d, dense):
        table = np.asarray(gram(np.eye(columns)))
        values, vectors = linalg.eigh((table + table.T) / 2)
    else:
        operator = LinearOperator((columns, columns), gram, dtype=np.float64)
        start = rng(seed, "svd").standard_normal(columns)
        # tol: of the eigenvalue, the square of what is wanted.
        values, vectors = eigsh(operator, d, v0=start, which="LA", tol=1e-7)
    return _strongest(values, vectors, d)


def _strongest(values: Array, vectors: Array, d: int) -> tuple[Array, Array]:
    """Of eigenvalues and eigenvectors: what `truncated` gives."""
    order = np.argsort(-values, kind="stable")[:d]
    sizes = np.sqrt(np.maximum(values[order], 0))
    real = sizes > TINY * max(sizes.max(initial=0), 1e-30)
    return _signed(vectors[:, order[real]]), sizes[real]


def _signed(vectors: Array) -> Array:
    """The same vectors, each with its entry of largest size positive; among equal ones the first decides."""
    size = np.abs(vectors)
    # Entries that are equal but for rounding must not take turns: the first that is within a part in 10^9 of the largest.
    first = np.argmax(size >= (1 - 1e-9) * size.max(axis=0, initial=0), axis=0)
    sign = np.sign(vectors[first, np.arange(vectors.shape[1])])
    return np.asarray(vectors * np.where(sign == 0, 1.0, sign))


def spread(vectors: Array, known: Array, size: int) -> Array:
    """(size, d) float32: the vectors of the items `known` at their codes, NaN elsewhere; at least one number wide, so that where
    nothing is known nothing scores."""
    out = np.full((size, max(vectors.shape[1], 1)), np.nan, dtype=np.float32)
    if vectors.shape[1]:
        out[known] = vectors
    return out


def project(offsets: Array, items: Array, weights: Array, vectors: Array, mean: bool = False) -> Array:
    """(n, d) float32 weighted sums (or means) of the vectors of each user's items, in the order given; NaN without a known item.

    offsets, items, weights: user i met `items[offsets[i]:offsets[i + 1]]`; vectors: rows of NaN where an item has none.
    """
    out = np.zeros((len(offsets) - 1, vectors.shape[1]), dtype=np.float32)
    _project(offsets, items, np.ascontiguousarray(weights, dtype=np.float32), vectors, mean, out)
    return out


@njit(cache=True, nogil=True)
def _project(offsets: Array, items: Array, weights: Array, vectors: Array, mean: bool, out: Array) -> None:
    d = vectors.shape[1]
    for i in range(len(offsets) - 1):
        met, total = 0, np.float32(0.0)
        for j in range(offsets[i], offsets[i + 1]):
            item = items[j]
            if not 0 <= item < len(vectors) or d == 0 or np.isnan(vectors[item, 0]):
                continue
            met += 1
            total += weights[j]
            for c in range(d):
                out[i, c] += weights[j] * vectors[item, c]
        if met == 0:
            out[i] = np.nan
        elif mean:
            for c in range(d):
                out[i, c] /= total
