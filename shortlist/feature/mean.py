"""Mean: the mean and spread of event values (ratings, seconds, prices) by any key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shortlist.core.component import param
from shortlist.core.contracts import FitContext, Fold
from shortlist.feature._aggregates import Aggregates
from shortlist.feature.attributes import expanded
from shortlist.state.fold.mean import Mean as MeanFold
from shortlist.state.keys import columns_of


@dataclass
class Mean(Aggregates):
    """Columns `<event>/<key>/mean` and `<event>/<key>/std` of the events' values; NaN for a key without any."""

    by: list[str] = param(
        ["item", "user"],
        "keys: item, user, item.<attribute>, item.* (every category) ...; several as 'user x item.genre'",
    )
    event: tuple[str, ...] = param((), "event kinds; the positive kinds when empty")
    std: bool = param(True, "also the standard deviation")

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """One aggregate per key."""
        event = tuple(self.event) or ctx.positive
        label = "+".join(self.event) or "positive"
        return self.keeping(
            (
                (fold := MeanFold(columns_of(key), event)),
                [f"{label}/{key}/{name}" if name in self._wanted() else "" for name in fold.readings()],
            )
            for key in expanded(self.by, ctx.catalogue)
        )

    def _wanted(self) -> tuple[str, ...]:
        return ("mean", "std") if self.std else ("mean",)
