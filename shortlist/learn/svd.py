"""Truncated singular value decomposition of a sparse matrix, deterministic to the bit on one machine.

Few columns: the eigenvectors of the Gram matrix, which are the right singular vectors. Many: block Lanczos (Golub & Underwood, 1977)
from fixed first vectors, restarted with the best it has found (thick restart: Wu & Simon, SIAM J. Matrix Analysis 2000); only products
with the matrix are needed, WIDTH vectors at a time, for then a product costs little more than to fetch the rows it needs. They are
made on all cores in float32; one Rayleigh-Ritz step in float64 in the space that was found then makes the vectors orthogonal, and
the values exact to the square of what the vectors still lack.
Memory: the matrix, and 2 d + 128 vectors.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from shortlist.core.batch import Array
from shortlist.core.rng import rng
from shortlist.data.tile import LANES, ROWS, WIDE, forth_and_back, rows_less, tile

DENSE = (
    400  # columns up to which all eigenvectors of the Gram matrix are worked out: quicker than Lanczos, and never stuck
)
TINY = 1e-6  # singular values below this share of the largest are rounding
WIDTH = LANES  # vectors that are multiplied together
TOLERANCE = 1e-5  # of an eigenvalue, that its vector's residual may be
ROUNDING = 3e-7  # of the largest eigenvalue: what products in float32 leave
RESTARTS = 100  # then what was found is taken as it is
ROWS_AT_ONCE = 1 << 12
ENTRIES = 1 << 18  # of a matrix that are worth a thread
PIECES = 8  # of the work at most


def truncated(matrix: Any, d: int, seed: int = 0, dense: int = DENSE) -> tuple[Array, Array]:
    """The right singular vectors (columns, r) float64 of the r <= d largest singular values of a sparse matrix, and those values
    (r,), largest first; r < d where the rank is less. Of the two signs of a vector the one with a positive largest entry is
    taken, so that the result does not depend on the library."""
    if min(matrix.shape) == 0:
        return np.zeros((matrix.shape[1], 0)), np.zeros(0)
    columns = matrix.shape[1]
    if _all_at_once(columns, d, dense) or columns < d + 5 * WIDTH:
        double = sparse.csr_array(matrix, dtype=np.float64)
        return of_gram(lambda x: np.asarray(double.T @ (double @ x)), columns, d, seed, columns)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        product = _Product(matrix, pool)
        basis = _lanczos(product, d, seed)
        within = product.within(basis)
    wide = basis.astype(np.float64)
    values, turn = linalg.eigh(within, wide.T @ wide)
    return _strongest(values, wide @ turn, d)


class _Product:
    """Products with a sparse matrix X, its rows shared out among threads."""

    def __init__(self, matrix: Any, pool: ThreadPoolExecutor) -> None:
        rows = matrix.tocsr()
        self.columns = rows.shape[1]
        self.pool = pool
        self.rows = (rows.indptr, rows.indices, rows.data.astype(np.float32, copy=False))
        # Pieces of about equal work, as many whatever the cores: their sums have an order.
        count = min(max(rows.nnz // ENTRIES, 1), PIECES)
        edges = np.searchsorted(rows.indptr, np.linspace(0, rows.indptr[-1], count + 1))
        edges[0], edges[-1] = 0, rows.shape[0]
        self.pieces = [(int(a), int(b)) for a, b in itertools.pairwise(edges) if a < b]

    def gram(self, x: Array) -> Array:
        """X'X x of (columns or more, WIDTH) float32. A row of X is taken to x and back at once: there is no X x in memory, and no X'."""

        def work(piece: tuple[int, int]) -> Array:
            out = np.zeros_like(x)
            _gram(*self.rows, x, out, *piece)
            return out

        return self._sum(work)

    def within(self, x: Array) -> Array:
        """(X x)'(X x) in float64 of (columns, k), a few rows at a time."""

        def work(piece: tuple[int, int]) -> Array:
            total = np.zeros((x.shape[1], x.shape[1]))
            for start in range(piece[0], piece[1], ROWS_AT_ONCE):
                stop = min(start + ROWS_AT_ONCE, piece[1])
                some = np.zeros((stop - start, x.shape[1]))
                _forth(*self.rows, x, some, start, stop)
                total += some.T @ some
            return total

        return self._sum(work)

    def _sum(self, work: Callable[[tuple[int, int]], Array]) -> Array:
        first, *others = self.pool.map(work, self.pieces)
        for other in others:
            first += other
        return first


@njit(cache=True, nogil=True)
def _gram(indptr: Array, indices: Array, data: Array, x: Array, out: Array, start: int, stop: int) -> None:
    for i in range(start, stop):
        forth_and_back(indices, data, np.intp(indptr[i]), np.intp(indptr[i + 1]), x, out)


@njit(cache=True, nogil=True)
def _forth(indptr: Array, indices: Array, data: Array, x: Array, out: Array, start: int, stop: int) -> None:
    for i in range(start, stop):
        row = out[i - start]
        for e in range(indptr[i], indptr[i + 1]):
            other = x[np.uint32(indices[e])]
            for c in range(len(row)):
                row[c] += np.float64(data[e]) * other[c]


def _lanczos(product: _Product, d: int, seed: int) -> Array:
    """(columns, d) float32: vectors that span the d strongest eigenvectors of A = X'X. A vector's residual is TOLERANCE of its
    eigenvalue, or what float32 can tell of the largest one."""
    columns, draw = product.columns, rng(seed, "svd")
    most = min(2 * d + 128, columns - WIDTH)  # vectors, and then the best go on alone
    space = _Space(columns, most + WIDTH, product.pool)
    # basis' A basis: 0 but for the blocks beside the diagonal, and for the first ones after a restart.
    table = np.zeros((most + WIDTH, most + WIDTH))
    newest, _, _ = space.orthonormal(space.drawn(draw), draw, 0.0)
    low, look, restarts = 0, max(3 * d, d + WIDTH), 0  # less is never enough
    while True:
        space.add(newest)
        size = space.size
        made = product.gram(newest)
        last, near = slice(size - WIDTH, size), slice(low, size)
        shares = space.take_out(made, low)
        table[near, last], table[last, near] = shares, shares.T
        table[last, last] = (shares[-WIDTH:] + shares[-WIDTH:].T) / 2
        newest, left, anew = space.orthonormal(made, draw, np.abs(table).max())
        low = size - WIDTH
        if anew:  # a space that A maps into itself, and new vectors by chance: what do they find?
            look = max(look, size + 3 * WIDTH)
        if np.abs(table[last, last]).max() <= ROUNDING * np.abs(table).max():
            look = min(look, max(size, d + WIDTH))  # nothing
        full = size + WIDTH > most
        if size < look and not full:
            continue
        values, turn = linalg.eigh(table[:size, :size])
        residuals = np.linalg.norm(left @ turn[last, -d:], axis=0)
        allowed = np.maximum(TOLERANCE * values[-d:], max(ROUNDING * values[-1], 1e-30))
        excess = float((residuals / allowed).max())
        if excess <= 1.0 or restarts == RESTARTS:
            return space.combined(turn[:, -d:])
        look = size + WIDTH * (1 + int(np.log10(excess)))  # a block brings less than a digit
        if full:
            kept = d + WIDTH
            space.keep(turn[:, -kept:])
            table[:] = 0.0
            table[range(kept), range(kept)] = values[-kept:]
            low, look, restarts = 0, 0, restarts + 1


class _Space:
    """An orthonormal basis that grows by WIDTH vectors, in float32. Products of so narrow matrices are our own kernels, shared out among
    the threads that there are: a library's wait for each other a hundred times a second, and wake up for it.

    Vectors are columns, and everything has whole ROWS of rows: those beyond `rows` are 0."""

    def __init__(self, rows: int, most: int, pool: ThreadPoolExecutor) -> None:
        self.rows, self.size, self.pool = rows, 0, pool
        self.basis = np.zeros((-(-rows // ROWS) * ROWS, -(-most // WIDE) * WIDE), dtype=np.float32)
        share = -(-len(self.basis) // (min(max(rows // ROWS_AT_ONCE, 1), PIECES) * ROWS)) * ROWS
        self.pieces = [(start, min(start + share, len(self.basis))) for start in range(0, len(self.basis), share)]

    def drawn(self, draw: np.random.Generator) -> Array:
        """WIDTH vectors by chance, of length 1 or so."""
        made = np.zeros((len(self.basis), WIDTH), dtype=np.float32)
        made[: self.rows] = draw.standard_normal((self.rows, WIDTH), dtype=np.float32) / np.float32(np.sqrt(self.rows))
        return made

    def add(self, vectors: Array) -> None:
        """More of the basis, as `orthonormal` gives them."""
        self.basis[:, self.size : self.size + WIDTH] = vectors
        self.size += WIDTH

    def take_out(self, vectors: Array, low: int = 0) -> Array:
        """What lies in the basis from vector `low` on is taken out of WIDTH vectors; its coordinates (size - low, WIDTH) in float64."""
        shares = self._sum(_shares, self.basis, vectors, low, self.size)
        found = shares.T[low : self.size]
        right = np.zeros((self.size, WIDTH), dtype=np.float32)
        right[low:] = found
        self._each(_less, self.basis, right, vectors)
        return found

    def orthonormal(self, vectors: Array, draw: np.random.Generator, scale: float) -> tuple[Array, Array, bool]:
        """WIDTH vectors W made orthogonal to the basis and to each other: W = Q left + (what lay in the basis). Returns Q, left (WIDTH,
        WIDTH) float64, and whether some of Q were drawn anew, for there was nothing left against `scale`. W is used up."""
        left, apart, anew = np.eye(WIDTH), False, False
        for _ in range(4):
            if not apart and self.size:
                self.take_out(vectors)
            values, turn = np.linalg.eigh(self._sum(_squares, vectors))
            lengths = np.sqrt(np.maximum(values, 0.0))
            nothing = lengths <= ROUNDING * scale
            # Where the shortest becomes much longer, so do its errors: once more.
            scale, apart = 0.0, not nothing.any() and lengths[0] > 0.1 * lengths[-1]
            lengths[nothing] = 1.0
            left = np.where(nothing, 0.0, turn * lengths).T @ left
            made = np.zeros_like(vectors)
            self._each(_less, vectors, (-turn / lengths).astype(np.float32), made)
            if nothing.any():
                anew = True
                made[:, nothing] = self.drawn(draw)[:, nothing]
            vectors = made
            if apart and lengths[0] > 0.9:
                break
        return vectors, left, anew

    def _each(self, kernel: Callable[..., Any], *given: Any) -> list[Any]:
        if len(self.pieces) == 1:
            return [kernel(*given, *self.pieces[0])]
        return list(self.pool.map(lambda piece: kernel(*given, *piece), self.pieces))

    def _sum(self, kernel: Callable[..., Any], *given: Any) -> Array:
        return np.asarray(sum(self._each(kernel, *given)))

    def combined(self, turn: Array) -> Array:
        """(rows, n) float32: the basis times (size, n)."""
        return np.asarray(self.basis[: self.rows, : self.size] @ turn.astype(np.float32))

    def keep(self, turn: Array) -> None:
        """These combinations are the basis from now on."""
        self.basis[: self.rows, : turn.shape[1]] = self.combined(turn)
        self.size = turn.shape[1]


@njit(cache=True, nogil=True)
def _shares(basis: Array, vectors: Array, low: int, size: int, start: int, stop: int) -> Array:
    """(WIDTH, columns of the basis) float64: vectors' basis from column `low` to `size`, over rows start ... stop; float32 for a few rows only."""
    total = np.zeros((WIDTH, basis.shape[1]))
    some = np.zeros((WIDTH, basis.shape[1]), dtype=np.float32)
    for first in range(start, stop, 128):
        last = min(first + 128, stop)
        for column in range(low - low % WIDE, size, WIDE):
            for r in range(0, WIDTH, ROWS):
                tile(vectors[first:last], r, basis[first:last], column, last - first, some, r, column)
        total += some
    return total


@njit(cache=True, nogil=True)
def _less(left: Array, right: Array, out: Array, start: int, stop: int) -> None:
    """out -= left right, rows start ... stop."""
    for row in range(start, stop, ROWS):
        rows_less(left, row, len(right), right, out)


@njit(cache=True, nogil=True)
def _squares(vectors: Array, start: int, stop: int) -> Array:
    """vectors' vectors in float64, over rows start ... stop."""
    total = np.zeros((WIDTH, WIDTH))
    for i in range(start, stop):
        for a in range(WIDTH):
            for b in range(WIDTH):
                total[a, b] += np.float64(vectors[i, a]) * np.float64(vectors[i, b])
    return total


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
