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
from shortlist.retrieve._evidence import flags


@dataclass
class History(Source):
    """Repeats: the items of the user's own history, each scored by the sum over its events of
    `weight of the kind * 0.5 ** (age / half_life)`, with the age as of the request.

    until: an event of one of these kinds ends what came before it: a cart until it is bought, a favourite until it is taken off the
    list. cycle: things that are used up. The sum is then multiplied by min(t / gap, gap / t), t the time since the item's newest
    event and gap = (cycle + time from its oldest to its newest event) / events: 1 when it is due, a half at half or twice the gap,
    0 right after. So gaps of the user's own soon outweigh `cycle`.

    Viewed: event = ["view"]. Left in the cart: event = ["cart"], until = ["purchase"]. Bought again: event = ["purchase"],
    half_life = "", cycle = "30d". Favourites, playlists: half_life = "", event and until what adds to and takes from them.
    """

    half_life: str = param(
        "7d", 'time after which an event counts half; "" = every event counts the same', duration=True, empty=True
    )
    event: tuple[str, ...] = param((), "event kinds that make an item a candidate; the positive kinds when empty")
    weights: dict[str, float] = param({}, "what an event of a kind counts; 1 where not named")
    last: int = param(0, "how many of the newest events are looked at; 0 = all that the state keeps", low=0)
    until: tuple[str, ...] = param((), "event kinds that end what came before them")
    cycle: str = param("", 'the usual time between two events of one item; "" = items do not fall due', duration=True)
    kind_weights: Array = fitted("(128,) float32 over event-kind codes: what one event counts, 0 = not a candidate")
    ends: Array = fitted("(128,) bool over event-kind codes: does it end what came before it?")

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
        self.ends = flags(ctx.kinds(self.until)) if self.until else np.zeros(128, dtype=np.bool_)
        both = np.flatnonzero(self.ends & flags(ctx.kinds(self.event)))
        if len(both):
            name = str(ctx.catalogue.kinds.name(int(both[0])))
            raise ConfigError(
                f"{ctx.place or 'history'}.until: {name!r} is also in event; a kind can begin or end, not both"
            )

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source. No `full`: the score of items outside the history is 0 and says nothing."""
        history = state.history(batch.user, self.last)
        half_life = seconds(self.half_life) if self.half_life else 0.0
        cycle = seconds(self.cycle) if self.cycle else 0.0
        offsets, items, scores = _repeats(
            history.offsets, history.items, history.times, history.kinds, batch.time, self.kind_weights, self.ends,
            half_life, cycle,
        )  # fmt: skip
        size = len(state.catalogue.items)
        return Hits(*top_ragged(offsets, items, scores, k, size, allowed, 0.0))


@njit(cache=True, nogil=True)
def _repeats(
    offsets: Array, items: Array, times: Array, kinds: Array, now: Array, weights: Array, ends: Array,
    half_life: float, cycle: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Distinct items per request with summed weights."""
    n = len(offsets) - 1
    out_offsets = np.zeros(n + 1, dtype=np.int64)
    out_items = np.empty(len(items), dtype=np.int32)
    out_scores = np.empty(len(items), dtype=np.float32)
    count = 0
    for i in range(n):
        start, stop = offsets[i], offsets[i + 1]
        order = np.argsort(items[start:stop], kind="mergesort")  # stable: oldest first within an item
        j = 0
        while j < len(order):
            item = items[start + order[j]]
            total, met, oldest, newest = 0.0, 0, np.int64(0), np.int64(0)
            while j < len(order) and items[start + order[j]] == item:
                row = start + order[j]
                j += 1
                if ends[kinds[row]]:
                    total, met = 0.0, 0
                if weights[kinds[row]] == 0.0:
                    continue
                oldest = min(oldest, times[row]) if met else times[row]
                newest = max(newest, times[row]) if met else times[row]
                met += 1
                age = max(now[i] - times[row], 0)
                total += weights[kinds[row]] * (2.0 ** (-age / half_life) if half_life > 0 else 1.0)
            if cycle > 0 and met > 0:
                gap, since = (cycle + (newest - oldest)) / met, max(now[i] - newest, 0)
                total *= min(since / gap, gap / since) if since > 0 else 0.0
            if total > 0:
                out_items[count] = item
                out_scores[count] = total
                count += 1
        out_offsets[i + 1] = count
    return out_offsets, out_items[:count].copy(), out_scores[:count].copy()
