"""iALS: implicit alternating least squares (Hu, Koren & Volinsky, ICDM 2008), regularised by frequency (Rendle et al., "Revisiting
the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022)."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, Source, State
from shortlist.core.rng import rng
from shortlist.data.log import Log
from shortlist.data.matrix import interactions
from shortlist.index.inner import inner
from shortlist.index.top import top
from shortlist.retrieve._evidence import evidence


@dataclass
class Ials(Source):
    """User vectors u and item vectors v minimise, over the observed pairs S and all pairs,

        sum_S (u v - 1)^2 + alpha0 * sum_all (u v)^2 + sum_u reg_u |u|^2 + sum_i reg_i |v|^2,

    reg_u = reg * (|items of u| + alpha0 * |all items|) ^ nu, and the same for items (Rendle 2022, eq. 4 and 8). A request is
    folded in by one exact user step from its history, so a new user's first click already has a vector. Items without an
    event have no vector: NaN in `full`, as is everything for a request with no known item in its history.
    """

    d: int = param(64, "length of the vectors", low=1, high=1024)
    epochs: int = param(16, "passes over users and items", low=1)
    alpha0: float = param(0.3, "weight of the pairs that did not happen", low=0)
    reg: float = param(0.03, "L2 penalty", low=1e-9)
    nu: float = param(1.0, "how the penalty grows with frequency: 0 = not at all, 1 = in proportion", low=0, high=1)
    spread: float = param(0.1, "standard deviation of the first vectors, times sqrt(d)", low=1e-6)
    last: int = param(0, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    decay: float = param(1.0, "weight of each older item of the history against the one after it", low=0, high=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    items: Array = fitted("(fitted items, d) float32 item vectors, in the basis in which their Gram matrix is diagonal")
    diagonal: Array = fitted("(d,) float32: the diagonal of that Gram matrix")
    count: Array = fitted("(1,) int64: how many items have a vector")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Alternate for `epochs` passes. Rows are solved apart from each other, so threads change nothing in the result."""
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        size = int(log.item.max(initial=-1)) + 1
        users, user_rows = np.unique(log.user, return_inverse=True)
        known, item_rows = np.unique(log.item, return_inverse=True)
        compact = {**log.columns, "user": user_rows.astype(np.int32), "item": item_rows.astype(np.int32)}
        matrix = interactions(Log(compact), len(users), len(known))
        columns = matrix.tocsc()
        first = rng(ctx.seed, "ials").standard_normal((len(known), self.d)) * (self.spread / np.sqrt(self.d))
        item_vectors = first.astype(np.float32)
        workers = os.cpu_count() or 1
        with ThreadPoolExecutor(workers) as pool:
            for _ in ctx.progress(range(self.epochs), "ials", self.epochs):
                basis, diagonal = _diagonal(item_vectors)
                user_vectors = self._step(pool, workers, matrix.indptr, matrix.indices, basis, diagonal)
                basis, diagonal = _diagonal(user_vectors)
                item_vectors = self._step(pool, workers, columns.indptr, columns.indices, basis, diagonal)
        basis, self.diagonal = _diagonal(item_vectors)
        self.items = np.full((size, self.d), np.nan, dtype=np.float32)
        self.items[known] = basis
        self.count = np.array([len(known)])

    def _step(
        self, pool: ThreadPoolExecutor, workers: int, indptr: Array, indices: Array, vectors: Array, diagonal: Array
    ) -> Array:
        """New vectors of one side from the other side's."""
        out = np.zeros((len(indptr) - 1, self.d), dtype=np.float32)
        weights = np.ones(len(indices), dtype=np.float32)
        # Pieces of about equal work, several per worker.
        work = np.linspace(0, len(indices) + len(out), 8 * workers + 1)
        cuts = np.searchsorted(indptr + np.arange(len(indptr)), work)
        cuts[0], cuts[-1] = 0, len(out)
        pieces = [(int(a), int(b)) for a, b in itertools.pairwise(cuts) if a < b]

        def solve(piece: tuple[int, int]) -> None:
            start, stop = piece
            _solve(
                indptr[start : stop + 1].astype(np.int64), indices, weights, vectors, diagonal,
                self.alpha0, self.reg, self.nu, len(vectors), out[start:stop],
            )  # fmt: skip

        list(pool.map(solve, pieces))
        return out

    def fold_in(self, offsets: Array, items: Array, weights: Array) -> Array:
        """(n, d) float32 vectors of users with these histories; NaN without a known item."""
        out = np.empty((len(offsets) - 1, self.d), dtype=np.float32)
        alpha0, reg, nu, count = self.alpha0, self.reg, self.nu, int(self.count[0])
        _solve(offsets, items, weights, self.items, self.diagonal, alpha0, reg, nu, count, out)
        return out

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        vectors = self.fold_in(asked.offsets, asked.items, asked.weights)
        full = inner(vectors, self.items, len(state.catalogue.items))
        return Hits(*top(full, k, allowed), full)


def _diagonal(vectors: Array) -> tuple[Array, Array]:
    """The vectors in the basis in which their Gram matrix is diagonal, and that diagonal. Inner products do not change, and the
    term over all pairs costs nothing in every row's solve."""
    wide = vectors.astype(np.float64)
    values, basis = np.linalg.eigh(wide.T @ wide)
    return (wide @ basis).astype(np.float32), np.maximum(values, 0).astype(np.float32)


@njit(cache=True, nogil=True)
def _solve(
    offsets: Array, items: Array, weights: Array, vectors: Array, diagonal: Array,
    alpha0: float, reg: float, nu: float, count: int, out: Array,
) -> None:  # fmt: skip
    """Least squares of rows: (alpha0 G + reg_u I + X' W X) u = X' w, with G diagonal, X the vectors of the row's items."""
    d = vectors.shape[1]
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    block = np.empty((longest, d), dtype=np.float32)
    block_weights = np.empty(longest, dtype=np.float32)
    side = np.empty((d, d), dtype=np.float32)
    right = np.empty(d, dtype=np.float32)
    ridge = np.empty(d, dtype=np.float32)
    for i in range(len(offsets) - 1):
        met = 0
        for j in range(offsets[i], offsets[i + 1]):
            if items[j] < len(vectors) and weights[j] > 0 and not np.isnan(vectors[items[j], 0]):
                block[met] = vectors[items[j]]
                block_weights[met] = weights[j]
                met += 1
        if met == 0:
            out[i] = np.nan
            continue
        penalty = reg * (met + alpha0 * count) ** nu
        for c in range(d):
            ridge[c] = alpha0 * diagonal[c] + penalty
        if met < d:
            _short(block, block_weights, ridge, met, side, right, out[i])
        else:
            _long(block, block_weights, ridge, met, side, right, out[i])


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _short(block: Array, weights: Array, ridge: Array, met: int, side: Array, right: Array, out: Array) -> None:
    """Fewer items than dimensions: u = D^-1 X' z with (W^-1 + X D^-1 X') z = 1, a system of the items' size (Woodbury)."""
    d = len(ridge)
    for a in range(met):
        for c in range(d):
            right[c] = block[a, c] / ridge[c]
        for b in range(a + 1):
            total = np.float32(0.0)
            for c in range(d):
                total += right[c] * block[b, c]
            side[a, b] = total
        side[a, a] += np.float32(1.0) / weights[a]
    right[:met] = 1.0
    _cholesky_solve(side, right, met)
    out[:] = 0.0
    for a in range(met):
        for c in range(d):
            out[c] += right[a] * block[a, c]
    for c in range(d):
        out[c] /= ridge[c]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _long(block: Array, weights: Array, ridge: Array, met: int, side: Array, right: Array, out: Array) -> None:
    """The normal equations as they stand, items taken four at a time so that the matrix passes through registers less often."""
    d = len(ridge)
    side[:] = 0.0
    right[:] = 0.0
    four = met - met % 4
    for e in range(0, four, 4):
        x0, x1, x2, x3 = block[e], block[e + 1], block[e + 2], block[e + 3]
        for a in range(d):
            w0, w1, w2, w3 = weights[e] * x0[a], weights[e + 1] * x1[a], weights[e + 2] * x2[a], weights[e + 3] * x3[a]
            right[a] += w0 + w1 + w2 + w3
            row = side[a]
            for b in range(a + 1):
                row[b] += w0 * x0[b] + w1 * x1[b] + w2 * x2[b] + w3 * x3[b]
    for e in range(four, met):
        for a in range(d):
            w0 = weights[e] * block[e, a]
            right[a] += w0
            for b in range(a + 1):
                side[a, b] += w0 * block[e, b]
    for a in range(d):
        side[a, a] += ridge[a]
    _cholesky_solve(side, right, d)
    out[:] = right


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _cholesky_solve(side: Array, right: Array, size: int) -> None:
    """Solve side[:size, :size] x = right in place, side given by its lower triangle."""
    for i in range(size):
        for j in range(i + 1):
            total = side[i, j]
            for c in range(j):
                total -= side[i, c] * side[j, c]
            side[i, j] = np.sqrt(total) if i == j else total / side[j, j]
    for i in range(size):
        total = right[i]
        for c in range(i):
            total -= side[i, c] * right[c]
        right[i] = total / side[i, i]
    for i in range(size - 1, -1, -1):
        right[i] /= side[i, i]
        for c in range(i):
            right[c] -= side[i, c] * right[i]
