"""Item k-nearest neighbours: items met by the same users (Sarwar et al., WWW 2001; Deshpande & Karypis, TOIS 2004)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, Source, State
from shortlist.data.log import Log
from shortlist.data.matrix import compact, interactions
from shortlist.retrieve._evidence import evidence
from shortlist.retrieve._nearest import nearest
from shortlist.retrieve._sums import hits


@dataclass
class Itemknn(Source):
    """Similarity of two items = the inner product of their user columns / (product of their norms + shrink), the best `k` per
    item kept; an item's score is the sum over the history of weight * similarity.

    Weighting of the (user, item) entries, f = how many events: cosine: 1. tfidf: sqrt(f) * ln(1 + items / items of the user),
    so that a user of few items says more. bm25: f * (k1 + 1) / (f + k1 * (1 - b + b * users of the item / mean)) times the same
    logarithm, with k1 = 1.2, b = 0.75 (Robertson et al., TREC-3). Items that nothing in the history is near are not returned;
    in `full` they are 0.
    """

    k: int = param(100, "neighbours kept per item", low=1)
    weighting: str = param("cosine", "how a (user, item) entry weighs", options=("cosine", "tfidf", "bm25"))
    shrink: float = param(10.0, "added to the product of the norms: pulls similarities of rare items to 0", low=0)
    last: int = param(0, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    decay: float = param(1.0, "weight of each older item of the history against the one after it", low=0, high=1)
    cap: int = param(300, "newest events per user that are fitted on; 0 = all", low=0)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    indptr: Array = fitted("(items + 1,) int64: where each item's neighbours begin")
    indices: Array = fitted("int32 neighbours")
    values: Array = fitted("float32 similarities")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Neighbours from the log's users. Memory: the matrix twice, and k neighbours per item."""
        self.kinds = ctx.kinds(self.event)
        log = newest(log.of_kinds(self.kinds), self.cap)
        size = int(log.item.max(initial=-1)) + 1
        matrix = interactions(*compact(log), size, counts=self.weighting != "cosine")
        _weigh(matrix.indptr, matrix.indices, matrix.data, size, self.weighting)
        norm = np.sqrt(np.bincount(matrix.indices, matrix.data.astype(np.float64) ** 2, minlength=size))
        self.indptr, self.indices, self.values = nearest(
            matrix.tocsc(), matrix, norm, norm, self.shrink, self.k, ctx.progress, "itemknn"
        )

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        size = len(state.catalogue.items)
        return hits(asked, self.indptr, self.indices, self.values, size, k, allowed)


def newest(log: Log, cap: int) -> Log:
    """The newest `cap` events of every user, in log order; 0 = all."""
    if cap <= 0 or not len(log):
        return log
    return log.take(_newest(log.user, int(log.user.max()) + 1, cap))


@njit(cache=True, nogil=True)
def _newest(users: Array, size: int, cap: int) -> Array:
    count = np.zeros(size, dtype=np.int64)
    keep = np.zeros(len(users), dtype=np.bool_)
    for i in range(len(users) - 1, -1, -1):
        count[users[i]] += 1
        keep[i] = count[users[i]] <= cap
    return keep


@njit(cache=True, nogil=True)
def _weigh_kernel(indptr: Array, indices: Array, data: Array, items: int, bm25: bool) -> None:
    frequency = np.zeros(items)
    for e in range(len(indices)):
        frequency[indices[e]] += 1.0
    met = 0
    for j in range(items):
        met += frequency[j] > 0
    mean = len(indices) / max(met, 1)
    for u in range(len(indptr) - 1):
        rarity = np.log(1.0 + met / max(indptr[u + 1] - indptr[u], 1))
        for e in range(indptr[u], indptr[u + 1]):
            if bm25:
                length = 0.25 + 0.75 * frequency[indices[e]] / mean
                data[e] = data[e] * 2.2 / (data[e] + 1.2 * length) * rarity
            else:
                data[e] = np.sqrt(data[e]) * rarity


def _weigh(indptr: Array, indices: Array, data: Array, items: int, weighting: str) -> None:
    """Weigh the entries of a CSR user x item matrix in place."""
    if weighting != "cosine":
        _weigh_kernel(indptr, indices, data, items, weighting == "bm25")
