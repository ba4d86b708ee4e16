"""Available: only items that can be had at the moment of the request."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.component import param
from shortlist.core.contracts import Filter, FitContext, Mask, State
from shortlist.core.errors import ConfigError, choices
from shortlist.core.rows import offsets_of
from shortlist.data.catalogue import NEVER

FROM, UNTIL = "available_from", "available_until"


@dataclass
class Available(Filter):
    """Keeps an item when available_from <= request time < available_until; a missing bound does not bind.

    An item that no items table listed and that has no `available_from` is available once an event has named it: before
    that nobody could know of it, and offline its code may stem from the future.
    """

    on_error: ClassVar[str] = "drop"  # what cannot be had must not be shown
    missing: str = param("keep", "what to do with items that have no available_from", options=("keep", "drop"))

    def fit(self, log: Any, ctx: FitContext) -> None:
        """Check the columns; nothing is learned. ConfigError when a bound is not a moment, or when `drop` would drop all."""
        columns = ctx.catalogue.items.columns
        where = ctx.place or "available"
        for name in (FROM, UNTIL):
            if name in columns and columns[name].kind != "moment":
                raise ConfigError(f"{where}: item column {name!r} is a {columns[name].kind} column, not a moment")
        if self.missing == "drop" and FROM not in columns:
            raise ConfigError(
                f"{where}: missing = 'drop' would drop every item: no item column {FROM!r}; columns: {choices(columns)}"
            )

    def keep(self, batch: Batch, state: State) -> Array:
        """(m,) bool: rows whose item is available at the time of its request."""
        return self._available(batch.item, batch.spread(batch.time), state)

    def mask(self, batch: Batch, state: State) -> Mask | None:
        """All of `keep`: one mask over items, and for requests of several moments what each of them bans besides. None when no
        item could be dropped."""
        items = state.catalogue.items
        unbounded = FROM not in items.columns and UNTIL not in items.columns
        if batch.n == 0 or (unbounded and items.listed >= len(items)):
            return None
        every = np.arange(len(items), dtype=np.int32)
        if (batch.time == batch.time[0]).all():
            return Mask(self._available(every, batch.time[:1], state))
        # A request must be told the same alone and among others: else a source spends its quota differently.
        moments, which = np.unique(batch.time, return_inverse=True)
        masks = np.stack([self._available(every, moments[j : j + 1], state) for j in range(len(moments))])
        shared: Array = np.asarray(masks.any(axis=0))
        banned = [np.flatnonzero(shared & ~mask).astype(np.int32) for mask in masks]
        return Mask(
            shared, offsets_of(np.array([len(banned[j]) for j in which])), np.concatenate([banned[j] for j in which])
        )

    def _available(self, item: Array, time: Array, state: State) -> Array:
        """(len,) bool for items at (len,) or (1,) moments. A code that is not in the catalogue is not available."""
        items = state.catalogue.items
        known = (item >= 0) & (item < len(items))
        item = np.where(known, item, -1)  # -1 reads the missing value of every column
        since = items.values(FROM, item) if FROM in items.columns else np.full(len(item), NEVER)
        dated = since != NEVER
        keep = known & (since <= time)  # NEVER is the earliest moment there is
        if self.missing == "drop":
            keep &= dated
        if items.listed < len(items):
            keep &= (item < items.listed) | dated | state.seen(item)
        if UNTIL in items.columns:
            until = items.values(UNTIL, item)
            keep &= (until == NEVER) | (time < until)
        return keep
