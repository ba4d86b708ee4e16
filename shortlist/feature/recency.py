"""Recency: how long ago a key last had an event (the item's last click, the user's idle time), its age, and its rhythm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shortlist.core.component import param
from shortlist.core.contracts import FitContext, Fold
from shortlist.feature._aggregates import Aggregates
from shortlist.feature.attributes import expanded
from shortlist.state.fold.first import First
from shortlist.state.fold.gap import Gap
from shortlist.state.fold.last import Last
from shortlist.state.keys import columns_of


@dataclass
class Recency(Aggregates):
    """Column `<event>/<key>/since` (`positive/...` where no event is named) for every key: seconds since its newest event; with
    `first`, `/age`: since its first one; with `gap`, `/gap`: the mean seconds between its events, and `/quiet`, the time since the
    newest in such gaps (above 1: the next one is overdue). NaN when the key has had no such event."""

    by: list[str] = param(
        ["item", "user"],
        "keys: item, user, item.<attribute>, item.* (every category) ...; several as 'user x item'",
    )
    event: tuple[str, ...] = param((), "event kinds; the positive kinds when empty")
    first: bool = param(False, "also the time since the key's first event: the age of an item whose date is not known")
    gap: bool = param(False, "also the mean time between events")

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """One to three aggregates per key."""
        events = tuple(self.event) or ctx.positive
        label = "+".join(self.event) or "positive"  # not the kinds themselves: those may depend on later events
        made: list[tuple[Fold, list[str]]] = []
        for key in expanded(self.by, ctx.catalogue):
            by, stem = columns_of(key), f"{label}/{key}"
            made.append((Last(by, events), [f"{stem}/since"]))
            if self.first:
                made.append((First(by, events), [f"{stem}/age"]))
            if self.gap:
                made.append((Gap(by, events), [f"{stem}/gap", f"{stem}/quiet"]))
        return self.keeping(made)
