"""EASE: a linear item-item model in closed form (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import sparse
from scipy.linalg import lapack

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, Pairs, Source, State, silent
from shortlist.core.errors import ConfigError
from shortlist.data.log import Log
from shortlist.data.matrix import compact, interactions
from shortlist.index.top import top_among
from shortlist.retrieve._evidence import evidence
from shortlist.retrieve._threads import in_pieces

SQUARE = 64  # rows and columns that are turned together: they stay in cache
WHOLE = 12_000  # rows of a matrix that is inverted in one piece


@dataclass
class Ease(Source):
    """B minimises |X - X B|^2 + reg |B|^2 with a zero diagonal, X the binary user x item matrix: with P = (X'X + reg I)^-1,
    B[a, b] = -P[a, b] / P[b, b] (eq. 8). A request's scores are the weighted sum of the rows of B of its history.

    Only the `max_items` items of the most users are modelled; in `full` all others, and everything for a request without a
    modelled item in its history, are NaN.
    """

    reg: float = param(500.0, "L2 penalty: higher for fewer events", low=1e-6)
    max_items: int = param(5000, "items modelled: time grows with its cube, memory with its square", low=1)
    last: int = param(0, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    decay: float = param(1.0, "weight of each older item of the history against the one after it", low=0, high=1)
    memory_mb: int = param(4000, "memory that the fit may take", low=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    items: Array = fitted("(modelled,) int32 item codes, ascending")
    rows: Array = fitted("(fitted items,) int32: the row of each item, -1 when it is not modelled")
    weights: Array = fitted("(modelled, modelled) float32 B")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Solve for B. ConfigError when that would take more than `memory_mb`."""
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        size = int(log.item.max(initial=-1)) + 1
        matrix = interactions(*compact(log), size)
        popularity = np.bincount(matrix.indices, minlength=size)
        self.items = modelled(popularity, self.max_items)
        self._check_memory(len(self.items), ctx)
        self.rows = np.full(size, -1, dtype=np.int32)
        self.rows[self.items] = np.arange(len(self.items), dtype=np.int32)
        self.weights = solve(_gram(matrix, self.rows, self.items, ctx), self.reg)

    def _check_memory(self, count: int, ctx: FitContext) -> None:
        # The float64 Gram matrix, inverted in place, and the float32 result; by halves, four quarters beside it.
        bytes_each = 12 if count <= WHOLE else 16
        need = count * count * bytes_each / 2**20
        if need > self.memory_mb:
            fits = int((self.memory_mb * 2**20 / bytes_each) ** 0.5)
            raise ConfigError(
                f"{ctx.place or 'ease'}: {count} items need {need:,.0f} MB, and memory_mb is {self.memory_mb}; "
                f"raise memory_mb, or lower max_items to {fits}"
            )

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        size = len(state.catalogue.items)
        totals = np.empty((batch.n, int(np.searchsorted(self.items, size))), dtype=np.float32)
        _score(asked.offsets, asked.items, asked.weights, self.rows, self.weights, totals)

        def score(owner: Array, item: Array) -> Array:
            out = np.full(len(item), np.nan, dtype=np.float32)
            _scores_of(self.rows, totals, owner, item, out)
            return out

        return Hits(*top_among(self.items, totals, k, allowed), Pairs(batch.n, size, score))


def modelled(popularity: Array, limit: int) -> Array:
    """Codes, ascending, of the `limit` items with the most users; equal ones by item code; none without a user."""
    best = np.lexsort((np.arange(len(popularity)), -popularity))[:limit]
    return np.sort(best[popularity[best] > 0]).astype(np.int32)


def solve(gram: Array, reg: float) -> Array:
    """B (float32) from X'X (float64, its lower triangle; destroyed)."""
    count = len(gram)
    if count == 0:
        return np.zeros((0, 0), dtype=np.float32)
    gram[np.diag_indices(count)] += reg
    inverse = inverted(gram)
    if inverse is None:
        raise ConfigError(f"ease.reg: {reg:g} is too small for these data: the matrix cannot be inverted; raise it")
    weights = np.empty((count, count), dtype=np.float32)

    def some(start: int, stop: int) -> None:
        for first in range(start, stop, SQUARE):
            _weights(inverse, weights, first, min(first + SQUARE, stop))

    in_pieces(some, np.ones(count), silent, "")
    return weights


def inverted(table: Array) -> Array | None:
    """The inverse of a symmetric positive definite matrix from its lower triangle, which is destroyed; only the lower triangle of what is
    returned counts. None where the matrix is not positive definite.

    Larger ones than WHOLE are taken by halves (the Schur complement of the first), because the parallel Cholesky of OpenBLAS 0.3
    writes past its buffers at 17,000 rows and takes the process with it.
    """
    count = len(table)
    if count <= WHOLE:
        # The transpose of a C-ordered lower triangle is Fortran's upper one: solved in place.
        factor, failed = lapack.dpotrf(np.ascontiguousarray(table).T, lower=0, overwrite_a=1)
        return None if failed else lapack.dpotri(factor, lower=0, overwrite_c=1)[0].T
    half = count // 2
    first = inverted(table[:half, :half].copy())
    if first is None:
        return None
    _mirror(first)
    across = table[half:, :half] @ first
    rest = inverted(table[half:, half:] - across @ table[half:, :half].T)
    if rest is None:
        return None
    _mirror(rest)
    table[half:, half:] = rest
    table[half:, :half] = -(rest @ across)
    table[:half, :half] = first - across.T @ table[half:, :half]
    return table


@njit(cache=True, nogil=True)
def _mirror(table: Array) -> None:
    """Fill the upper triangle from the lower one, square by square."""
    for top in range(0, len(table), SQUARE):
        for left in range(0, top + 1, SQUARE):
            for a in range(top, min(top + SQUARE, len(table))):
                for b in range(left, min(left + SQUARE, a)):
                    table[b, a] = table[a, b]


def _gram(matrix: sparse.csr_array, rows: Array, items: Array, ctx: FitContext) -> Array:
    """(modelled, modelled) float64, lower triangle of X'X of the binary matrix, in its modelled columns; a row at a time, on all cores."""
    own = matrix[:, items]
    columns = own.tocsc()
    gram = np.zeros((len(items), len(items)))
    lengths = np.diff(own.indptr)
    work = np.bincount(own.indices, np.repeat(lengths, lengths), minlength=len(items))

    def some(start: int, stop: int) -> None:
        _gram_rows(own.indptr, own.indices, columns.indptr, columns.indices, gram, start, stop)

    in_pieces(some, work, ctx.progress, "ease: gram")
    return gram


@njit(cache=True, nogil=True)
def _gram_rows(
    row_ptr: Array, row_items: Array, col_ptr: Array, col_users: Array, gram: Array, start: int, stop: int
) -> None:  # fmt: skip
    for a in range(start, stop):
        row = gram[a]
        for e in range(col_ptr[a], col_ptr[a + 1]):
            for f in range(row_ptr[col_users[e]], row_ptr[col_users[e] + 1]):
                b = np.uint32(row_items[f])
                if b > a:
                    break  # the items of a user ascend
                row[b] += 1.0


@njit(cache=True, nogil=True)
def _weights(inverse: Array, out: Array, start: int, stop: int) -> None:
    """Rows start..stop of B from the lower triangle of P, in squares: one half of P is read across its rows."""
    count = len(inverse)
    for first in range(0, count, SQUARE):
        last = min(first + SQUARE, count)
        for a in range(start, stop):
            for b in range(first, min(a, last)):
                out[a, b] = -inverse[a, b] / inverse[b, b]
            for b in range(max(a + 1, first), last):
                out[a, b] = -inverse[b, a] / inverse[b, b]
    for a in range(start, stop):
        out[a, a] = 0.0


@njit(cache=True, nogil=True)
def _score(offsets: Array, items: Array, weights: Array, rows: Array, table: Array, totals: Array) -> None:
    """Of every modelled item; NaN where the request has none in its history."""
    count = totals.shape[1]
    for i in range(len(offsets) - 1):
        met = False
        total = totals[i]
        total[:] = 0.0
        for j in range(offsets[i], offsets[i + 1]):
            if items[j] >= len(rows) or rows[items[j]] < 0:
                continue
            met = True
            row = table[rows[items[j]]]
            weight = np.float32(weights[j])
            for b in range(count):
                total[b] += weight * row[b]
        if not met:
            total[:] = np.nan


@njit(cache=True, nogil=True)
def _scores_of(rows: Array, totals: Array, owner: Array, item: Array, out: Array) -> None:
    for r in range(len(item)):
        if item[r] < len(rows) and 0 <= rows[item[r]] < totals.shape[1]:
            out[r] = totals[owner[r], rows[item[r]]]
