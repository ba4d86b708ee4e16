"""Truncated singular value decomposition of a sparse matrix, deterministic to the bit on one machine.

Few columns: the eigenvectors of the Gram matrix, which are the right singular vectors. Many: implicitly restarted Lanczos
(Lehoucq, Sorensen & Yang, ARPACK, 1998) from a fixed first vector; only products with the matrix are needed.
"""

from __future__ import annotations

from collections.abc import Callable
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
    # Both orders of the entries, as float64, once: each product would convert them anew.
    forth = matrix.astype(np.float64).tocsr()
    back = forth.T.tocsr()
    return of_gram(lambda x: back @ (forth @ x), matrix.shape[1], d, seed, dense)


def of_gram(
    gram: Callable[[Array], Array], columns: int, d: int, seed: int = 0, dense: int = DENSE
) -> tuple[Array, Array]:
    """The same for a matrix X of which only products are known: gram(x) = X'X x, for x (columns,) or (columns, k)."""
    if columns <= dense or d >= columns // 2:
        table = np.asarray(gram(np.eye(columns)))
        values, vectors = linalg.eigh((table + table.T) / 2)
    else:
        operator = LinearOperator((columns, columns), gram, dtype=np.float64)
        start = rng(seed, "svd").standard_normal(columns)
        # tol: of the eigenvalue, the square of what is wanted.
        values, vectors = eigsh(operator, d, v0=start, which="LA", tol=1e-7)
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
