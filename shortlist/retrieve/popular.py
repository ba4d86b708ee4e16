"""Popular: the items with the most events, now: for everybody, or per segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, hidden, param
from shortlist.core.contracts import FitContext, Fold, Hits, Mask, Source, State
from shortlist.core.errors import ConfigError
from shortlist.data.log import Log
from shortlist.retrieve._live import moments, shared_rows
from shortlist.state.fold.count import Count
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.window import Window
from shortlist.state.keys import pack


@dataclass
class Popular(Source):
    """Items by a plain, decayed (`half_life`) or windowed (`window`) count of events, read from the state as of the request, so
    that an event changes the next answer. Items without a counted event are not returned; in `full` they are 0.

    by: a request-side key. Its items are counted apart, and a request is answered by its own segment's counts if the
    segment has had at least `least` events, else by everybody's.
    """

    half_life: str = param("", 'time after which an event counts half; "" = it always counts one', duration=True)
    window: str = param("", 'count only events this recent; "" = all', duration=True)
    event: tuple[str, ...] = param((), "event kinds that count; the positive kinds when empty")
    by: str = param("", "segment: user.<attribute> or a context column; empty = one list for everybody")
    least: int = param(100, "events that a segment needs for a list of its own", low=1)
    tiles: int = param(24, "how many steps the window moves in", low=1, high=1024)
    kinds: Array = fitted("int8 codes of the event kinds that count")
    _overall: str = hidden("")

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """One count by item; with `by`, one by (segment, item) and one by segment."""
        place = ctx.place or "popular"
        if self.half_life and self.window:
            raise ConfigError(f"{place}: half_life and window are two ways to forget; give one of them")
        if self.by.partition(".")[0] == "item":
            raise ConfigError(
                f"{place}.by: {self.by!r} belongs to items; choices: user.<attribute>, or a context column"
            )
        self.kinds = ctx.kinds(self.event)
        self._overall = ""
        events = self.event or ctx.positive
        if not self.by:
            return (self._fold(("item",), events),)
        return self._fold(("item",), events), self._fold((self.by, "item"), events), Count((self.by,), events)

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Nothing is learned from the log: the counts are in the state."""
        self.kinds = ctx.kinds(self.event)

    def _fold(self, by: tuple[str, ...], events: tuple[str, ...]) -> Fold:
        if self.half_life:
            return Decay(by, events, (self.half_life,))
        return Window(by, events, self.window, self.tiles) if self.window else Count(by, events)

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source. `full` is one row where all requests share it."""
        events = tuple(str(state.catalogue.kinds.name(int(code))) for code in self.kinds)
        size = len(state.catalogue.items)
        # A plain count is the same at every moment.
        times = moments(batch, state) if self.half_life or self.window else np.zeros(batch.n, dtype=np.int64)
        if not self._overall:
            self._overall = self._fold(("item",), events).name
        overall = self._overall
        if not self.by:
            once = (state, ("popular", overall, size))
            return shared_rows((times,), lambda i: state.scan(overall, size, int(times[i])), k, allowed, 0.0, once)
        every = np.arange(size, dtype=np.int64)
        apart = self._fold((self.by, "item"), events).name
        segments = self._segments(batch, state, events)

        def row(i: int) -> Array:
            if segments[i] < 0:
                return state.scan(overall, size, int(times[i]))
            keys = pack(np.full(len(every), segments[i]), every)
            out: Array = state.read(apart, keys, times[i : i + 1])[0].astype(np.float32)
            return out

        return shared_rows((segments, times), row, k, allowed, 0.0)

    def _segments(self, batch: Batch, state: State, events: tuple[str, ...]) -> Array:
        """(n,) the segment of each request, -1 where it is unknown or too small."""
        # One row per request, whose item does not matter.
        asked = Batch(batch.req, np.arange(batch.n + 1), {"item": np.zeros(batch.n, dtype=np.int32)})
        segments = state.keys((self.by,), asked)
        counts = state.read(Count((self.by,), events).name, segments, np.zeros(1, dtype=np.int64))[0]
        return np.where(counts >= self.least, segments, -1)
