"""Recency: how long ago a key last had an event: the item's last click, the user's idle time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shortlist.core.batch import Batch, Columns
from shortlist.core.component import hidden, param
from shortlist.core.contracts import Feature, FitContext, Fold, State
from shortlist.feature.attributes import expanded
from shortlist.state.fold.last import Last
from shortlist.state.keys import columns_of


@dataclass
class Recency(Feature):
    """Column `<event>/<key>/since` (`positive/...` where no event is named) for every key: seconds, NaN when the key has had no such event."""

    by: list[str] = param(
        ["item", "user"],
        "keys: item, user, item.<attribute>, item.* (every category) ...; several as 'user x item'",
    )
    event: tuple[str, ...] = param((), "event kinds; the positive kinds when empty")
    _made: dict[str, str] = hidden({})  # aggregates by column

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """One aggregate per key."""
        events = tuple(self.event) or ctx.positive
        label = "+".join(self.event) or "positive"  # not the kinds themselves: those may depend on later events
        folds = {f"{label}/{key}/since": Last(columns_of(key), events) for key in expanded(self.by, ctx.catalogue)}
        self._made = {column: fold.name for column, fold in folds.items()}
        return list(folds.values())

    def compute(self, batch: Batch, state: State) -> Columns:
        """float32 columns of length m."""
        return {column: state.values(aggregate, batch)[0] for column, aggregate in self._made.items()}

    def origin(self, column: str) -> str:
        """The aggregate that a column is read from."""
        return self._made[column]
