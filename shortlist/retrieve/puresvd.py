"""PureSVD: the truncated SVD of the user x item matrix (Cremonesi, Koren & Turrin, RecSys 2010), with the scaling by popularity of
EigenRec (Nikolakopoulos et al., Knowledge and Information Systems 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, State
from shortlist.data.log import Log
from shortlist.data.matrix import dense, interactions, worth
from shortlist.learn import svd
from shortlist.retrieve._evidence import amounts, evidence
from shortlist.retrieve._inner import Inner


@dataclass
class Puresvd(Inner):
    """The d strongest right singular vectors V of the user x item matrix, its columns first multiplied by norm ^ (scale - 1): scale 1 is
    PureSVD, below 1 popular items count for less. A request's scores are x V V', x its history. The entries of the matrix and of x are 1,
    or, with `weigh`, the sum of the events' values: a rating that was never given is then 0, as in the paper. Values are above 0.

    NaN in `full` for items without an event at the fit, and everywhere for a request without a known item.
    """

    d: int = param(64, "singular vectors kept", low=1, high=1024)
    scale: float = param(1.0, "power of the popularity that is left in the columns: 1 = all, 0 = none", low=-2, high=2)
    weigh: str = param("", "what makes an observed pair weigh more", options=("", "value"))
    last: int = param(0, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    decay: float = param(1.0, "weight of each older item of the history against the one after it", low=0, high=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    items: Array = fitted("(fitted items, d) float32 right singular vectors")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Decompose."""
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        if self.weigh:
            log = log.take(log.columns["value"] > 0)  # an event without a value weighs nothing
        size = int(log.item.max(initial=-1)) + 1
        numbered, users, known = dense(log)
        matrix = worth(numbered, users, len(known)) if self.weigh else interactions(numbered, users, len(known))
        if self.scale != 1.0:
            norms = np.sqrt(np.bincount(matrix.indices, matrix.data.astype(np.float64) ** 2, len(known)))
            matrix.data = matrix.data * norms[matrix.indices] ** (self.scale - 1.0)
        vectors, _ = svd.truncated(matrix, self.d, ctx.seed)
        self.items = svd.spread(vectors, known, size)
        self.indexed(self.items, log, self.kinds, self.fold_in, ctx.seed)

    def fold_in(self, offsets: Array, items: Array, weights: Array) -> Array:
        """(n, d) float32 vectors x V of users with these histories; NaN without a known item."""
        return svd.project(offsets, items, weights, self.items)

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        items, weights = asked.items, asked.weights
        if self.weigh:
            weights = weights * amounts(asked, state.history(batch.user).of_kinds(self.kinds), values=True)
            items = np.where(weights > 0, items, np.int32(-1))  # without a value it is no evidence
        vectors = self.fold_in(asked.offsets, items, weights)
        return self.best(vectors, self.items, len(state.catalogue.items), k, allowed)
