"""Item k-nearest neighbours: items met by the same users (Sarwar et al., WWW 2001; Deshpande & Karypis, TOIS 2004)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, Source, State
from shortlist.core.units import seconds
from shortlist.data.log import Log
from shortlist.data.matrix import compact, interactions
from shortlist.retrieve._evidence import Evidence, amounts, evidence
from shortlist.retrieve._live import moments
from shortlist.retrieve._nearest import nearest, turned
from shortlist.retrieve._sums import hits


@dataclass
class Itemknn(Source):
    """Similarity of two items = the inner product of their user columns / (product of their norms + shrink), the best `k` per
    item kept; an item's score is the sum over the history of weight * similarity.

    Weighting of the (user, item) entries, f = how many events: cosine: 1. tfidf: sqrt(f) * idf, so that a user of few items says more.
    bm25: f * (k1 + 1) / (f + k1 * (1 - b + b * users of the item / mean)) * idf, with k1 = 1.2, b = 0.75 (Robertson et al., TREC-3).
    idf of a user of n of the N items that anybody met: smooth: ln(1 + N / n). plain: ln(N / (1 + n)), at least 10^-6. jaccard, in
    place of all that: users of both / (users of either + shrink).

    With `keep = "candidate"` an item has the k items of histories that are nearest to it; with "history" each item of the history
    names its k. `weigh`: items of the history weigh the sum of their values, `half_life`: the decayed number of events or sum, as of
    the request. Jaccard with both is SAR. Items that nothing in the history is near are not returned; in `full` they are 0.
    """

    k: int = param(100, "neighbours kept per item", low=1)
    weighting: str = param("cosine", "how a (user, item) entry weighs", options=("cosine", "tfidf", "bm25", "jaccard"))
    idf: str = param("smooth", "how much less a user of many items says", options=("smooth", "plain"))
    shrink: float = param(10.0, "added to the denominator: pulls similarities of rare items to 0", low=0)
    keep: str = param("history", "whose k neighbours are kept", options=("history", "candidate"))
    weigh: str = param("", "what makes an item of the history weigh more", options=("", "value"))
    half_life: str = param("", 'age at which an event of the history weighs half; "" = never', duration=True)
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
        matrix = interactions(*compact(log), size, counts=self.weighting in ("tfidf", "bm25"))
        users = np.bincount(matrix.indices, minlength=size).astype(np.float64)
        if self.weighting in ("tfidf", "bm25"):
            met = int(np.count_nonzero(users))
            length = (0.25 + 0.75 * users * met / max(len(matrix.indices), 1))[matrix.indices]
            _weigh(matrix.indptr, matrix.data, length, met, self.weighting == "bm25", self.idf == "plain")
        norm = np.sqrt(np.bincount(matrix.indices, matrix.data.astype(np.float64) ** 2, minlength=size))
        jaccard = self.weighting == "jaccard"
        side = users if jaccard else norm
        found = nearest(matrix.tocsc(), matrix, side, side, self.shrink, self.k, ctx.progress, "itemknn", union=jaccard)
        self.indptr, self.indices, self.values = turned(*found) if self.keep == "candidate" else found

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        size = len(state.catalogue.items)
        weighed = self._weighed(asked, batch, state)
        return hits(weighed, self.indptr, self.indices, self.values, size, k, allowed)

    def _weighed(self, asked: Evidence, batch: Batch, state: State) -> Evidence:
        """What the items of the histories weigh."""
        if not self.weigh and not self.half_life:
            return asked
        history = state.history(batch.user).of_kinds(self.kinds)
        half_life = seconds(self.half_life) if self.half_life else 0.0
        amount = amounts(asked, history, self.weigh == "value", half_life, moments(batch, state))
        return Evidence(asked.offsets, asked.items, np.asarray(asked.weights * amount, dtype=np.float32))


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
def _weigh(indptr: Array, data: Array, length: Array, items: int, bm25: bool, plain: bool) -> None:
    """Weigh the entries of a CSR user x item matrix in place. length: (entries,) of the item, by bm25; items: met by anybody."""
    for u in range(len(indptr) - 1):
        count = indptr[u + 1] - indptr[u]
        rarity = max(np.log(items / (1.0 + count)), 1e-6) if plain else np.log(1.0 + items / max(count, 1))
        for e in range(indptr[u], indptr[u + 1]):
            if bm25:
                data[e] = data[e] * 2.2 / (data[e] + 1.2 * length[e]) * rarity
            else:
                data[e] = np.sqrt(data[e]) * rarity
