"""CTR top: the items that are taken most often among those who see them, or that bring the most value per view (wCTR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, hidden, param
from shortlist.core.contracts import FitContext, Fold, Hits, Mask, Source, State
from shortlist.data.log import Log
from shortlist.retrieve._live import moments, shared_rows
from shortlist.state.fold.count import Count
from shortlist.state.fold.rate import Rate


@dataclass
class CtrTop(Source):
    """Items by (N + prior * base) / (D + prior): N and D the item's counts of `event` and of `over`, decayed by `half_life`, base the
    same ratio over all items together, so that an item with few impressions stays near the overall rate. With `weigh`, N adds up
    the values of the events (wCTR: value per impression). Read from the state as of the request. Events whose impression was never
    logged count, too, so a rate may exceed 1.

    Only items with at least `least` events of `over` are returned; in `full`, the others are NaN.
    """

    event: tuple[str, ...] = param((), "event kinds that count as taken; the positive kinds when empty")
    over: tuple[str, ...] = param((), "event kinds that they are set against; impressions when empty")
    half_life: str = param("", 'time after which an event counts half; "" = it always counts one', duration=True)
    prior: float = param(20.0, "events of `over` at the overall rate that every item is given", low=0.0)
    weigh: bool = param(False, "weigh what is taken by its value (wCTR)")
    least: int = param(1, "events of `over`, undecayed, that an item needs to be returned", low=1)
    above: Array = fitted("int8 codes of the event kinds of the numerator")
    below: Array = fitted("int8 codes of the event kinds of the denominator")
    _names: tuple[str, str] = hidden(("", ""))

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """The rate, and the count of what it is set against. ConfigError where `over` is to be impressions and the data have none."""
        self._names = ("", "")
        self._learn(ctx)
        return self._kept(tuple(self.event) or ctx.positive, tuple(self.over) or (ctx.impression,))

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Nothing is learned from the log: the counts are in the state."""
        self._learn(ctx)

    def _learn(self, ctx: FitContext) -> None:
        place = ctx.place or "ctr_top"
        self.above = ctx.catalogue.kind_codes(tuple(self.event) or ctx.positive, f"{place}.event")
        self.below = ctx.catalogue.kind_codes(tuple(self.over) or (ctx.impression,), f"{place}.over")

    def _kept(self, event: tuple[str, ...], over: tuple[str, ...]) -> tuple[Fold, Fold]:
        return Rate(("item",), event, over, (self.half_life,), self.prior, self.weigh), Count(("item",), over)

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source. `full` is one row where all requests share it."""
        if not self._names[0]:
            kinds = [
                tuple(str(state.catalogue.kinds.name(int(code))) for code in codes)
                for codes in (self.above, self.below)
            ]
            rate, count = self._kept(*kinds)
            self._names = (rate.name, count.name)
        size = len(state.catalogue.items)
        # Without a half-life the counts are the same at every moment: only the log position moves them.
        times = moments(batch, state) if self.half_life else np.full(batch.n, state.now, dtype=np.int64)

        def row(i: int) -> Array:
            rates = state.scan(self._names[0], size, int(times[i]))
            shown = state.scan(self._names[1], size, int(times[i]))
            return np.where(shown >= self.least, rates, np.float32(np.nan)).astype(np.float32)

        once = (state, ("ctr_top", *self._names, self.least, size))
        return shared_rows((times,), row, k, allowed, -np.inf, once)
