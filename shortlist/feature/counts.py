"""Counts: how much a key has happened lately, at several horizons, its trend, and its share of everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import hidden, param
from shortlist.core.contracts import Feature, FitContext, Fold, State
from shortlist.feature.attributes import expanded
from shortlist.state.fold.count import Count
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.window import Window
from shortlist.state.keys import columns_of


@dataclass
class Counts(Feature):
    """Column `<event>/<key>/<horizon>` (`positive/...` where no event is named) for every key and horizon. With `trend`, `<...>:trend` = (short + 1) / (long + 1) of
    neighbouring half-lives; with `share`, `<...>:share` = the count over the same count of all keys together."""

    by: list[str] = param(
        ["item"], "keys: item, user, item.<attribute>, item.* (every category) ...; two of them as 'user.age x item'"
    )
    event: tuple[str, ...] = param((), "event kinds to count; the positive kinds when empty")
    half_life: list[str] = param(["1h", "1d", "7d"], "half-lives of decayed counts", duration=True)
    window: list[str] = param([], "lengths of plain windows of six tiles", duration=True)
    total: bool = param(False, "also the count over all time")
    trend: bool = param(True, "also the ratio of neighbouring half-lives")
    share: bool = param(False, "also the share of the count of all keys together")
    _events: tuple[str, ...] = hidden(())
    _keys: list[str] = hidden([])
    _names: dict[Any, str] = hidden(
        {}
    )  # of aggregates, by key and horizon: a fold is too dear to be made for every request

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """One aggregate per key and horizon."""
        self._events = tuple(self.event) or ctx.positive
        self._keys = expanded(self.by, ctx.catalogue)
        self._names = {}
        folds: list[Fold] = []
        for key in self._keys:
            folds += [self._fold(columns_of(key), horizon) for horizon in self._horizons()]
        if self.share:
            folds += [self._fold((), horizon) for horizon in self._horizons()]
        return folds

    def _horizons(self) -> list[tuple[str, str]]:
        plain = [("total", "")] if self.total else []
        return [("decay", text) for text in self.half_life] + [("window", text) for text in self.window] + plain

    def _fold(self, by: tuple[str, ...], horizon: tuple[str, str]) -> Fold:
        kind, length = horizon
        if kind == "decay":
            return Decay(by, self._events, length)
        return Window(by, self._events, length) if kind == "window" else Count(by, self._events)

    def _name(self, by: tuple[str, ...], horizon: tuple[str, str]) -> str:
        if (by, horizon) not in self._names:
            self._names[by, horizon] = self._fold(by, horizon).name
        return self._names[by, horizon]

    def compute(self, batch: Batch, state: State) -> Columns:
        """float32 columns of length m."""
        columns: Columns = {}
        time = batch.time if batch.n == 1 else batch.spread(batch.time)
        label = "+".join(self.event) or "positive"  # not the kinds themselves: those may depend on later events
        for key in self._keys:
            by = columns_of(key)
            keys = state.keys(by, batch)
            before: Array | None = None
            for horizon in self._horizons():
                name = f"{label}/{key}/{horizon[1] or 'total'}" + ("w" if horizon[0] == "window" else "")
                value = state.read(self._name(by, horizon), keys, time)
                columns[name] = value.astype(np.float32)
                if self.trend and horizon[0] == "decay":
                    if before is not None:
                        columns[f"{name}:trend"] = ((before + 1) / (value + 1)).astype(np.float32)
                    before = value
                if self.share:
                    whole = np.zeros(1 if batch.n == 1 else batch.m, dtype=np.int64)
                    everything = state.read(self._name((), horizon), whole, time)
                    columns[f"{name}:share"] = (value / np.maximum(everything, 1e-9)).astype(np.float32)
        return columns
