"""Co-occurrence: items met close to each other, or right after each other, in users' sequences."""

from __future__ import annotations

from dataclasses import dataclass

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, Source, State
from shortlist.core.units import seconds
from shortlist.data.log import Log
from shortlist.data.pairs import NORMS, best, by_user, normalised, pairs
from shortlist.retrieve._evidence import evidence
from shortlist.retrieve._sums import hits


@dataclass
class Cooccurrence(Source):
    """Co-visitation within a window of each user's sequence; `window = 1, ordered = true` is a first-order Markov chain.

    With c(a, b) the summed weight of a pair, c(a), c(b) its row and column sums and T the total, and p = c / T:
    count: c(a, b). conditional: c(a, b) / c(a). cosine: c(a, b) / sqrt(c(a) c(b)). lift: p(a, b) / (p(a) p(b)). npmi:
    ln(lift) / -ln p(a, b), in (-1, 1] (Bouma 2009), only what is above 0. An item's score is the sum over the history of
    recency ** place * value. Items that nothing in the history goes with are not returned; in `full` they are 0.
    """

    window: int = param(10, "how many places apart two events may be", low=1)
    within: str = param("", 'how far apart in time; "" = however far', duration=True)
    ordered: bool = param(False, "only what comes after; else both directions")
    distance: float = param(1.0, "a pair weighs places ** -distance", low=0)
    half_life: str = param("", 'age, as of the fit, at which a pair weighs half; "" = never', duration=True)
    norm: str = param("cosine", "what a pair's weight is made into", options=NORMS)
    least: int = param(2, "times that a pair must have been met", low=1)
    k: int = param(100, "partners kept per item", low=1)
    last: int = param(10, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    recency: float = param(0.7, "weight of each older item of the history against the one after it", low=0, high=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    indptr: Array = fitted("(items + 1,) int64: where each item's partners begin")
    indices: Array = fitted("int32 partners, best first")
    values: Array = fitted("float32 values of the pairs")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Count the log's pairs."""
        self.kinds = ctx.kinds(self.event)
        log = by_user(log.of_kinds(self.kinds))
        size = int(log.item.max(initial=-1)) + 1
        counted = pairs(
            log,
            size,
            window=self.window,
            within=seconds(self.within) if self.within else 0.0,
            ordered=self.ordered,
            distance=self.distance,
            half_life=seconds(self.half_life) if self.half_life else 0.0,
            now=ctx.now,
        )
        values = normalised(counted, self.norm)
        self.indptr, self.indices, self.values = best(
            counted.indptr, counted.indices, values, counted.support, self.least, self.k
        )

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.recency)
        size = len(state.catalogue.items)
        return hits(asked, self.indptr, self.indices, self.values, size, k, allowed)
