"""Co-occurrence with the history: how well the candidate goes with what this user just did, by live counts and by the log of the
fit. The aggregate that won OTTO (RecSys 2022/23): item-item weight x kind of event x recency, taken over the last events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import fitted, hidden, param
from shortlist.core.contracts import Feature, FitContext, Fold, State
from shortlist.core.errors import ConfigError, choices
from shortlist.core.units import seconds
from shortlist.data.log import Log
from shortlist.data.pairs import NORMS, best, by_user, normalised, pairs
from shortlist.state.fold.follow import Follow


@dataclass
class Cooccurrence(Feature):
    """With a_1 the newest of the user's last events, a_2 the one before ..., of weight w_i = weight of its kind * recency^(i - 1),
    and c(a, x) how well x goes with a:

    `cooccurrence/<c>/max` = max of w_i c(a_i, x), `/sum` their sum, `/last` = c(a_1, x); NaN without a history.
    For c = live: the newest neighbours of a, each of age t weighing 2^(-t / half_life): it moves with every event.
    For c one of `norm`: pairs of the log of the fit, at most `window` places and `within` apart (definitions: source cooccurrence).
    """

    live: bool = param(True, "count neighbours live")
    norm: list[str] = param(["npmi"], "measures of pairs counted at the fit: " + ", ".join(NORMS))
    last: int = param(5, "newest events of the history that are looked at", low=1, high=100)
    recency: float = param(0.8, "weight of each older event against the one after it", low=0, high=1)
    weights: dict[str, float] = param({}, "weights of event kinds, where it is not 1")
    half_life: str = param("6h", "age at which a live neighbour weighs half", duration=True)
    within: str = param("12h", "how far apart in time two events may be", duration=True)
    room: int = param(32, "newest live neighbours kept per item", low=1, high=4096)
    window: int = param(10, "how many places apart two events of the log may be", low=1)
    k: int = param(100, "partners kept per item at the fit", low=1)
    event: tuple[str, ...] = param((), "event kinds; the positive kinds when empty")
    indptr: Array = fitted("(norms, items + 1) int64: where each item's partners begin")
    indices: Array = fitted("int32 partners of all norms, one after another")
    values: Array = fitted("float32 values of the pairs")
    _events: tuple[str, ...] = hidden(())
    _fold: str = hidden("")
    _life: float = hidden(0.0)
    _by_kind: Any = hidden(None)  # (128,) weights of event kinds
    _by_age: Any = hidden(None)  # (last,) weights of the newest event, the one before ...

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """The live neighbours."""
        self._events = tuple(self.event) or ctx.positive
        place = ctx.place or "cooccurrence"
        ctx.catalogue.kind_codes(tuple(self.weights), f"{place}.weights")
        for norm in self.norm:
            if norm not in NORMS:
                raise ConfigError(f"{place}.norm: {norm!r} is not a measure; choices: {choices(NORMS)}")
        self._by_kind, self._by_age = np.ones(128), self.recency ** np.arange(self.last)
        for kind, weight in self.weights.items():
            self._by_kind[ctx.catalogue.kind_codes([kind])[0]] = weight
        if not self.live:
            return ()
        self._life = seconds(self.half_life)
        fold = Follow(("user",), self._events, room=self.room, within=self.within)
        self._fold = fold.name
        return (fold,)

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Count the log's pairs."""
        if not self.norm:
            return
        log = by_user(log.of_kinds(ctx.kinds(self.event)))
        size = int(log.item.max(initial=-1)) + 1
        counted = pairs(log, size, window=self.window, within=seconds(self.within), distance=1.0, now=ctx.now)
        starts, partners, values, used = [], [], [], 0
        for norm in self.norm:
            kept = best(counted.indptr, counted.indices, normalised(counted, norm), counted.support, 2, self.k)
            starts.append(kept[0] + used)
            partners.append(kept[1])
            values.append(kept[2])
            used += len(kept[1])
        self.indptr, self.indices, self.values = np.stack(starts), np.concatenate(partners), np.concatenate(values)

    def compute(self, batch: Batch, state: State) -> Columns:
        """float32 columns of length m."""
        history = state.past(batch, self._events, self.last)
        weights = np.empty(len(history.items))
        _weights(history.offsets, history.kinds, self._by_kind, self._by_age, weights)
        measures = [*(("live",) if self.live else ()), *self.norm]
        out = np.empty((3 * len(measures), batch.m), dtype=np.float32)
        if self.live:
            fold: Any = state.fold(self._fold)
            time = np.maximum(batch.time, state.now)
            fold.weights(history.items, weights, history.offsets, batch.offsets, batch.item, time, self._life, out[:3])
        for j in range(len(self.norm)):
            _paired(
                history.items, weights, history.offsets, batch.offsets, batch.item,
                self.indptr[j], self.indices, self.values, out[3 * (self.live + j) : 3 * (self.live + j) + 3],
            )  # fmt: skip
        _blanked(history.offsets, batch.offsets, out)
        names = [f"cooccurrence/{name}/{what}" for name in measures for what in ("sum", "max", "last")]
        return dict(zip(names, out, strict=True))

    def origin(self, column: str) -> str:
        """The aggregate that a live column is read from; the others are of the fit."""
        return self._fold if column.startswith("cooccurrence/live/") else ""


@njit(cache=True, nogil=True)
def _weights(past: Array, kinds: Array, by_kind: Array, by_age: Array, out: Array) -> None:
    """The weight of every event looked at."""
    for i in range(len(past) - 1):
        for j in range(past[i], past[i + 1]):
            out[j] = by_kind[kinds[j]] * by_age[past[i + 1] - 1 - j]


@njit(cache=True, nogil=True)
def _blanked(past: Array, owners: Array, out: Array) -> None:
    """Missing where there is no history."""
    for i in range(len(owners) - 1):
        if past[i] == past[i + 1]:
            out[:, owners[i] : owners[i + 1]] = np.nan


@njit(cache=True, nogil=True)
def _paired(
    anchors: Array, weights: Array, past: Array, owners: Array, items: Array, indptr: Array, indices: Array, values: Array,
    out: Array,
) -> None:  # fmt: skip
    """(3, m) sum, max and last over a request's anchors of weight * value of the pair (anchor, candidate)."""
    out[:] = np.float32(0.0)
    most = 0
    for i in range(len(owners) - 1):
        most = max(most, owners[i + 1] - owners[i])
    size = 16
    while size < 2 * most:
        size *= 2
    # Candidates by item in a small open-addressing table: it stays in cache, a table of the catalogue's size would not.
    table = np.full(size, -1, dtype=np.int64)
    for i in range(len(owners) - 1):
        if owners[i] == owners[i + 1] or past[i] == past[i + 1]:
            continue
        table[:] = -1
        for row in range(owners[i], owners[i + 1]):
            spot = (items[row] * 0x9E3779B1) & (size - 1)
            while table[spot] >= 0:
                spot = (spot + 1) & (size - 1)
            table[spot] = row
        for j in range(past[i], past[i + 1]):
            a = anchors[j]
            if a < 0 or a >= len(indptr) - 1:
                continue
            for e in range(indptr[a], indptr[a + 1]):
                spot = (indices[e] * 0x9E3779B1) & (size - 1)
                while table[spot] >= 0 and items[table[spot]] != indices[e]:
                    spot = (spot + 1) & (size - 1)
                row = table[spot]
                if row < 0:
                    continue
                value = np.float32(weights[j] * values[e])
                out[0, row] += value
                out[1, row] = max(out[1, row], value)
                if j == past[i + 1] - 1:
                    out[2, row] = values[e]
