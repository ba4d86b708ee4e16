"""Parity: recompute what a service answered, offline and in big blocks, and tell every value that is not the same to the bit."""

from __future__ import annotations

import itertools
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from shortlist.core import rows
from shortlist.core.batch import Array, Batch, Columns, concat
from shortlist.core.contracts import silent
from shortlist.core.errors import BundleError
from shortlist.data.catalogue import Catalogue
from shortlist.pipeline.bundle import Bundle
from shortlist.pipeline.trace import Trace
from shortlist.serve.engine import Engine
from shortlist.serve.record import OWN, about, event_table, places, request_tables, row_table, serials_of

OPEN = 8  # segments kept in memory at a time
PLACE = "place"  # the row's place after the ranker, which the order of the record tells
NOT_FEATURES = ("score", "shown", PLACE)


class Asked(NamedTuple):
    """One recorded request, and where its rows are."""

    segment: Path
    serial: int
    request_id: str
    position: int
    time: int
    request: dict[str, Any]
    rows: int


@dataclass
class Found:
    """One column: how many values were compared, how many differ, and the first that does."""

    rows: int = 0
    mismatches: int = 0
    example: dict[str, Any] | None = None


@dataclass
class Parity:
    """What a comparison found. `differences` is 0 where live and offline agree to the last bit."""

    recorded_by: str
    bundle: str
    requests: int = 0
    events: int = 0
    rows: int = 0
    missing_requests: int = 0  # numbered by the writer, but not in the record
    missing_rows: int = 0  # recorded, not recomputed
    extra_rows: int = 0  # recomputed, not recorded
    missing_columns: list[str] = field(default_factory=list)  # recorded, not recomputed
    extra_columns: list[str] = field(default_factory=list)
    columns: dict[str, Found] = field(default_factory=dict)
    example_rows: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)  # answers that cannot be compared, by why

    @property
    def differences(self) -> int:
        """Everything that is not as it should be, added up."""
        return (
            int(self.recorded_by != self.bundle)
            + self.missing_requests + self.missing_rows + self.extra_rows
            + len(self.missing_columns) + len(self.extra_columns)
            + sum(found.mismatches for found in self.columns.values())
        )  # fmt: skip

    def json(self) -> dict[str, Any]:
        """For files and programs."""
        told = {name: value for name, value in vars(self).items() if name != "columns"}
        return {
            "differences": self.differences,
            **told,
            "columns": {name: vars(found) for name, found in self.columns.items()},
        }


def parity(bundle: Path, folder: Path, progress: Callable[..., Iterable[Any]] = silent) -> Parity:
    """Recompute the record in `folder` from the bundle that it was made by. The events are encoded at once and folded in up to each
    request's log position; requests at one position are asked together. BundleError for what is no record, or lacks events."""
    loaded = Bundle.load(bundle)
    state = loaded.state
    events = event_table(folder, state.count)
    columns = encoded(events, loaded.state.catalogue)
    first = state.count
    found = Parity(about(folder)["bundle"], loaded.name, events=len(events))
    asked = _asked(folder, found)
    _reach(folder, asked, first, first + len(events))
    engine = Engine.of(loaded)
    shelf = Shelf()
    groups = [list(group) for _, group in itertools.groupby(asked, key=lambda each: each.position)]
    for group in progress(groups, "recompute", len(groups)):
        start, stop = state.count - first, group[0].position - first
        if stop > start:
            state.apply({name: column[start:stop] for name, column in columns.items()})
        plain = [each for each in group if not own(each.request)]
        parts = [plain[begin : begin + engine.chunk] for begin in range(0, len(plain), engine.chunk)]
        for part in (*parts, *([each] for each in group if own(each.request))):
            _compare(engine, part, shelf, found)
    return found


def _asked(folder: Path, found: Parity) -> list[Asked]:
    """All recorded requests in log order; numbers that a writer gave and the record lacks are counted."""
    listed: list[Asked] = []
    given: dict[str, set[int]] = {}  # by writer
    for segment, table in request_tables(folder):
        given.setdefault(segment.name.rpartition("-")[0], set()).update(table["serial"].to_list(), serials_of(segment))
        for row in table.iter_rows(named=True):
            listed.append(
                Asked(
                    segment, row["serial"], row["request_id"], row["position"], row["time"], json.loads(row["request"]), row["rows"],
                )
            )  # fmt: skip
    found.missing_requests = sum(max(own, default=-1) + 1 for own in given.values()) - len(listed)
    found.requests = len(listed)
    return sorted(listed, key=lambda each: (each.position, each.segment.name, each.serial))


def own(request: Mapping[str, Any]) -> bool:
    """Does the request rule items out, so that it must be asked alone?"""
    return bool(request.get("exclude") or request.get("filter"))


def _reach(folder: Path, asked: Sequence[Asked], start: int, stop: int) -> None:
    """BundleError where a request knew more, or less, than can be replayed."""
    for each in (asked[0], asked[-1]) if asked else ():
        if not start <= each.position <= stop:
            raise BundleError(
                f"{folder}: request {each.request_id} was answered at log position {each.position}, but the bundle and the recorded "
                f"events reach from {start} to {stop}"
            )


def encoded(events: pl.DataFrame, catalogue: Catalogue) -> Columns:
    """Recorded events as log columns; new users, items and context values get their codes in order of arrival."""
    if not len(events):
        return {}
    times: Columns = {"time": events["time"].to_numpy(), "value": events["value"].to_numpy()}
    columns: Columns = {
        "user": _codes(events["user_id"], catalogue.users.add),
        "item": _codes(events["item_id"], catalogue.items.add),
        **times,
        "kind": catalogue.kind_codes(events["event"].to_list(), "the record"),
    }
    for name, vocabulary in catalogue.context.items():
        columns[name] = _codes(events[f"context.{name}"], vocabulary.add)
    return columns


def _codes(names: pl.Series, add: Callable[[object], int]) -> Array:
    return np.array([-1 if name is None else add(name) for name in names.to_list()], dtype=np.int32)


class Shelf:
    """The rows of segments, the newest few of them in memory."""

    def __init__(self) -> None:
        self._held: OrderedDict[Path, tuple[pl.DataFrame, dict[int, tuple[int, int]]]] = OrderedDict()

    def rows(self, asked: Asked) -> pl.DataFrame:
        """The recorded rows of one request, in the order of the ranker."""
        if asked.segment not in self._held:
            self._held[asked.segment] = self._read(asked.segment)
            if len(self._held) > OPEN:
                self._held.popitem(last=False)
        self._held.move_to_end(asked.segment)
        table, where = self._held[asked.segment]
        start, count = where.get(asked.serial, (0, 0))
        return table.slice(start, count)

    @staticmethod
    def _read(segment: Path) -> tuple[pl.DataFrame, dict[int, tuple[int, int]]]:
        table = row_table(segment)
        serials, starts, counts = np.unique(table["serial"].to_numpy(), return_index=True, return_counts=True)
        return table, {int(s): (int(a), int(b)) for s, a, b in zip(serials, starts, counts, strict=True)}


def _compare(engine: Engine, group: Sequence[Asked], shelf: Shelf, found: Parity) -> None:
    """Recompute requests of one log position together and compare them with the record."""
    ranked, shown = recomputed(engine, group)
    parts = [shelf.rows(each) for each in group]
    for each, part in zip(group, parts, strict=True):
        if len(part) != each.rows:
            found.example_rows.append(f"{each.request_id}: {len(part)} rows in the record instead of {each.rows}")
    recorded = _batch(parts, ranked, engine.catalogue)
    offered = {**ranked.cand, "shown": shown, PLACE: rows.run_place(ranked.offsets).astype(np.int32)}
    spot = rows.locate(recorded, ranked)
    there = np.flatnonzero(spot >= 0)
    extra = np.ones(ranked.m, dtype=bool)
    extra[spot[there]] = False
    found.rows += recorded.m
    found.missing_rows += recorded.m - len(there)
    found.extra_rows += int(extra.sum())
    for batch, mask, what in ((recorded, spot < 0, "not recomputed"), (ranked, extra, "not recorded")):
        for row in np.flatnonzero(mask)[: max(0, 5 - len(found.example_rows))]:
            found.example_rows.append(
                f"{group[int(batch.owner[row])].request_id}, {_name(engine, int(batch.item[row]))}: {what}"
            )
    for names, one, other in (
        (found.missing_columns, recorded.cand, offered),
        (found.extra_columns, offered, recorded.cand),
    ):
        names += [name for name in one if name not in other and name not in names]
    for name, column in recorded.cand.items():
        if name in offered and name != "item":
            _count(found, name, column[there], offered[name][spot[there]], recorded, there, group, engine)


def recomputed(engine: Engine, group: Sequence[Asked]) -> tuple[Batch, Array]:
    """What the ranker scores for these requests now, best first, and (m,) each row's place in its answer."""
    checked = [engine.asked(each.request) for each in group]
    trace = Trace()
    if len(checked) == 1:
        engine.answer(checked[0], trace)
    else:
        batch, k = concat([entry.batch for entry in checked]), np.array([entry.k for entry in checked])
        answer = engine.pipeline.recommend(batch, engine.state, int(k.max()), trace, checked[0].ban())
        trace.answer = answer.keep(rows.run_place(answer.offsets) < answer.spread(k))
    assert trace.ranked is not None
    assert trace.answer is not None
    return trace.ranked, places(trace.ranked, trace.answer)


def _batch(parts: Sequence[pl.DataFrame], like: Batch, catalogue: Catalogue) -> Batch:
    """Recorded rows as a batch of the same requests. An item that nobody knows has code -1."""
    table = pl.concat(parts)
    offsets = rows.offsets_of(np.array([len(part) for part in parts]))
    columns: Columns = {"item": catalogue.items.ids.codes(table["item_id"])}
    columns |= {name: table[name].to_numpy() for name in table.columns if name not in OWN}
    columns |= {"shown": table["shown"].to_numpy(), PLACE: rows.run_place(offsets).astype(np.int32)}
    return Batch(like.req, offsets, columns)


def _count(
    found: Parity,
    name: str,
    recorded: Array,
    now: Array,
    batch: Batch,
    at: Array,
    group: Sequence[Asked],
    engine: Engine,
) -> None:
    """Add one column's comparison: equal to the bit, or both NaN."""
    entry = found.columns.setdefault(name, Found())
    entry.rows += len(recorded)
    wrong = np.ones(len(recorded), dtype=bool) if recorded.dtype != now.dtype else ~same(recorded, now)
    entry.mismatches += int(wrong.sum())
    if wrong.any() and entry.example is None:
        i = int(np.argmax(wrong))
        entry.example = {
            "request_id": group[int(batch.owner[at[i]])].request_id,
            "item_id": _name(engine, int(batch.item[at[i]])),
            "recorded": recorded[i].item(),
            "recomputed": now[i].item(),
        }


def same(one: Array, other: Array) -> Array:
    """(len,) bool: the same bits, or both NaN. Plain equality would take 0 for -0."""
    if one.dtype.kind != "f":
        equal: Array = one == other
        return equal
    bits = np.dtype(f"i{one.dtype.itemsize}")
    alike: Array = np.ascontiguousarray(one).view(bits) == np.ascontiguousarray(other).view(bits)
    return alike | (np.isnan(one) & np.isnan(other))


def _name(engine: Engine, code: int) -> Any:
    return engine.catalogue.items.ids.name(code) if code >= 0 else "an item that the bundle does not know"
