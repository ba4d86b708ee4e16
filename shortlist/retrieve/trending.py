"""Trending: what happens more now than it used to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Fold, Hits, Mask, Source, State
from shortlist.core.errors import ConfigError
from shortlist.core.units import seconds
from shortlist.data.log import Log
from shortlist.retrieve._live import moments, shared_rows
from shortlist.state.fold.decay import Decay


@dataclass
class Trending(Source):
    """With S and L the item's event counts decayed by half-lives `short` and `long`, and E = L * short / long what S would be
    if its events came evenly: score = (S + prior) / (E + prior). So 1 is a steady item, and `prior` events of steady flow stand
    against noise: a single event cannot carry an item far. Only risers (above 1) are returned; `full` holds 1 for items
    without events.
    """

    short: str = param("2h", "half-life of now", duration=True)
    long: str = param("2d", "half-life of what is usual", duration=True)
    prior: float = param(10.0, "events of steady flow that every item is given", low=1e-6)
    event: tuple[str, ...] = param((), "event kinds that count; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds that count")

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """Two decayed counts by item."""
        if seconds(self.short) >= seconds(self.long):
            raise ConfigError(
                f"{ctx.place or 'trending'}: short ({self.short}) must be shorter than long ({self.long})"
            )
        self.kinds = ctx.kinds(self.event)
        events = self.event or ctx.positive
        return Decay(("item",), events, (self.short,)), Decay(("item",), events, (self.long,))

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Nothing is learned from the log: the counts are in the state."""
        self.kinds = ctx.kinds(self.event)

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source. `full` is one row where all requests share it."""
        events = tuple(str(state.catalogue.kinds.name(int(code))) for code in self.kinds)
        every = np.arange(len(state.catalogue.items), dtype=np.int64)
        short, long = (Decay(("item",), events, (length,)).name for length in (self.short, self.long))
        share = seconds(self.short) / seconds(self.long)
        times = moments(batch, state)

        def row(i: int) -> Array:
            at = times[i : i + 1]
            now, usual = state.read(short, every, at)[0], state.read(long, every, at)[0]
            # In place: on the request path new arrays of the catalogue's size are what costs.
            usual *= share
            usual += self.prior
            now += self.prior
            now /= usual
            out: Array = now.astype(np.float32)
            return out

        once = (state, ("trending", short, long, self.prior, len(every)))
        return shared_rows((times,), row, k, allowed, 1.0, once)
