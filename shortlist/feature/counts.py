"""Counts: how much a key has happened lately, at several horizons, its trend, and its share of everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

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
        ["item"], "keys: item, user, item.<attribute>, item.* (every category) ...; several as 'user.age x item x hour'"
    )
    event: tuple[str, ...] = param((), "event kinds to count; the positive kinds when empty")
    half_life: list[str] = param(["1h", "1d", "7d"], "half-lives of decayed counts", duration=True)
    window: list[str] = param([], "lengths of plain windows of six tiles", duration=True)
    total: bool = param(False, "also the count over all time")
    trend: bool = param(True, "also the ratio of neighbouring half-lives")
    share: bool = param(False, "also the share of the count of all keys together")
    _whole: list[str] = hidden([])  # the aggregates of all keys together, in the same order
    # An aggregate, and the columns that its readings, their trends and their shares become.
    _made: list[tuple[str, list[str], list[str], list[str]]] = hidden([])

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """Per key one aggregate for all half-lives, and one for every window and for the total."""
        events = tuple(self.event) or ctx.positive
        label = "+".join(self.event) or "positive"  # not the kinds themselves: those may depend on later events
        folds: list[Fold] = []
        self._made = []
        for key in expanded(self.by, ctx.catalogue):
            for fold, names in self._folds(columns_of(key), events):
                folds.append(fold)
                own = [f"{label}/{key or 'all'}/{name}" for name in names]
                trends, shares = [f"{name}:trend" for name in own[1:]], [f"{name}:share" for name in own]
                self._made.append((fold.name, own, trends, shares))
        if self.share:
            folds += [fold for fold, _ in self._folds((), events)]
        self._whole = [fold.name for fold, _ in self._folds((), events)]
        return folds

    def _folds(self, by: tuple[str, ...], events: tuple[str, ...]) -> list[tuple[Fold, list[str]]]:
        made: list[tuple[Fold, list[str]]] = []
        if self.half_life:
            made.append((Decay(by, events, tuple(self.half_life)), list(self.half_life)))
        made += [(Window(by, events, length), [f"{length}w"]) for length in self.window]
        if self.total:
            made.append((Count(by, events), ["total"]))
        return made

    def compute(self, batch: Batch, state: State) -> Columns:
        """float32 columns of length m."""
        columns: Columns = {}
        whole = [state.values(name, batch) for name in self._whole] if self.share else []
        for i, (aggregate, names, trends, shares) in enumerate(self._made):
            values = state.values(aggregate, batch)
            columns.update(zip(names, values, strict=True))
            trending, sharing = self.trend and len(names) > 1, self.share
            if trending or sharing:
                made = np.empty((trending * len(trends) + sharing * len(shares), batch.m), dtype=np.float32)
                begin = trending * len(trends)
                if trending:
                    _trends(values, made[:begin])
                if sharing:
                    _shares(values, whole[i % len(whole)], made[begin:])
                columns.update(zip([*trends[:begin], *shares[: len(made) - begin]], made, strict=True))
        return columns

    def origin(self, column: str) -> str:
        """The aggregate that a column is read from."""
        return next(aggregate for aggregate, *names in self._made if any(column in some for some in names))


@njit(cache=True, nogil=True, error_model="numpy")
def _trends(values: Array, out: Array) -> None:
    for j in range(len(out)):
        for i in range(out.shape[1]):
            out[j, i] = (values[j, i] + np.float32(1.0)) / (values[j + 1, i] + np.float32(1.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _shares(values: Array, everything: Array, out: Array) -> None:
    for j in range(len(out)):
        for i in range(out.shape[1]):
            out[j, i] = values[j, i] / max(everything[j, i], np.float32(1e-9))
