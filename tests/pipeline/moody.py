"""Parts that fail when they are told to: what a service must survive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import param
from shortlist.core.contracts import Feature, Filter, FitContext, Frame, Hits, Mask, Ranker, Rule, Source, State


class Moods:
    """What the parts of this file do, by their kind: `fine`, `raise`, `hang` (until `release`), or seconds to take."""

    def __init__(self) -> None:
        self.now: dict[str, str | float] = {}
        self.calls: dict[str, int] = {}
        self._free = threading.Event()

    def act(self, kind: str) -> None:
        """Behave."""
        self.calls[kind] = self.calls.get(kind, 0) + 1
        mood = self.now.get(kind, "fine")
        if mood == "raise":
            raise RuntimeError(f"{kind} is in a bad mood")
        if mood == "hang":
            self._free.wait()
        elif isinstance(mood, float):
            time.sleep(mood)

    def release(self) -> None:
        """Everybody is fine again; calls that hang return."""
        self.now.clear()
        self.calls.clear()
        self._free.set()
        self._free = threading.Event()


MOODS = Moods()


@dataclass
class MoodySource(Source):
    """The items with the smallest codes."""

    first: int = param(0, "the smallest of them", low=0)

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        MOODS.act("source")
        items = np.tile(np.arange(self.first, self.first + k, dtype=np.int32), (batch.n, 1))
        return Hits(items, -items.astype(np.float32))


@dataclass
class MoodyFilter(Filter):
    """Drops every item whose code is a multiple of seven."""

    on_error: ClassVar[str] = "keep"

    def keep(self, batch: Batch, state: State) -> Array:
        """(m,) bool."""
        MOODS.act("filter")
        kept: Array = batch.item % 7 != 0
        return kept


@dataclass
class MoodyFeature(Feature):
    """A number and a category."""

    def compute(self, batch: Batch, state: State) -> Columns:
        """Both from the item's code."""
        MOODS.act("feature")
        return {"size": batch.item.astype(np.float32), "sort": (batch.item % 3).astype(np.int32)}


@dataclass
class MoodyRanker(Ranker):
    """The largest codes first."""

    def fit(self, frame: Frame, valid: Frame | None, ctx: FitContext) -> None:
        """Nothing to learn."""

    def score(self, batch: Batch) -> Array:
        """(m,) float32."""
        MOODS.act("ranker")
        sizes: Array = np.nan_to_num(batch.cand["size"], nan=-1.0) + np.maximum(batch.cand["sort"], -1)
        return sizes


@dataclass
class MoodyRule(Rule):
    """Turns every list around."""

    def rows(self, batch: Batch, state: State, rng: Callable[[int], np.random.Generator]) -> Array:
        """(m,) row indices."""
        MOODS.act("rule")
        return np.lexsort((-np.arange(batch.m), batch.owner))
