"""Refresh: a pipeline kept near real time beside the state. The state knows every event at once; factors do not. They take a cheap
step through warm rows often, and a full fit from time to time; either makes a new pipeline, and whoever serves exchanges one reference."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np

from shortlist.core.batch import Columns
from shortlist.core.contracts import FitContext
from shortlist.core.units import seconds
from shortlist.data.log import Log
from shortlist.pipeline.pipeline import Pipeline


class Refresh:
    """What is due when, on a log that grows. `tell` and `refreshed` may be called from different threads; a fit runs outside the lock, so
    that events come in meanwhile, and the next step begins where the fit's log ended.

        refresh = Refresh(engine.pipeline, bundle.ctx, log, step="10m", rebuild="1d")
        refresh.tell(columns)                              # whatever the state was given
        engine.pipeline = refresh.refreshed(now)           # the exchange; the same object where nothing was due
    """

    def __init__(
        self, pipeline: Pipeline, ctx: FitContext, log: Log, *, step: str = "10m", rebuild: str = "1d", window: str = ""
    ) -> None:
        """pipeline: as fitted at `ctx.now`; log: what it was fitted on. step, rebuild: how often, "" = never; window: how far back steps
        and fits look, and how long events are kept, "" = for ever."""
        self.pipeline, self.ctx = pipeline, ctx
        self._step, self._rebuild, self._window = (
            seconds(text) if text else np.inf for text in (step, rebuild, window)
        )
        self._events = [log.columns]
        self._fitted = self._stepped = ctx.now
        self._lock = threading.Lock()

    def tell(self, events: Columns) -> None:
        """Events as log columns, in log order; columns that the log does not have are left out, and missing ones refused (KeyError)."""
        kept = {name: np.array(events[name]) for name in self._events[0]}
        with self._lock:
            self._events.append(kept)

    def due(self, now: int) -> str:
        """ "rebuild", "step", or "" for nothing."""
        if now - self._fitted >= self._rebuild:
            return "rebuild"
        return "step" if now - self._stepped >= self._step else ""

    def log(self, now: int) -> Log:
        """The events before a moment, those older than the window left out, and forgotten."""
        with self._lock:
            names = list(self._events[0])
            joined = {name: np.concatenate([part[name] for part in self._events]) for name in names}
            if np.isfinite(self._window):
                recent = joined["time"] >= now - self._window
                joined = {name: column[recent] for name, column in joined.items()}
            self._events = [joined]
        return Log(joined).take(joined["time"] < now)

    def refreshed(self, now: int) -> Pipeline:
        """Do what is due, and return the pipeline to serve with from now on; the one there was where nothing is."""
        what = self.due(now)
        if what:
            log, ctx = self.log(now), replace(self.ctx, now=now)
            self.pipeline = (
                self.pipeline.rebuilt(log, ctx) if what == "rebuild" else self.pipeline.stepped(log, ctx, self._stepped)
            )
            self._stepped = now
            self._fitted = now if what == "rebuild" else self._fitted
        return self.pipeline
