"""Random: items drawn evenly, for exploration and as the floor of every comparison."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, Source, State
from shortlist.core.rng import rng
from shortlist.data.log import Log
from shortlist.index.top import top


@dataclass
class Random(Source):
    """Every item that a table lists or an event has named has the same chance, drawn anew for every user and moment: score = a
    uniform number from (seed, salt, user, time). The same request gives the same answer, whatever else is asked; requests by
    nobody known share their draw of the moment. No `full`: chance has no opinion.
    """

    salt: int = param(0, "another number, another draw: for two random sources in one recipe")
    seed: Array = fitted("(1,) int64: the seed of the run")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Nothing is learned from the log."""
        self.seed = np.array([ctx.seed], dtype=np.int64)

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source. Memory: one row of scores; drawing is in proportion to the catalogue."""
        every = np.arange(len(state.catalogue.items))
        # A log encoded at once has codes for items of the future, which nobody could draw.
        unknown = (every >= state.catalogue.items.listed) & ~state.seen(every)
        users = state.known("user", batch.user)
        items = np.full((batch.n, k), -1, dtype=np.int32)
        scores = np.full((batch.n, k), np.nan, dtype=np.float32)
        for i in range(batch.n):
            draw = rng(int(self.seed[0]), "random", self.salt, int(users[i]), int(batch.time[i]))
            # Item by item from the front: a catalogue that grows changes no number that was there.
            row = draw.random(len(every), dtype=np.float32)
            row[unknown] = np.nan
            items[i], scores[i] = top(row.reshape(1, -1), k, _own(allowed, i))
        return Hits(items, scores)


def _own(allowed: Mask | None, request: int) -> Mask | None:
    """The mask of one request."""
    if allowed is None or allowed.offsets is None or allowed.items is None:
        return allowed
    start, stop = allowed.offsets[request], allowed.offsets[request + 1]
    return Mask(allowed.shared, np.array([0, stop - start]), allowed.items[start:stop])
