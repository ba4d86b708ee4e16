"""Recency: how long ago a key last had an event: the item's last click, the user's idle time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
        "keys: item, user, item.<attribute>, item.* (every category) ...; two of them as 'user x item'",
    )
    event: tuple[str, ...] = param((), "event kinds; the positive kinds when empty")
    _events: tuple[str, ...] = hidden(())
    _keys: list[str] = hidden([])
    _names: dict[str, str] = hidden({})  # of aggregates, by key: a fold is too dear to be made for every request

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """One aggregate per key."""
        self._events = tuple(self.event) or ctx.positive
        self._keys = expanded(self.by, ctx.catalogue)
        folds = [Last(columns_of(key), self._events) for key in self._keys]
        self._names = {key: fold.name for key, fold in zip(self._keys, folds, strict=True)}
        return folds

    def compute(self, batch: Batch, state: State) -> Columns:
        """float32 columns of length m."""
        time = batch.time if batch.n == 1 else batch.spread(batch.time)
        label = "+".join(self.event) or "positive"  # not the kinds themselves: those may depend on later events
        return {
            f"{label}/{key}/since": state.read(self._names[key], state.keys(columns_of(key), batch), time).astype(
                np.float32
            )
            for key in self._keys
        }
