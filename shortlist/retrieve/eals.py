"""eALS: element-wise alternating least squares in which what did not happen weighs by popularity (He, Zhang, Kan & Chua, "Fast Matrix
Factorization for Online Recommendation with Implicit Feedback", SIGIR 2016)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import sparse

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, State, silent
from shortlist.core.rng import rng
from shortlist.data.log import Log
from shortlist.data.matrix import dense, interactions
from shortlist.retrieve._evidence import evidence
from shortlist.retrieve._inner import Inner
from shortlist.retrieve._threads import in_pieces


@dataclass
class Eals(Inner):
    """With the score s(u, i) = p q + b_u + b_i (without the b unless `biases`), the vectors minimise, over the observed pairs S and
    the others (eq. 7 of the paper),

        sum_S (s - 1)^2 + sum_others c_i s^2 + reg (|p|^2 + |q|^2 + b^2 of all),   c_i = c0 * f_i^alpha / sum_j f_j^alpha,

    f the number of users: that a popular item was not taken says more. One number of a vector is solved at a time (eq. 12, 13),
    with the sums over all pairs cached (eq. 9, 10): an epoch is in proportion to d * |S| + d^2 * (users + items). A request is folded
    in by the exact least squares of the same loss for its history (weights instead of ones under `decay`). Items without an event
    have no vector: NaN in `full`, as is everything for a request with no known item in its history.
    """

    d: int = param(64, "length of the vectors", low=1, high=1024)
    epochs: int = param(20, "passes over users and items", low=1)
    c0: float = param(0.0, "weight of all that did not happen, per user; 0 = as much as the mean user's events", low=0)
    alpha: float = param(0.5, "power of the popularity by which it is shared out; 0 = evenly", low=0)
    reg: float = param(0.0, "L2 penalty; 0 = 0.08 times the mean user's events", low=0)
    biases: bool = param(False, "a number for every user and item besides the vectors")
    spread: float = param(0.1, "standard deviation of the first vectors, times sqrt(d)", low=1e-6)
    last: int = param(0, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    decay: float = param(1.0, "weight of each older item of the history against the one after it", low=0, high=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    items: Array = fitted("(fitted items, d + 2) float32: the vector, 1, the bias; NaN for items without an event")
    missing: Array = fitted("(fitted items,) float32 c_i")
    penalty: Array = fitted("(1,) float64: reg, worked out")
    cache: Array = fitted("(d + 2, d + 2) float64: the sum of c_i q_i q_i' over all items")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Alternate for `epochs` passes. Rows are solved apart from each other, so threads change nothing in the result."""
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        size, width = int(log.item.max(initial=-1)) + 1, self.d + 2
        numbered, users, known = dense(log)
        matrix = interactions(numbered, users, len(known))
        columns = matrix.tocsc()
        shares = np.bincount(matrix.indices, minlength=len(known)).astype(np.float64) ** self.alpha
        events = matrix.nnz / max(users, 1)
        total = self.c0 or events
        self.penalty = np.array([self.reg or max(0.08 * events, 1e-6)])
        missing = (total * shares / max(shares.sum(), 1e-30)).astype(np.float32)
        ones = np.ones(users, dtype=np.float32)
        # Place d of a user is his bias and of an item 1; place d + 1 the other way round.
        q, p = np.zeros((len(known), width), dtype=np.float32), np.zeros((users, width), dtype=np.float32)
        draw = rng(ctx.seed, "eals").standard_normal((len(known), self.d))
        q[:, : self.d] = draw * (self.spread / np.sqrt(self.d))
        if self.biases:
            q[:, self.d] = p[:, self.d + 1] = 1.0
        for _ in ctx.progress(range(self.epochs), "eals", self.epochs):
            self._pass(matrix, p, q, ones, missing, self.d + 1)
            self._pass(columns, q, p, missing, ones, self.d)
        self.items = np.full((size, width), np.nan, dtype=np.float32)
        self.items[known] = q
        self.missing = np.zeros(size, dtype=np.float32)
        self.missing[known] = missing
        self.cache = _gram(q, missing)
        self.indexed(self.items, log, self.kinds, self.fold_in, ctx.seed)

    def _pass(
        self, matrix: sparse.csr_array | sparse.csc_array, own: Array, other: Array,
        own_missing: Array, other_missing: Array, fixed: int,
    ) -> None:  # fmt: skip
        """One coordinate step for every number of one side's vectors, in place. matrix: compressed along that side."""
        cache = _gram(other, other_missing)
        free = np.arange(self.d + 2) if self.biases else np.arange(self.d)
        free = free[free != fixed]
        penalty = float(self.penalty[0])

        def rows(start: int, stop: int) -> None:
            _descend(
                matrix.indptr, matrix.indices, own, other, own_missing, other_missing, cache, free, penalty, start, stop
            )

        in_pieces(rows, np.diff(matrix.indptr) + float(self.d), silent, "eals")

    def fold_in(self, offsets: Array, items: Array, weights: Array) -> Array:
        """(n, d + 2) float32 vectors of users with these histories; NaN without a known item."""
        out = np.empty((len(offsets) - 1, self.d + 2), dtype=np.float32)
        free, penalty = self.d + self.biases, float(self.penalty[0])
        _fold_in(offsets, items, weights, self.items, self.missing, self.cache, free, penalty, out)
        return out

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        vectors = self.fold_in(asked.offsets, asked.items, asked.weights)
        return self.best(vectors, self.items, len(state.catalogue.items), k, allowed)


def _gram(vectors: Array, weights: Array) -> Array:
    """(width, width) float64: the sum of weight * v v'."""
    wide = vectors.astype(np.float64)
    gram: Array = (wide * weights[:, None]).T @ wide
    return gram


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _descend(
    indptr: Array, indices: Array, own: Array, other: Array, own_missing: Array, other_missing: Array, cache: Array,
    free: Array, reg: float, start: int, stop: int,
) -> None:  # fmt: skip
    """Rows start..stop of `own`, each number once. The weight of a pair that did not happen is own_missing * other_missing."""
    width = own.shape[1]
    longest = 0
    for u in range(start, stop):
        longest = max(longest, indptr[u + 1] - indptr[u])
    block = np.empty((width, longest), dtype=np.float32)  # the row's partners, by place
    score = np.empty(longest, dtype=np.float32)
    extra = np.empty(longest, dtype=np.float32)  # what happening adds to the weight of a pair
    for u in range(start, stop):
        vector, met, scale = own[u], indptr[u + 1] - indptr[u], own_missing[u]
        for e in range(met):
            partner = indices[indptr[u] + e]
            extra[e] = np.float32(1.0) - scale * other_missing[partner]
            total = np.float32(0.0)
            for c in range(width):
                block[c, e] = other[partner, c]
                total += vector[c] * other[partner, c]
            score[e] = total
        for f in free:
            old, column = vector[f], block[f]
            pull, weight = np.float32(0.0), np.float32(0.0)
            for e in range(met):
                pull += (np.float32(1.0) - extra[e] * (score[e] - old * column[e])) * column[e]
                weight += extra[e] * column[e] * column[e]
            rest = 0.0
            for c in range(width):
                rest += vector[c] * cache[c, f]
            rest -= old * cache[f, f]
            new = np.float32((pull - scale * rest) / (weight + scale * cache[f, f] + reg))
            for e in range(met):
                score[e] += (new - old) * column[e]
            vector[f] = new


@njit(cache=True, nogil=True)
def _fold_in(
    offsets: Array, items: Array, weights: Array, vectors: Array, missing: Array, cache: Array, free: int, reg: float,
    out: Array,
) -> None:  # fmt: skip
    """The exact minimum for one user's first `free` numbers: A x = b, A the cache plus what happening adds, the place of the item's
    bias being 1 (or, without biases, of no weight)."""
    width = vectors.shape[1]
    side = np.empty((width, width))
    right = np.empty(width)
    for i in range(len(offsets) - 1):
        side[:] = cache
        right[:] = 0.0
        met = 0
        for j in range(offsets[i], offsets[i + 1]):
            item, weight = items[j], np.float64(weights[j])
            if item >= len(vectors) or weight <= 0 or np.isnan(vectors[item, 0]):
                continue
            met += 1
            extra = weight - missing[item]
            for a in range(width):
                value = np.float64(vectors[item, a])
                right[a] += weight * value
                for b in range(a + 1):
                    side[a, b] += extra * value * vectors[item, b]
        out[i] = np.nan
        if met == 0:
            continue
        for a in range(free):
            right[a] -= side[width - 1, a]
            side[a, a] += reg
        _solve(side, right, free)
        out[i] = 0.0
        out[i, :free] = right[:free]
        out[i, width - 1] = 1.0


@njit(cache=True, nogil=True)
def _solve(side: Array, right: Array, size: int) -> None:
    """Solve side[:size, :size] x = right in place by Cholesky, side given by its lower triangle."""
    for i in range(size):
        for j in range(i + 1):
            total = side[i, j]
            for c in range(j):
                total -= side[i, c] * side[j, c]
            side[i, j] = np.sqrt(total) if i == j else total / side[j, j]
    for i in range(size):
        for c in range(i):
            right[i] -= side[i, c] * right[c]
        right[i] /= side[i, i]
    for i in range(size - 1, -1, -1):
        right[i] /= side[i, i]
        for c in range(i):
            right[c] -= side[i, c] * right[i]
