"""Pair: what this user did with this very item, and with items like it in an attribute, read from the user's history."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import hidden, param
from shortlist.core.contracts import Feature, FitContext, State
from shortlist.data.catalogue import Table
from shortlist.feature.attributes import fitting, groups

OWN = ("history/length", "history/since", "pair/count", "pair/since", "pair/steps")


@dataclass
class Pair(Feature):
    """`pair/count`, `pair/since` (seconds), `pair/steps` (events since, 1 = the last one) for the item itself, and for every
    category or tags attribute A `pair/A/share` (weight of the candidate's values in the history), `pair/A/since`, `pair/A/steps`.
    `history/length` and `history/since` describe the user. NaN where the history has no such event."""

    attributes: list[str] = param(["*"], "item category or tags columns; * = all whose values repeat")
    event: tuple[str, ...] = param((), "event kinds of the history; the positive kinds when empty")
    last: int = param(100, "newest events looked at", low=1)
    _events: tuple[str, ...] = hidden(())
    _plan: Any = hidden(None)

    def folds(self, ctx: FitContext) -> tuple[()]:
        """Needs no aggregate but remembers which kinds are positive. ConfigError for a column that is none of categories."""
        self._events = tuple(self.event) or ctx.positive
        place = ctx.place or "pair"
        ctx.catalogue.kind_codes(self._events, f"{place}.event")
        named = [name for name in self.attributes if "*" not in self.attributes]
        fitting(named, ctx.catalogue.items, ("category", "tags"), f"{place}.attributes")
        return ()

    def compute(self, batch: Batch, state: State) -> Columns:
        """float32 columns of length m."""
        history, table = state.past(batch, self._events, self.last), state.catalogue.items
        plan: Plan | None = self._plan
        if plan is None or plan.table is not table or plan.version != table.version:
            plan = self._plan = Plan(
                table, groups(table, "category", "tags") if "*" in self.attributes else self.attributes
            )
        out = np.empty((len(plan.names), batch.m), dtype=np.float32)
        who = batch.offsets, batch.time, batch.item, history.offsets, history.times, history.items
        _same(*who, out)
        weight, latest = _scratch(plan.width)
        if len(plan.single):
            _single(*who, plan.values, plan.single, weight, latest, out)
        for first, starts, entries in plan.listed:
            _listed(*who, starts, entries, first, weight, latest, out)
        return dict(zip(plan.names, out, strict=True))


class Plan:
    """Which attributes lie where, worked out once for a table as it is: columns of one code per item side by side, so that an item costs
    one cache line."""

    def __init__(self, table: Table, known: list[str]) -> None:
        self.table, self.version = table, table.version
        self.names = [*OWN, *(f"pair/{name}/{what}" for name in known for what in ("share", "since", "steps"))]
        columns = [table.column(name, "feature.pair") for name in known]
        self.width = max((len(column.vocabulary or ()) for column in columns), default=0)
        single = [i for i, column in enumerate(columns) if column.kind == "category"]
        self.single = len(OWN) + 3 * np.array(single, dtype=np.int64)  # the first output row of each
        self.values = np.stack([columns[i].values for i in single], axis=1) if single else np.zeros((1, 0), np.int32)
        self.listed: list[tuple[int, Array, Array]] = []  # first output row, where each item's entries begin, entries
        for i, column in enumerate(columns):
            if column.codes is not None:
                self.listed.append((len(OWN) + 3 * i, column.values, column.codes))


_local = threading.local()


def _scratch(width: int) -> tuple[Array, Array]:
    """(width or more,) float32 and int64 zeros, of this thread. Kernels leave them as they found them: to clear them costs more than a
    request."""
    found: tuple[Array, Array] | None = getattr(_local, "scratch", None)
    if found is None or len(found[0]) < width:
        found = _local.scratch = np.zeros(width, dtype=np.float32), np.zeros(width, dtype=np.int64)
    return found


@njit(cache=True, nogil=True)
def _same(
    owners: Array, time: Array, items: Array, past: Array, past_times: Array, past_items: Array, out: Array
) -> None:
    """Into the first rows of `out`: the history's length and idle time; per candidate how often its item is in it, seconds and events
    since the last time."""
    for i in range(len(owners) - 1):
        begin, end, first, last = owners[i], owners[i + 1], past[i], past[i + 1]
        own, counts, since, steps = items[begin:end], out[2, begin:end], out[3, begin:end], out[4, begin:end]
        out[0, begin:end] = last - first
        out[1, begin:end] = max(time[i] - past_times[last - 1], 0) if last > first else np.nan
        counts[:], steps[:] = np.float32(0.0), np.float32(0.0)
        for j in range(first, last):  # event by event: many candidates are compared with it in one step
            item, place = past_items[j], np.float32(j + 1 - first)
            for row in range(len(own)):
                same = own[row] == item
                counts[row] += np.float32(1.0) if same else np.float32(0.0)
                steps[row] = place if same else steps[row]
        for row in range(len(own)):
            newest = np.int64(steps[row])  # its place in the history, from 1 on; 0 = none
            since[row] = max(time[i] - past_times[first + newest - 1], 0) if newest > 0 else np.nan
            steps[row] = last - first - newest + 1 if newest > 0 else np.nan


@njit(cache=True, nogil=True, inline="always")
def _code(values: Array, item: int, a: int) -> int:
    """An item's code; that of the last row, the missing one, for an item that the table does not have."""
    code: int = values[item if item < len(values) else -1, a]
    return code


@njit(cache=True, nogil=True, inline="always")
def _run(starts: Array, item: int) -> tuple[int, int]:
    """Where an item's entries are; none of an item that the table does not have."""
    if item < 0 or item + 1 >= len(starts):
        return 0, 0
    return starts[item], starts[item + 1]


@njit(cache=True, nogil=True, error_model="numpy")
def _single(
    owners: Array, time: Array, items: Array, past: Array, past_times: Array, past_items: Array, values: Array, rows: Array,
    weight: Array, latest: Array, out: Array,
) -> None:  # fmt: skip
    """For columns whose items have one code each, or none: the weight of the candidate's code in the request's history, seconds and
    events since it. values: (items, columns) codes; rows: where the three go. latest: place in the history + 1, 0 = never."""
    for a in range(len(rows)):
        share, since, steps = out[rows[a]], out[rows[a] + 1], out[rows[a] + 2]
        for i in range(len(owners) - 1):
            first, last = past[i], past[i + 1]
            for j in range(first, last):
                code = _code(values, past_items[j], a)
                if code >= 0:
                    weight[code] += np.float32(1.0)
                    latest[code] = j + 1
            for row in range(owners[i], owners[i + 1]):
                code = _code(values, items[row], a)
                share[row], since[row], steps[row] = 0.0, np.nan, np.nan
                if code >= 0 and latest[code] > 0:
                    share[row] = weight[code] / np.float32(last - first)
                    since[row] = max(time[i] - past_times[latest[code] - 1], 0)
                    steps[row] = last - latest[code] + 1
            for j in range(first, last):  # undo, so that the next request starts clean
                code = _code(values, past_items[j], a)
                if code >= 0:
                    weight[code], latest[code] = np.float32(0.0), 0


@njit(cache=True, nogil=True, error_model="numpy")
def _listed(
    owners: Array, time: Array, items: Array, past: Array, past_times: Array, past_items: Array, starts: Array, entries: Array,
    first_row: int, weight: Array, latest: Array, out: Array,
) -> None:  # fmt: skip
    """The same for a column of lists: the mean weight of the candidate's codes, seconds and events since any of them. Item x has the
    codes entries[starts[x]:starts[x + 1]]."""
    share, since, steps = out[first_row], out[first_row + 1], out[first_row + 2]
    for i in range(len(owners) - 1):
        first, last = past[i], past[i + 1]
        for j in range(first, last):
            begin, end = _run(starts, past_items[j])
            for e in range(begin, end):
                weight[entries[e]] += np.float32(1.0)
                latest[entries[e]] = j + 1
        for row in range(owners[i], owners[i + 1]):
            begin, end = _run(starts, items[row])
            newest, total = np.int64(0), np.float32(0.0)
            for e in range(begin, end):
                total += weight[entries[e]]
                newest = max(newest, latest[entries[e]])
            some = end > begin and last > first
            share[row] = total / np.float32((end - begin) * (last - first)) if some else 0.0
            since[row] = max(time[i] - past_times[newest - 1], 0) if newest > 0 else np.nan
            steps[row] = last - newest + 1 if newest > 0 else np.nan
        for j in range(first, last):  # undo, so that the next request starts clean
            begin, end = _run(starts, past_items[j])
            for e in range(begin, end):
                weight[entries[e]], latest[entries[e]] = np.float32(0.0), 0
