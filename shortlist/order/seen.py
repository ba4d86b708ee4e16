"""Seen: what the user has met already is not recommended again."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import Filter, FitContext, History, Mask, State
from shortlist.core.errors import ConfigError
from shortlist.core.units import seconds


@dataclass
class Seen(Filter):
    """Drops an item when the user's history has an event of these kinds with it, less than `within` before the request.

    What has left the history is forgotten: "for ever" reaches back as far as the state's history ring, and only to the kinds
    that enter it. An unknown user has no history, so nothing is dropped.
    """

    on_error: ClassVar[str] = "keep"  # shown twice is a nuisance, nothing shown is a failure
    event: tuple[str, ...] = param((), "event kinds that make an item seen; the positive kinds when empty")
    within: str = param("", "how long an item stays seen; empty = for ever", duration=True)
    repeats: float = param(
        1.0,
        "stand aside when this share of the log's events, or more, repeat the same user and item",
        low=0.0,
        high=1.0,
    )
    kinds: Array = fitted("int8 codes of the event kinds")
    repeated: Array = fitted("(1,) float64 share of events that repeated an earlier one of the same user and item")

    def __post_init__(self) -> None:
        self.event = tuple(self.event)

    def fit(self, log: Any, ctx: FitContext) -> None:
        """Look the event kinds up, and measure how usual repeats are."""
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        pairs = (log.user.astype(np.int64) << 32) | log.item
        self.repeated = np.array([1.0 - len(np.unique(pairs)) / max(len(pairs), 1)])

    def keep(self, batch: Batch, state: State) -> Array:
        """(m,) bool: rows whose item the user has not met."""
        met = self._met(batch, state)
        size = 1 + max(int(batch.item.max(initial=-1)), int(met.items.max(initial=-1)))
        keep = np.ones(batch.m, dtype=bool)
        _strike(batch.offsets, np.ascontiguousarray(batch.item), met.offsets, met.items, size, keep)
        return keep

    def mask(self, batch: Batch, state: State) -> Mask:
        """All of `keep`, as a list of banned items per request (an item may be listed more than once)."""
        met = self._met(batch, state)
        return Mask(None, met.offsets, met.items)

    def _met(self, batch: Batch, state: State) -> History:
        """The events that make an item seen."""
        if self.repeated is not None and self.repeated[0] >= self.repeats:
            nothing = np.zeros(0, dtype=np.int64)
            return History(np.zeros(batch.n + 1, dtype=np.int64), nothing, nothing, nothing, nothing)
        history = state.history(batch.user).of_kinds(self._kinds(state))
        if not self.within:
            return history
        owner = np.repeat(np.arange(batch.n), np.diff(history.offsets))
        return history.where(history.times > batch.time[owner] - seconds(self.within))

    def _kinds(self, state: State) -> Array:
        if self.kinds is not None:
            return self.kinds
        if not self.event:
            raise ConfigError(
                "seen: which kinds are positive is known after fit only; fit the pipeline, or name `event`"
            )
        codes: Array = state.catalogue.kind_codes(self.event, "seen")
        return codes


@njit(cache=True, nogil=True)
def _strike(offsets: Array, items: Array, met_offsets: Array, met: Array, size: int, keep: Array) -> None:
    """Candidates that are among their request's `met[met_offsets[i]:met_offsets[i + 1]]` are not kept."""
    flags = np.zeros(size, dtype=np.bool_)
    for i in range(len(offsets) - 1):
        for j in range(met_offsets[i], met_offsets[i + 1]):
            flags[met[j]] = True
        for row in range(offsets[i], offsets[i + 1]):
            keep[row] = not flags[items[row]]
        for j in range(met_offsets[i], met_offsets[i + 1]):
            flags[met[j]] = False
