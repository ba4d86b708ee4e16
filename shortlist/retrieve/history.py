"""History: what the user took before, likely to be taken again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Fold, Hits, Mask, Source, State
from shortlist.core.errors import ConfigError
from shortlist.core.units import seconds
from shortlist.data.log import Log
from shortlist.index.top import top_ragged


@dataclass
class History(Source):
    """Repeats: the items of the user's own history, each scored by the sum over its events of
    `weight of the kind * 0.5 ** (age / half_life)`, with the age as of the request."""

    half_life: str = param(
        "7d", 'time after which an event counts half; "" = every event counts the same', duration=True
    )
    event: tuple[str, ...] = param((), "event kinds that make an item a candidate; the positive kinds when empty")
    weights: dict[str, float] = param({}, "what an event of a kind counts; 1 where not named")
    last: int = param(0, "how many of the newest events are looked at; 0 = all that the state keeps", low=0)
    kind_weights: Array = fitted("(128,) float32 over event-kind codes: what one event counts, 0 = not a candidate")

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """None: the state keeps histories anyway."""
        self._resolve(ctx)
        return ()

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Nothing is learned from the log."""
        self._resolve(ctx)

    def _resolve(self, ctx: FitContext) -> None:
        table = np.zeros(128, dtype=np.float32)
        table[ctx.kinds(self.event)] = 1.0
        for name, weight in self.weights.items():
            code = ctx.kinds([name])
            if table[code[0]] == 0.0:
                raise ConfigError(
                    f"{ctx.place or 'history'}.weights: {name!r} is not among the event kinds looked at; name it in event"
                )
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < np.inf:
                raise ConfigError(
                    f"{ctx.place or 'history'}.weights.{name}: {weight!r} is not a weight; expected a number from 0 up"
                )
            table[code] = weight
        self.kind_weights = table

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source. No `full`: the score of items outside the history is 0 and says nothing."""
        history = state.history(batch.user, self.last)
        half_life = seconds(self.half_life) if self.half_life else 0.0
        offsets, items, scores = _repeats(
            history.offsets, history.items, history.times, history.kinds, batch.time, self.kind_weights, half_life
        )
        size = len(state.catalogue.items)
        return Hits(*top_ragged(offsets, items, scores, k, size, allowed, 0.0))


@njit(cache=True, nogil=True)
def _repeats(
    offsets: Array, items: Array, times: Array, kinds: Array, now: Array, weights: Array, half_life: float
) -> tuple[Array, Array, Array]:
    """Distinct items per request with summed weights."""
    n = len(offsets) - 1
    out_offsets = np.zeros(n + 1, dtype=np.int64)
    out_items = np.empty(len(items), dtype=np.int32)
    out_scores = np.empty(len(items), dtype=np.float32)
    count = 0
    for i in range(n):
        start, stop = offsets[i], offsets[i + 1]
        order = np.argsort(items[start:stop], kind="mergesort")
        j = 0
        while j < len(order):
            item = items[start + order[j]]
            total = 0.0
            while j < len(order) and items[start + order[j]] == item:
                row = start + order[j]
                age = max(now[i] - times[row], 0)
                total += weights[kinds[row]] * (2.0 ** (-age / half_life) if half_life > 0 else 1.0)
                j += 1
            if total > 0:
                out_items[count] = item
                out_scores[count] = total
                count += 1
        out_offsets[i + 1] = count
    return out_offsets, out_items[:count].copy(), out_scores[:count].copy()
