"""RP3beta: a random walk of three steps with a penalty on popularity (Paudel, Christoffel, Newell & Bernstein, "Updatable, Accurate,
Diverse, and Scalable Recommendations for Interactive Applications", ACM TiiS 2017); P3alpha (Cooper et al., WWW 2014) at beta 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, Source, State
from shortlist.data.log import Log
from shortlist.data.matrix import compact, interactions
from shortlist.retrieve._evidence import evidence
from shortlist.retrieve._nearest import largest, nearest
from shortlist.retrieve._sums import hits


@dataclass
class Rp3beta(Source):
    """From an item a of the history to one of its users u, each equally likely, and on to one of u's items b:

        W[a, b] = sum over u of (1 / users of a) ^ alpha * (1 / items of u) ^ alpha / (users of b) ^ beta,

    a != b, the best `k` per item kept; with `normalise` the rows of W then sum to 1, so that all items of the history say as much; with
    `keep = "both"` an item then keeps the k of the history that reach it best, which holds back what everything leads to. Only users and items of the log are on the way. A request's scores are the weighted sum of
    the rows of W of its history: the first step, from the user to the items of the history, is `decay`. Items that the walk does
    not reach are not returned; in `full` they are 0.
    """

    k: int = param(200, "partners kept per item", low=1)
    alpha: float = param(
        1.0, "power of the step probabilities: above 1 heavy users and popular items of the history say less", low=0
    )
    beta: float = param(0.6, "power of the popularity that a score is divided by; 0 = P3alpha", low=0)
    normalise: bool = param(False, "rows of W sum to 1")
    keep: str = param("history", "whose k partners are kept", options=("history", "both"))
    last: int = param(0, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    decay: float = param(1.0, "weight of each older item of the history against the one after it", low=0, high=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    indptr: Array = fitted("(items + 1,) int64: where each item's partners begin")
    indices: Array = fitted("int32 partners, best first")
    values: Array = fitted("float32 rows of W")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """W in closed form. Memory: the matrix twice, and k partners per item."""
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        size = int(log.item.max(initial=-1)) + 1
        matrix = interactions(*compact(log), size)
        lengths = np.diff(matrix.indptr)
        popularity = np.maximum(np.bincount(matrix.indices, minlength=size), 1).astype(np.float64)
        steps = np.repeat(np.maximum(lengths, 1).astype(np.float64) ** -self.alpha, lengths)
        walk = sparse.csr_array((steps, matrix.indices, matrix.indptr), shape=matrix.shape)
        self.indptr, self.indices, self.values = nearest(
            matrix.tocsc(), walk, popularity**self.alpha, popularity**self.beta, 0.0, self.k, ctx.progress, "rp3beta"
        )
        if self.normalise:
            row = np.repeat(np.arange(size), np.diff(self.indptr))
            self.values = np.asarray(self.values / np.bincount(row, self.values, size)[row], dtype=np.float32)
        if self.keep == "both":
            kept = largest(self.indices, self.values, self.k)
            row = np.repeat(np.arange(size), np.diff(self.indptr))[kept]
            self.indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=size))]).astype(np.int64)
            self.indices, self.values = self.indices[kept], self.values[kept]

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        size = len(state.catalogue.items)
        return hits(asked, self.indptr, self.indices, self.values, size, k, allowed)
