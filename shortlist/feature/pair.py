"""Pair: what this user did with this very item, and with items like it in an attribute, read from the user's history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import hidden, param
from shortlist.core.contracts import Feature, FitContext, History, State
from shortlist.feature.attributes import fitting, groups, spread


@dataclass
class Pair(Feature):
    """`pair/count`, `pair/since` (seconds), `pair/steps` (events since, 1 = the last one) for the item itself, and for every
    category or tags attribute A `pair/A/share` (weight of the candidate's values in the history), `pair/A/since`, `pair/A/steps`.
    `history/length` and `history/since` describe the user. NaN where the history has no such event."""

    attributes: list[str] = param(["*"], "item category or tags columns; * = all whose values repeat")
    event: tuple[str, ...] = param((), "event kinds of the history; the positive kinds when empty")
    last: int = param(100, "newest events looked at", low=1)
    _events: tuple[str, ...] = hidden(())

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
        history = state.past(batch, self._events, self.last)
        length = np.diff(history.offsets).astype(np.float32)
        idle = np.full(batch.n, np.nan, dtype=np.float32)
        some = length > 0
        idle[some] = np.maximum(batch.time[some] - history.times[history.offsets[1:][some] - 1], 0)
        columns = spread({"history/length": length, "history/since": idle}, batch)
        time = np.ascontiguousarray(batch.time)
        own = np.full((3, batch.m), np.nan, dtype=np.float32)
        _same(batch.offsets, time, batch.item, history.offsets, history.times, history.items, own)
        columns.update(zip(("pair/count", "pair/since", "pair/steps"), own, strict=True))
        table = state.catalogue.items
        known = groups(table, "category", "tags") if "*" in self.attributes else self.attributes
        single = [name for name in known if table.column(name, "feature.pair").kind == "category"]
        made: dict[str, Array] = {}
        if single:
            codes, past = (
                np.array([table.columns[name].values[items] for name in single])
                for items in (batch.item, history.items)
            )
            width = max(len(table.columns[name].vocabulary or ()) for name in single)
            block = np.full((len(single), 3, batch.m), np.nan, dtype=np.float32)
            _single(batch.offsets, time, codes, history.offsets, history.times, past, width, block)
            made.update(zip(single, block, strict=True))
        for name in known:
            if name not in made:
                offsets, entries = table.tags(name, batch.item)
                past_offsets, past_entries = table.tags(name, history.items)
                width = len(table.column(name).vocabulary or ())
                made[name] = _affinity(batch, history, offsets, entries, past_offsets, past_entries, width)
            columns.update(
                zip([f"pair/{name}/share", f"pair/{name}/since", f"pair/{name}/steps"], made[name], strict=True)
            )
        return columns


def _affinity(
    batch: Batch, history: History, offsets: Array, codes: Array, past_offsets: Array, past_codes: Array, size: int
) -> Array:
    return np.stack(_kernel(
        batch.offsets, np.ascontiguousarray(batch.time), offsets, np.ascontiguousarray(codes, dtype=np.int32),
        history.offsets, history.times, past_offsets, np.ascontiguousarray(past_codes, dtype=np.int32), size,
    ))  # fmt: skip


@njit(cache=True, nogil=True)
def _same(
    owners: Array, time: Array, items: Array, past: Array, past_times: Array, past_items: Array, out: Array
) -> None:
    """Per candidate row: how often its item is in the request's history, seconds and events since the last time, into `out` (3, m),
    which comes full of NaN."""
    for i in range(len(owners) - 1):
        for row in range(owners[i], owners[i + 1]):
            newest = -1
            out[0, row] = 0.0
            for j in range(past[i], past[i + 1]):  # histories are short: a scan beats a table of the catalogue's size
                if past_items[j] == items[row]:
                    out[0, row] += np.float32(1.0)
                    newest = j
            if newest >= 0:
                out[1, row] = max(time[i] - past_times[newest], 0)
                out[2, row] = past[i + 1] - newest


@njit(cache=True, nogil=True)
def _kernel(
    owners: Array, time: Array, offsets: Array, codes: Array,
    past: Array, past_times: Array, past_offsets: Array, past_codes: Array, size: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Per candidate row: mean weight of its codes in the request's history, seconds and events since any of them."""
    rows = len(offsets) - 1
    share = np.zeros(rows, dtype=np.float32)
    since = np.full(rows, np.nan, dtype=np.float32)
    steps = np.full(rows, np.nan, dtype=np.float32)
    weight = np.zeros(size, dtype=np.float32)
    latest = np.full(size, -1, dtype=np.int64)
    for i in range(len(owners) - 1):
        first, last = past[i], past[i + 1]
        if first == last:
            continue
        for j in range(first, last):
            for c in range(past_offsets[j], past_offsets[j + 1]):
                weight[past_codes[c]] += np.float32(1.0)
                latest[past_codes[c]] = j
        for row in range(owners[i], owners[i + 1]):
            entries = offsets[row + 1] - offsets[row]
            newest = np.int64(-1)
            total = np.float32(0.0)
            for c in range(offsets[row], offsets[row + 1]):
                total += weight[codes[c]]
                newest = max(newest, latest[codes[c]])
            if entries > 0:
                share[row] = total / np.float32(entries * (last - first))
            if newest >= 0:
                since[row] = max(time[i] - past_times[newest], 0)
                steps[row] = last - newest
        for j in range(first, last):  # undo, so that the next request starts clean
            for c in range(past_offsets[j], past_offsets[j + 1]):
                weight[past_codes[c]] = np.float32(0.0)
                latest[past_codes[c]] = -1
    return share, since, steps


@njit(cache=True, nogil=True)
def _single(
    owners: Array, time: Array, codes: Array, past: Array, past_times: Array, past_codes: Array, width: int, out: Array
) -> None:
    """The same as `_kernel`, for several columns at once whose items have one code each, or none: share, since and steps into
    `out` (columns, 3, m), which comes full of NaN."""
    weight = np.zeros(width, dtype=np.float32)
    latest = np.full(width, -1, dtype=np.int64)
    for a in range(len(codes)):
        for i in range(len(owners) - 1):
            first, last = past[i], past[i + 1]
            for j in range(first, last):
                code = past_codes[a, j]
                if code >= 0:
                    weight[code] += np.float32(1.0)
                    latest[code] = j
            for row in range(owners[i], owners[i + 1]):
                code = codes[a, row]
                out[a, 0, row] = weight[code] / np.float32(last - first) if code >= 0 and last > first else 0.0
                if code >= 0 and latest[code] >= 0:
                    out[a, 1, row] = max(time[i] - past_times[latest[code]], 0)
                    out[a, 2, row] = last - latest[code]
            for j in range(first, last):  # undo, so that the next request starts clean
                code = past_codes[a, j]
                if code >= 0:
                    weight[code], latest[code] = np.float32(0.0), -1
