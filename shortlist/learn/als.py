"""Implicit alternating least squares (Hu, Koren & Volinsky, ICDM 2008) with the regularisation of Rendle et al., "Revisiting the
Performance of iALS on Item Recommendation Benchmarks" (RecSys 2022), and, for long vectors, the subspace steps of iALS++ (Rendle et
al., "iALS++: Speeding up Matrix Factorization with Subspace Optimization", 2021).

User vectors u and item vectors v minimise, over the observed pairs S with weights w and over all pairs,

    sum_S w (u v - 1)^2 + alpha0 * sum_all (u v)^2 + sum_u reg_u |u|^2 + sum_i reg_i |v|^2,

reg_u = reg * (|items of u| + alpha0 * |all items|) ^ nu, and the same for items. Vectors are kept in the basis in which the Gram
matrix of their side is diagonal: inner products do not change, and the term over all pairs costs nothing in a row's solve.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from scipy import sparse

from shortlist.core.batch import Array
from shortlist.core.contracts import silent
from shortlist.data.tile import ROWS, WIDE, tile_add, tile_less

ROWS_AT_ONCE = 1 << 14
GATHERED = (
    128  # vectors of a row that are looked at together: they stay in cache, and memory does not grow with the row
)
SHARE = 0.2  # penalty against the observed weight of a row; quality is flat between 0.1 and 0.2 on most data (LOG.md)


class Loss(NamedTuple):
    """alpha0: weight of all pairs; reg, nu: the L2 penalty and how it grows with frequency."""

    alpha0: float
    reg: float
    nu: float


def strengths(matrix: sparse.csr_array, alpha0: float, balance: float, reg: float) -> tuple[float, float]:
    """(alpha0, reg) for a (users, items) matrix of weights. An alpha0 of 0 becomes the one with which all pairs together weigh
    `balance` times the observed ones, but none more than an observed one; a reg of 0 the one with which the penalty is on average
    SHARE of what a row's observed pairs weigh. Both follow the density and the size of the data, which fixed figures do not:
    best figures of four data sets that are 1 to 20 for alpha0, and 1 to 10 for reg, fall together so."""
    pairs, observed = matrix.shape[0] * matrix.shape[1], max(matrix.nnz, 1)
    weight = float(matrix.data.sum(dtype=np.float64)) or 1.0
    alpha0 = alpha0 or min(balance * weight / max(pairs, 1), weight / observed)
    return alpha0, reg or SHARE * weight / (observed + alpha0 * pairs)


def confidence(amounts: Array, alpha: float, eps: float) -> Array:
    """float32 weights of pairs from how often or how much: alpha * r, or alpha * ln(1 + r / eps) when eps > 0 (Hu 2008, eq. 6)."""
    scaled = amounts if eps <= 0 else np.log1p(np.asarray(amounts, dtype=np.float64) / eps)
    return np.asarray(alpha * scaled, dtype=np.float32)


def factors(
    matrix: sparse.csr_array,
    first: Array,
    loss: Loss,
    *,
    epochs: int,
    block: int = 0,
    progress: Callable[..., Iterable[Any]] = silent,
    title: str = "als",
) -> tuple[Array, Array]:
    """Item vectors (items, d) float32 and the diagonal (d,) of their Gram matrix, after `epochs` passes over users and items.

    matrix: (users, items), its values the weights w; every row and column has an entry. first: (items, d), where to begin.
    block: vectors longer than this take subspace steps of this size where a row has at least d entries; 0 = all exact. Rows
    are solved apart from each other on all cores, so threads change nothing in the result.
    """
    columns = matrix.tocsc()
    items, users = first.astype(np.float32), np.zeros((matrix.shape[0], first.shape[1]), dtype=np.float32)
    workers = os.cpu_count() or 1
    steps = 0 < block < first.shape[1]  # else nothing begins where it was
    with ThreadPoolExecutor(workers) as pool:
        for _ in progress(range(epochs), title, epochs):
            items, diagonal, turn = _diagonal(items)
            users = _half(pool, workers, matrix, items, diagonal, users @ turn if steps else users, loss, block)
            users, diagonal, turn = _diagonal(users)
            items = _half(pool, workers, columns, users, diagonal, items @ turn if steps else items, loss, block)
    return diagonalised(items)


def diagonalised(vectors: Array) -> tuple[Array, Array]:
    """The vectors (float32) in the basis in which their Gram matrix is diagonal, and that diagonal."""
    turned, diagonal, _ = _diagonal(vectors)
    return turned, diagonal


def _diagonal(vectors: Array) -> tuple[Array, Array, Array]:
    """In pieces of rows: products in float32, their sum in float64, and no second copy of the vectors in it."""
    d = vectors.shape[1]
    gram = np.zeros((d, d))
    pieces = [vectors[start : start + ROWS_AT_ONCE] for start in range(0, len(vectors), ROWS_AT_ONCE)]
    for piece in pieces:
        gram += piece.T @ piece
    values, basis = np.linalg.eigh(gram)
    turn = basis.astype(np.float32)
    turned = np.empty_like(vectors, dtype=np.float32)
    for start, piece in zip(range(0, len(vectors), ROWS_AT_ONCE), pieces, strict=True):
        np.matmul(piece, turn, out=turned[start : start + ROWS_AT_ONCE])
    return turned, np.maximum(values, 0).astype(np.float32), turn


def fold_in(
    offsets: Array, items: Array, weights: Array, vectors: Array, diagonal: Array, loss: Loss, count: int
) -> Array:
    """(n, d) float32 vectors of users with these histories, each by one exact least-squares step; NaN without a known item.

    offsets, items, weights: user i met the distinct `items[offsets[i]:offsets[i + 1]]`. vectors, diagonal: as `factors` gives
    them, rows of NaN where an item has none. count: items with a vector.
    """
    out = np.empty((len(offsets) - 1, vectors.shape[1]), dtype=np.float32)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    _solve(offsets, items, weights, vectors, diagonal, loss.alpha0, loss.reg, loss.nu, count, 0, out)
    return out


def step(matrix: sparse.csr_array, items: Array, moved: Array, loss: Loss) -> tuple[Array, Array]:
    """One alternation through some rows: all users by one exact half-step from the item vectors that there are, then the `moved` items
    by one from the users. Returns item vectors (items, d) and the diagonal of their Gram matrix, as `factors` does; the others are
    what they were, up to the basis.

    matrix: (users, items) weights. items: (items, d) in the basis in which their Gram matrix is diagonal, NaN where an item has no vector.
    moved: (items,) bool. An item that nobody with a vector met keeps what it had.
    """
    known = ~np.isnan(items[:, 0])
    turned, diagonal, _ = _diagonal(np.ascontiguousarray(items[known], dtype=np.float32))
    current = np.full(items.shape, np.nan, dtype=np.float32)
    current[known] = turned
    users = fold_in(matrix.indptr, matrix.indices, matrix.data, current, diagonal, loss, len(turned))
    there = ~np.isnan(users[:, 0])
    users[there], diagonal, turn = _diagonal(users[there])
    current[known] = turned @ turn
    columns = matrix.tocsc()[:, np.flatnonzero(moved)]
    made = fold_in(columns.indptr, columns.indices, columns.data, users, diagonal, loss, int(there.sum()))
    current[moved] = np.where(np.isnan(made), current[moved], made)
    known = ~np.isnan(current[:, 0])
    current[known], diagonal = diagonalised(current[known])
    return current, diagonal


def _half(
    pool: ThreadPoolExecutor,
    workers: int,
    matrix: Any,
    vectors: Array,
    diagonal: Array,
    before: Array,
    loss: Loss,
    block: int,
) -> Array:
    """New vectors of one side from the other side's. before: what they were, in the new basis: where subspace steps begin. It is
    overwritten."""
    out = np.ascontiguousarray(before, dtype=np.float32)
    indptr, indices, weights = matrix.indptr, matrix.indices, matrix.data.astype(np.float32, copy=False)
    # Pieces of about equal work, several per worker.
    work = np.linspace(0, len(indices) + len(out), 8 * workers + 1)
    cuts = np.searchsorted(indptr + np.arange(len(indptr)), work)
    cuts[0], cuts[-1] = 0, len(out)

    def solve(piece: tuple[int, int]) -> None:
        start, stop = piece
        _solve(
            indptr[start : stop + 1].astype(np.int64), indices, weights, vectors, diagonal,
            loss.alpha0, loss.reg, loss.nu, len(vectors), block, out[start:stop],
        )  # fmt: skip

    list(pool.map(solve, [(int(a), int(b)) for a, b in itertools.pairwise(cuts) if a < b]))
    return out


@njit(cache=True, nogil=True)
def _solve(
    offsets: Array, items: Array, weights: Array, vectors: Array, diagonal: Array,
    alpha0: float, reg: float, nu: float, count: int, block: int, out: Array,
) -> None:  # fmt: skip
    """Least squares of rows: (alpha0 G + reg_u I + X' W X) u = X' w, with G diagonal, X the vectors of the row's items."""
    d = vectors.shape[1]
    wide = -(-d // WIDE) * WIDE
    steps = 0 < block < d
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    rows = np.empty(longest, dtype=np.int64)  # of the vectors of the row's items
    row_weights = np.empty(longest, dtype=np.float32)
    room = longest if steps else min(longest, max(d, GATHERED))
    chosen = np.zeros((room, wide), dtype=np.float32)
    weighed = np.zeros((GATHERED, wide), dtype=np.float32)
    side = np.zeros((wide, wide), dtype=np.float32)
    right = np.empty(wide, dtype=np.float32)
    ridge = np.empty(d, dtype=np.float32)
    guess = np.empty(longest if steps else 0, dtype=np.float32)
    for i in range(len(offsets) - 1):
        met = 0
        for j in range(offsets[i], offsets[i + 1]):
            if items[j] < len(vectors) and weights[j] > 0 and not np.isnan(vectors[items[j], 0]):
                rows[met] = items[j]
                row_weights[met] = weights[j]
                met += 1
        if met == 0:
            out[i] = np.nan
            continue
        penalty = reg * (met + alpha0 * count) ** nu
        for c in range(d):
            ridge[c] = alpha0 * diagonal[c] + penalty
        if met < d or steps:
            for e in range(met):
                chosen[e, :d] = vectors[rows[e]]
        if met < d:
            _short(chosen, row_weights, ridge, met, side, right, out[i])
        elif steps:
            _subspaces(chosen, row_weights, ridge, met, block, guess, side, right, out[i])
        else:
            _long(vectors, rows, row_weights, ridge, met, chosen, weighed, side, right, out[i])


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _short(chosen: Array, weights: Array, ridge: Array, met: int, side: Array, right: Array, out: Array) -> None:
    """Fewer items than dimensions: u = D^-1 X' z with (W^-1 + X D^-1 X') z = 1, a system of the items' size (Woodbury)."""
    d = len(ridge)
    for c in range(d):
        ridge[c] = np.float32(1.0) / ridge[c]
    for a in range(met):
        for c in range(d):
            right[c] = chosen[a, c] * ridge[c]
        for b in range(a, met):
            total = np.float32(0.0)
            for c in range(d):
                total += right[c] * chosen[b, c]
            side[a, b] = total
        side[a, a] += np.float32(1.0) / weights[a]
    right[:met] = 1.0
    _cholesky_solve(side, right, met)
    out[:] = 0.0
    for a in range(met):
        for c in range(d):
            out[c] += right[a] * chosen[a, c]
    for c in range(d):
        out[c] *= ridge[c]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _long(
    vectors: Array, rows: Array, weights: Array, ridge: Array, met: int, chosen: Array, weighed: Array, side: Array,
    right: Array, out: Array,
) -> None:  # fmt: skip
    """The normal equations as they stand: the upper triangle of X' W X in tiles, GATHERED items at a time."""
    d, wide = len(ridge), len(side)
    side[:] = 0.0
    right[:] = 0.0
    for first in range(0, met, GATHERED):
        count = min(GATHERED, met - first)
        for e in range(count):
            weight = weights[first + e]
            row = vectors[rows[first + e]]
            for c in range(d):
                chosen[e, c] = row[c]
                weighed[e, c] = weight * row[c]
                right[c] += weight * row[c]
        for a in range(0, d, ROWS):
            for b in range(a - a % WIDE, wide, WIDE):
                tile_add(weighed, a, chosen, b, count, side, a, b)
    for a in range(d):
        side[a, a] += ridge[a]
    _cholesky_solve(side, right, d)
    out[:] = right[:d]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _subspaces(
    chosen: Array, weights: Array, ridge: Array, met: int, block: int, guess: Array, side: Array, right: Array, out: Array
) -> None:  # fmt: skip
    """One Newton step in every block of dimensions, the others held (iALS++, algorithm 2): from the vector in `out`, which it
    improves. guess: (met,) the row's predictions, kept up to date. Exact when one block is all there is."""
    d = len(ridge)
    for e in range(met):
        total = np.float32(0.0)
        for c in range(d):
            total += chosen[e, c] * out[c]
        guess[e] = total
    for start in range(0, d, block):
        stop = min(start + block, d)
        size = stop - start
        for a in range(size):
            right[a] = -ridge[start + a] * out[start + a]
            for b in range(a, size):
                side[a, b] = 0.0
            side[a, a] = ridge[start + a]
        for e in range(met):
            x = chosen[e, start:stop]
            error = weights[e] * (np.float32(1.0) - guess[e])
            for a in range(size):
                w = weights[e] * x[a]
                right[a] += error * x[a]
                row = side[a]
                for b in range(a, size):
                    row[b] += w * x[b]
        _cholesky_solve(side, right, size)
        for a in range(size):
            out[start + a] += right[a]
        for e in range(met):
            total = np.float32(0.0)
            for a in range(size):
                total += chosen[e, start + a] * right[a]
            guess[e] += total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _cholesky_solve(side: Array, right: Array, size: int) -> None:
    """Solve side[:size, :size] x = right in place, side given by its upper triangle, with room for whole tiles: R'R, ROWS = 4 rows of R at a
    time, and the four in one loop, for most systems are small and loops cost more than what they sum up. What is in side beyond
    `size` is overwritten with nothing of use."""
    one, whole = np.float32(1.0), size - size % ROWS
    for first in range(0, size, ROWS):
        if first:
            for b in range(first - first % WIDE, size, WIDE):
                tile_less(side, first, side, b, first, side, first, b)
        if first == whole:
            break
        r0, r1, r2, r3 = side[first], side[first + 1], side[first + 2], side[first + 3]
        s0 = one / np.sqrt(r0[first])
        f01, f02, f03 = r0[first + 1] * s0, r0[first + 2] * s0, r0[first + 3] * s0
        s1 = one / np.sqrt(r1[first + 1] - f01 * f01)
        f12, f13 = (r1[first + 2] - f01 * f02) * s1, (r1[first + 3] - f01 * f03) * s1
        s2 = one / np.sqrt(r2[first + 2] - f02 * f02 - f12 * f12)
        f23 = (r2[first + 3] - f02 * f03 - f12 * f13) * s2
        s3 = one / np.sqrt(r3[first + 3] - f03 * f03 - f13 * f13 - f23 * f23)
        y0 = right[first] * s0
        y1 = (right[first + 1] - f01 * y0) * s1
        y2 = (right[first + 2] - f02 * y0 - f12 * y1) * s2
        y3 = (right[first + 3] - f03 * y0 - f13 * y1 - f23 * y2) * s3
        # The diagonal is only ever divided by.
        r0[first], r0[first + 1], r0[first + 2], r0[first + 3] = s0, f01, f02, f03
        r1[first + 1], r1[first + 2], r1[first + 3] = s1, f12, f13
        r2[first + 2], r2[first + 3], r3[first + 3] = s2, f23, s3
        right[first], right[first + 1], right[first + 2], right[first + 3] = y0, y1, y2, y3
        for c in range(first + ROWS, size):
            x0 = r0[c] * s0
            x1 = (r1[c] - f01 * x0) * s1
            x2 = (r2[c] - f02 * x0 - f12 * x1) * s2
            x3 = (r3[c] - f03 * x0 - f13 * x1 - f23 * x2) * s3
            r0[c], r1[c], r2[c], r3[c] = x0, x1, x2, x3
            right[c] -= y0 * x0 + y1 * x1 + y2 * x2 + y3 * x3
    for j in range(whole, size):
        row = side[j]
        for e in range(whole, j):
            for c in range(j, size):
                row[c] -= side[e, j] * side[e, c]
        row[j] = one / np.sqrt(row[j])
        right[j] *= row[j]
        for c in range(j + 1, size):
            row[c] *= row[j]
            right[c] -= right[j] * row[c]
    for j in range(size - 1, whole - 1, -1):
        for c in range(j + 1, size):
            right[j] -= side[j, c] * right[c]
        right[j] *= side[j, j]
    for first in range(whole - ROWS, -1, -ROWS):
        r0, r1, r2, r3 = side[first], side[first + 1], side[first + 2], side[first + 3]
        t0, t1, t2, t3 = right[first], right[first + 1], right[first + 2], right[first + 3]
        for c in range(first + ROWS, size):
            x = right[c]
            t0 -= r0[c] * x
            t1 -= r1[c] * x
            t2 -= r2[c] * x
            t3 -= r3[c] * x
        t3 *= r3[first + 3]
        t2 = (t2 - r2[first + 3] * t3) * r2[first + 2]
        t1 = (t1 - r1[first + 3] * t3 - r1[first + 2] * t2) * r1[first + 1]
        t0 = (t0 - r0[first + 3] * t3 - r0[first + 2] * t2 - r0[first + 1] * t1) * r0[first]
        right[first], right[first + 1], right[first + 2], right[first + 3] = t0, t1, t2, t3
