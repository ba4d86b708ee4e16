"""iALS: implicit alternating least squares (Hu, Koren & Volinsky, ICDM 2008), regularised by frequency (Rendle et al., "Revisiting
the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, State
from shortlist.core.rng import rng
from shortlist.data.log import Log
from shortlist.data.matrix import compact, dense, interactions, worth
from shortlist.learn import als
from shortlist.retrieve._evidence import Evidence, amounts, evidence
from shortlist.retrieve._inner import Inner


@dataclass
class Ials(Inner):
    """User vectors u and item vectors v minimise, over the observed pairs S with weights w and over all pairs,

        sum_S w (u v - 1)^2 + alpha0 * sum_all (u v)^2 + sum_u reg_u |u|^2 + sum_i reg_i |v|^2,

    reg_u = reg * (|items of u| + alpha0 * |all items|) ^ nu, and the same for items (Rendle 2022, eq. 4 and 8). Without an
    `alpha0` of your own, all pairs together weigh `balance` times the observed ones, whatever the density of the data; without a `reg`,
    the penalty follows the weight of the events (`learn.als.strengths`). w = 1, or,
    with `weigh`, alpha * r or alpha * ln(1 + r / eps) (Hu 2008), r the pair's number of events or the sum of their values.

    A request is folded in by one exact user step from its history, weighed in the same way, so a new user's first click already has a
    vector. Items without an event have none: NaN in `full`, as is everything for a request with no known item in its history.
    """

    d: int = param(64, "length of the vectors", low=1, high=1024)
    epochs: int = param(16, "passes over users and items", low=1)
    balance: float = param(16.0, "weight of all pairs together against that of the observed ones", low=1e-6)
    alpha0: float = param(0.0, "weight of a pair that did not happen; 0 = as `balance` says", low=0)
    reg: float = param(0.0, "L2 penalty; 0 = in proportion to what a row's events weigh", low=0)
    nu: float = param(1.0, "how the penalty grows with frequency: 0 = not at all, 1 = in proportion", low=0, high=1)
    weigh: str = param("", "what makes an observed pair weigh more", options=("", "count", "value"))
    alpha: float = param(1.0, "weight of an observed pair, times r where pairs are weighed", low=1e-6)
    eps: float = param(0.0, "scale of the logarithm of r; 0 = weights grow linearly", low=0)
    spread: float = param(0.1, "standard deviation of the first vectors, times sqrt(d)", low=1e-6)
    block: int = param(128, "longer vectors are fitted by steps in subspaces of this size (iALS++); 0 = never", low=0)
    warm: float = param(
        1.0,
        "of the items with new events, the share with the longest vectors that a step between two fits moves; new items always",
        low=0,
        high=1,
    )
    last: int = param(0, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    decay: float = param(1.0, "weight of each older item of the history against the one after it", low=0, high=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    items: Array = fitted("(fitted items, d) float32 item vectors, in the basis in which their Gram matrix is diagonal")
    diagonal: Array = fitted("(d,) float32: the diagonal of that Gram matrix")
    count: Array = fitted("(1,) int64: how many items have a vector")
    pairs: Array = fitted("(2,) float64: alpha0, the weight of a pair that did not happen, and the penalty")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Alternate for `epochs` passes."""
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        if self.weigh == "value":
            log = log.take(log.columns["value"] > 0)  # an event without a value weighs nothing
        size = int(log.item.max(initial=-1)) + 1
        numbered, users, known = dense(log)
        matrix = self._weighed(numbered, users, len(known))
        first = rng(ctx.seed, "ials").standard_normal((len(known), self.d)) * (self.spread / np.sqrt(self.d))
        self.count = np.array([len(known)])
        self.pairs = np.array(als.strengths(matrix, self.alpha0, self.balance, self.reg))
        vectors, self.diagonal = als.factors(
            matrix, first, self.loss, epochs=self.epochs, block=self.block, progress=ctx.progress, title="ials"
        )
        self.items = np.full((size, self.d), np.nan, dtype=np.float32)
        self.items[known] = vectors
        self.indexed(self.items, log, self.kinds, self.fold_in, ctx.seed)

    def stepped(self, log: Log, ctx: FitContext, since: int) -> Ials:
        """A copy that has moved with the log by one alternation: users by an exact half-step, then items without a vector that have
        events, and, of the items with an event at or after `since` (unix seconds), the share `warm` with the longest vectors. This
        object stays as it is: requests that use it are not disturbed, and whoever holds it exchanges one reference. New users need no
        step: every request is folded in. log: what the vectors shall know, all events or a recent window, before `ctx.now`."""
        made = copy.copy(self)
        log = log.of_kinds(self.kinds)
        if self.weigh == "value":
            log = log.take(log.columns["value"] > 0)
        size = max(int(log.item.max(initial=-1)) + 1, len(self.items))
        items = np.full((size, self.items.shape[1]), np.nan, dtype=np.float32)
        items[: len(self.items)] = self.items
        met, recent = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
        met[log.item] = True
        recent[log.item[log.time >= since]] = True
        length = np.linalg.norm(items, axis=1)
        touched = np.flatnonzero(recent & np.isfinite(length))
        moved = met & np.isnan(length)
        moved[touched[np.argsort(-length[touched], kind="stable")[: round(self.warm * len(touched))]]] = True
        if moved.any():
            numbered, users = compact(log)
            made.items, made.diagonal = als.step(self._weighed(numbered, users, size), items, moved, self.loss)
            made.count = np.array([int((~np.isnan(made.items[:, 0])).sum())])
            made.indexed(made.items, log, self.kinds, made.fold_in, ctx.seed)
        return made

    @property
    def loss(self) -> als.Loss:
        """What is minimised."""
        return als.Loss(float(self.pairs[0]), float(self.pairs[1]), self.nu)

    def _weighed(self, log: Log, users: int, items: int) -> sparse.csr_array:
        """The matrix of pairs with their weights."""
        by_value = self.weigh == "value"
        matrix = worth(log, users, items) if by_value else interactions(log, users, items, counts=self.weigh == "count")
        matrix.data = als.confidence(matrix.data, self.alpha, self.eps if self.weigh else 0.0)
        return matrix

    def fold_in(self, offsets: Array, items: Array, weights: Array) -> Array:
        """(n, d) float32 vectors of users with these histories; NaN without a known item."""
        return als.fold_in(offsets, items, weights, self.items, self.diagonal, self.loss, int(self.count[0]))

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        vectors = self.fold_in(asked.offsets, asked.items, self._weights(asked, batch, state))
        return self.best(vectors, self.items, len(state.catalogue.items), k, allowed)

    def _weights(self, asked: Evidence, batch: Batch, state: State) -> Array:
        """What the items of the histories weigh, as the fit weighed them."""
        if not self.weigh:
            return asked.weights * np.float32(self.alpha)
        history = state.history(batch.user).of_kinds(self.kinds)
        found = amounts(asked, history, self.weigh == "value")
        weights: Array = asked.weights * als.confidence(found, self.alpha, self.eps)
        return weights
