"""The record: what a service answered and what it had been told by then, so that every answer can be computed again.

A folder of segments, each written whole or not at all, none ever changed:

    record.json                        the format, and the bundle that answers
    events/<first>-<stop>-<writer>/    events.parquet: the events at log positions first to stop, as they came
    requests/<writer>-<number>/        requests.parquet: one row per request; rows.parquet: what the ranker saw, its scores, the answer

Several workers may write into one folder: each is a writer with a name of its own, and events that more than one of them has seen
are kept by each. A writer's events are on the disk before the requests that came after them.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shortlist.core import rows
from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.errors import BundleError, ConfigError
from shortlist.core.files import whole_folder
from shortlist.data.catalogue import Catalogue

FORMAT = 1
ABOUT = "record.json"
REQUESTS, ROWS, EVENTS = "requests.parquet", "rows.parquet", "events.parquet"
VALUES = 4_000_000  # feature values that are held in memory before a segment is written
OWN = ("serial", "item_id", "shown")  # columns of rows.parquet that are not the ranker's


class Recorder:
    """One writer. Not for several threads at a time.

    bundle: the name of the bundle that answers. writer: a name that no other writer has; made up when empty. segment: requests per
    segment. gigabytes: what this writer may put on the disk; then it stops, and `stopped` says so: a full disk is worse than a short
    record. What is lost when the process dies is at most the segment in hand.
    """

    def __init__(
        self,
        folder: Path,
        bundle: str,
        catalogue: Catalogue,
        *,
        writer: str = "",
        segment: int = 256,
        gigabytes: float = 10.0,
    ) -> None:
        if not bundle:
            raise ConfigError(
                "record: this engine's bundle is in memory only: save it and load it, so that answers can be recomputed"
            )
        self.folder, self.catalogue = folder, catalogue
        self.writer = writer or f"{os.getpid()}.{secrets.token_hex(4)}"
        if "-" in self.writer or "/" in self.writer:
            raise ConfigError(f"record: writer {self.writer!r} holds a '-' or '/'; use letters, digits and dots")
        self.segment, self.left = segment, int(gigabytes * 1e9)
        self.stopped = False
        self.serial = 0  # requests recorded
        self._number = 0  # request segments written
        self._first = -1  # log position of the first event in hand
        self._events: list[Columns] = []
        self._asked: list[dict[str, Any]] = []
        self._ranked: list[tuple[Batch, Array]] = []
        self._values = 0
        _begin(folder, bundle)

    def events(self, first: int, columns: Columns) -> None:
        """Events as they were folded in, from log position `first` on."""
        if self.stopped or not len(columns["time"]):
            return
        if self._events and first != self._stop():
            self.flush()
        if not self._events:
            self._first = first
        self._events.append(columns)
        if self._stop() - self._first >= 256 * self.segment:
            self.flush()

    def request(
        self, position: int, asked: Mapping[str, Any], ranked: Batch, answer: Batch, request_id: str = ""
    ) -> str:
        """A batch of one request: all that the ranker scored, best first, and what was shown. position: how many events the state had
        folded in. asked: `user_id`, `time` (unix seconds), `context`, `k`, `exclude` (ids): the request, nothing left to be
        guessed. Returns the request's id."""
        name = request_id or f"{self.writer}-{self.serial}"
        if self.stopped:
            return name
        line = json.dumps(asked, ensure_ascii=False, default=_bare)
        about = {
            "serial": self.serial,
            "request_id": name,
            "position": position,
            "time": int(asked["time"]),
            "request": line,
        }
        self._asked.append({**about, "rows": ranked.m})
        self._ranked.append((ranked, places(ranked, answer)))
        self._values += ranked.m * (len(ranked.cand) + 1)
        self.serial += 1
        if len(self._asked) >= self.segment or self._values >= VALUES:
            self.flush()
        return name

    def flush(self) -> None:
        """Write what is in hand: events first, so that no request is on the disk without what it knew."""
        if self._events:
            stop = self._stop()
            target = self.folder / "events" / f"{self._first:012}-{stop:012}-{self.writer}"
            self._written(target, {EVENTS: self._event_table()})
            self._events, self._first = [], stop
        if self._asked:
            target = self.folder / "requests" / f"{self.writer}-{self._number:08}"
            self._written(target, {REQUESTS: pl.DataFrame(self._asked), ROWS: self._row_table()})
            self._asked, self._ranked, self._values = [], [], 0
            self._number += 1

    def close(self) -> None:
        """Write what is in hand and stop."""
        self.flush()
        self.stopped = True

    def _stop(self) -> int:
        return self._first + sum(len(columns["time"]) for columns in self._events)

    def _written(self, target: Path, tables: Mapping[str, pl.DataFrame]) -> None:
        with whole_folder(target, next(iter(tables))) as made:
            for name, table in tables.items():
                table.write_parquet(made / name)
            self.left -= sum(path.stat().st_size for path in made.iterdir())
        self.stopped = self.stopped or self.left <= 0

    def _event_table(self) -> pl.DataFrame:
        """Events by outside ids: codes are the bundle's own affair."""
        columns = {name: np.concatenate([part[name] for part in self._events]) for name in self._events[0]}
        catalogue = self.catalogue
        table: dict[str, Any] = {
            "user_id": catalogue.users.ids.names(columns["user"]),
            "item_id": catalogue.items.ids.names(columns["item"]),
            "event": catalogue.kinds.names(columns["kind"]),
            "time": columns["time"],
            "value": columns["value"],
        }
        for name, vocabulary in catalogue.context.items():
            table[f"context.{name}"] = vocabulary.names(columns[name])
        return pl.DataFrame(table)

    def _row_table(self) -> pl.DataFrame:
        serials = [entry["serial"] for entry in self._asked]
        counts = [ranked.m for ranked, _ in self._ranked]
        table: dict[str, Any] = {
            "serial": np.repeat(np.array(serials, dtype=np.int64), counts),
            "item_id": self.catalogue.items.ids.names(np.concatenate([ranked.item for ranked, _ in self._ranked])),
            "shown": np.concatenate([shown for _, shown in self._ranked]),
        }
        for name in self._ranked[0][0].cand:
            if name != "item":
                table[name] = np.concatenate([ranked.cand[name] for ranked, _ in self._ranked])
        return pl.DataFrame(table)


def places(ranked: Batch, answer: Batch) -> Array:
    """(m,) int32 place in the answer of every row that the ranker scored, 1 = first; 0 for those not shown."""
    spot = rows.locate(ranked, answer)
    place = rows.run_place(answer.offsets).astype(np.int32) + 1
    shown = np.zeros(ranked.m, dtype=np.int32)
    shown[spot >= 0] = place[spot[spot >= 0]]
    return shown


def _bare(value: Any) -> Any:
    """What JSON does not know: numpy numbers as plain ones, all else as the text that a vocabulary would look up."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _begin(folder: Path, bundle: str) -> None:
    """The folder with its description; BundleError for one that holds other things, or another bundle's record."""
    if not (folder / ABOUT).exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BundleError(f"{folder}: is no record and holds other things; give a new name")
        (folder / "events").mkdir(parents=True, exist_ok=True)
        (folder / "requests").mkdir(exist_ok=True)
        draft = folder / f".{ABOUT}.{secrets.token_hex(4)}"
        draft.write_text(json.dumps({"format": FORMAT, "bundle": bundle}), encoding="utf-8")
        draft.replace(folder / ABOUT)
    held = about(folder)["bundle"]
    if held != bundle:
        raise BundleError(f"{folder}: holds the record of bundle {held}, and this one is {bundle}; give a new name")


def about(folder: Path) -> dict[str, Any]:
    """What record.json says. BundleError for a folder that is no record of a format that this version reads."""
    try:
        told: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        found = told["format"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BundleError(f"{folder}: is not a record: no readable {ABOUT}") from None
    if found != FORMAT:
        raise BundleError(f"{folder}: record format {found!r}, this version reads {FORMAT}")
    return told


def event_table(folder: Path, start: int) -> pl.DataFrame:
    """All recorded events from log position `start` on, in order, each once. BundleError where some are missing, or where two
    writers do not agree."""
    parts: list[pl.DataFrame] = []
    reached = start
    for path in sorted((folder / "events").glob("[0-9]*")):
        first, stop = (int(text) for text in path.name.split("-")[:2])
        if stop <= start:
            continue
        if first > reached:
            raise BundleError(f"{folder}: the events at log positions {reached} to {first} are not in the record")
        table = _table(path / EVENTS)
        if len(table) != stop - first:
            raise BundleError(f"{path / EVENTS}: holds {len(table)} events instead of {stop - first}")
        if parts and first < reached:
            _agree(parts, table, first, reached, path)
        if stop > reached:
            parts.append(table.slice(reached - first))
            reached = stop
    return pl.concat(parts, how="vertical_relaxed") if parts else pl.DataFrame()


def _agree(parts: Sequence[pl.DataFrame], table: pl.DataFrame, first: int, reached: int, path: Path) -> None:
    """BundleError unless the events that are there already are those that another writer saw."""
    tail = pl.concat(parts, how="vertical_relaxed")
    shared = min(reached - first, len(tail), len(table))
    mine, other = tail.slice(len(tail) - (reached - first), shared), table.slice(0, shared)
    if not mine.equals(other):
        raise BundleError(f"{path}: other events than another writer saw at the same log positions, from {first} on")


def request_tables(folder: Path) -> list[tuple[Path, pl.DataFrame]]:
    """Every segment of requests, with its table."""
    return [(path, _table(path / REQUESTS)) for path in sorted((folder / "requests").glob("[!.]*"))]


def row_table(segment: Path) -> pl.DataFrame:
    """What the ranker saw of a segment's requests."""
    return _table(segment / ROWS)


def serials_of(segment: Path) -> list[int]:
    """The numbers of the requests that a segment has rows of."""
    return _table(segment / ROWS, ["serial"])["serial"].unique().to_list()


def _table(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, columns=columns)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{path}: not readable: {' '.join(str(error).split())}") from None
