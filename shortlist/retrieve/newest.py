"""Newest: the items that came last, for everybody, or of the categories that the user likes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Fold, Hits, Mask, Source, State
from shortlist.core.errors import ConfigError, choices
from shortlist.core.units import seconds
from shortlist.data.catalogue import NEVER
from shortlist.data.log import Log
from shortlist.index.top import top
from shortlist.retrieve._evidence import evidence
from shortlist.retrieve._live import moments, shared_rows
from shortlist.state.fold.first import First

DATE = "available_from"
HOUR = 3600.0


@dataclass
class Newest(Source):
    """Items by age, the youngest first: score = -age in hours as of the request. An item's age counts from `available_from`; where
    it has no date, from the first event of any kind that named it, so that it can be found from the next request on. Items
    dated later than the request, and those of which nothing is known yet, are not returned; in `full` they are NaN.

    by: an item column of categories or tags. A request is then answered with items that share one with the newest `last` items of
    its history; without a category in its history, with items of all. In `full`, the others are NaN.
    """

    within: str = param("", 'only items at most this old; "" = of any age', duration=True)
    by: str = param("", "item column of categories or tags to stay within; empty = all items")
    last: int = param(
        20, "newest distinct items of the history whose categories are liked; 0 = all that are kept", low=0
    )
    event: tuple[str, ...] = param(
        (), "event kinds of the history that say what is liked; the positive kinds when empty"
    )
    kinds: Array = fitted("int8 codes of the event kinds")

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """When every item was first met."""
        self._resolve(ctx)
        return (First(("item",)),)

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Nothing is learned from the log: the catalogue and the state know the ages."""
        self._resolve(ctx)

    def _resolve(self, ctx: FitContext) -> None:
        self.kinds = ctx.kinds(self.event)
        columns, place = ctx.catalogue.items, ctx.place or "newest"
        if DATE in columns.columns and columns.column(DATE).kind != "moment":
            raise ConfigError(f"{place}: item column {DATE!r} is a {columns.column(DATE).kind} column, not a moment")
        if self.by and columns.column(self.by, f"{place}.by").kind not in ("category", "tags"):
            raise ConfigError(
                f"{place}.by: item column {self.by!r} is a {columns.column(self.by).kind} column; "
                f"columns of categories: {choices(columns.of_kind('category', 'tags'))}"
            )

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source. `full` is one row where all requests share it."""
        times = moments(batch, state)
        if not self.by:
            return shared_rows((times,), lambda i: self._scores(state, int(times[i])), k, allowed, -np.inf)
        size = len(state.catalogue.items)
        full = np.empty((batch.n, size), dtype=np.float32)
        asked = evidence(batch, state, self.kinds, self.last)
        offsets, liked = state.catalogue.items.tags(self.by, asked.items)
        offsets = offsets[asked.offsets]  # of a request's items, all their categories
        own_offsets, own = state.catalogue.items.tags(self.by, np.arange(size, dtype=np.int32))
        if batch.n:
            scores, which = self._moments(state, times)
            _within(scores, which, offsets, liked, own_offsets, own, full)
        return Hits(*top(full, k, allowed), full)

    def _moments(self, state: State, times: Array) -> tuple[Array, Array]:
        """Scores at every distinct moment, and the row of each request."""
        distinct, which = np.unique(times, return_inverse=True)
        return np.stack([self._scores(state, int(time)) for time in distinct]), which.reshape(-1)

    def _scores(self, state: State, time: int) -> Array:
        """(items,) float32 scores at one moment; NaN for what is not to be returned."""
        items = state.catalogue.items
        age = state.read(First(("item",)).name, np.arange(len(items), dtype=np.int64), np.array([time]))[0]
        if DATE in items.columns:
            since = items.column(DATE).values[: len(items)]
            dated = time - np.where(since == NEVER, time, since)
            age = np.where(since == NEVER, age, np.where(dated >= 0, dated, np.nan))
        if self.within:
            age[age > seconds(self.within)] = np.nan
        scores: Array = (age / -HOUR).astype(np.float32)
        return scores


@njit(cache=True, nogil=True)
def _within(
    scores: Array, which: Array, offsets: Array, liked: Array, own_offsets: Array, own: Array, full: Array
) -> None:
    """Every request's row of scores, NaN for items that share no liked category; the whole row where none is liked."""
    highest = -1
    for code in own:
        highest = max(highest, code)
    wanted = np.full(highest + 1, -1, dtype=np.int64)  # stamped with the request, so that it is never cleared
    for i in range(len(full)):
        any_liked = offsets[i + 1] > offsets[i]
        for e in range(offsets[i], offsets[i + 1]):
            wanted[liked[e]] = i
        for item in range(full.shape[1]):
            keep = not any_liked
            for e in range(own_offsets[item], own_offsets[item + 1]):
                keep |= wanted[own[e]] == i
            full[i, item] = scores[which[i], item] if keep else np.nan
