"""Rate: how often one thing leads to another, by any key: click-through, conversion, target encoding. From the past only, by
construction: the state cannot know what has not been folded in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shortlist.core.component import param
from shortlist.core.contracts import FitContext, Fold
from shortlist.core.errors import ConfigError
from shortlist.feature._aggregates import Aggregates
from shortlist.feature.attributes import expanded
from shortlist.state.fold.rate import Rate as RateFold
from shortlist.state.keys import columns_of


@dataclass
class Rate(Aggregates):
    """Column `<event> per <over>/<key>/<half-life>` for every key and half-life: (N + prior * base) / (D + prior), with N and D the
    decayed counts of `event` and of `over` for the key, and base the same ratio over all keys together. So a key with little
    evidence reads the overall rate.

    A user's own live rate is a trap: within one user it is low just before a success and high after it, so that it orders his
    candidates the wrong way round when it enters row by row. `hold` leaves out the running session, `lag` everything since the
    start of the current tile (1d: since midnight UTC).
    """

    by: list[str] = param(
        ["item"], "keys: item, user, item.<attribute>, item.* (every category) ...; several as 'user.age x item'"
    )
    event: tuple[str, ...] = param((), "event kinds that count as a success; the positive kinds when empty")
    over: tuple[str, ...] = param((), "event kinds that they are set against; impressions when empty")
    half_life: list[str] = param(["1d", "7d"], "half-lives of the counts", duration=True)
    total: bool = param(False, "also the rate over all time")
    prior: float = param(20.0, "events of `over` at the overall rate that every key is given", low=0.0)
    weigh: bool = param(False, "weigh successes by their value")
    hold: str = param("", "a key's events count only after it has been quiet for so long; '' = at once", duration=True)
    lag: str = param("", "only what happened before the running tile of this length; '' = all", duration=True)

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """One aggregate per key. ConfigError where `over` is to be impressions and the data have none."""
        event = tuple(self.event) or ctx.positive
        over = tuple(self.over) or (ctx.impression,)
        ctx.catalogue.kind_codes(event, f"{ctx.place or 'rate'}.event")
        ctx.catalogue.kind_codes(over, f"{ctx.place or 'rate'}.over")
        if self.hold and self.lag:
            raise ConfigError(f"{ctx.place or 'rate'}: hold and lag are two ways to look away; give one of them")
        label = f"{'+'.join(self.event) or 'positive'} per {'+'.join(over)}"
        tail = (":held " + self.hold if self.hold else "") + (":before " + self.lag if self.lag else "")
        tail += ":value" if self.weigh else ""
        lives = (*self.half_life, *(("",) if self.total else ()))
        return self.keeping(
            (
                RateFold(columns_of(key), event, over, lives, self.prior, self.weigh, self.hold, self.lag),
                [f"{label}/{key}/{life or 'total'}{tail}" for life in lives],
            )
            for key in expanded(self.by, ctx.catalogue)
        )
