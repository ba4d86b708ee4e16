"""A service's log as tables, so that it trains the next model: what users did, what they were shown, and items and users as they have become.

    events.parquet         the canonical events: those that were sent, and one impression per item that was shown, with request, position and propensity
    items.parquet, users.parquet    the canonical tables, with all changes; where there is anything to tell
    impressions.parquet    what was shown once more, with score, source, variant, bundle: for reports; training does not read it
    log.json               the log position up to which all this goes: `shortlist serve --after`

Rows of the log stand in log order behind those of the data that the service began with. Times are the service's clock's, as in the state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from shortlist.core.errors import DataError
from shortlist.core.files import whole_folder
from shortlist.data.schema import EVENT_COLUMNS, KEY, Tables, is_id, is_text, unix_seconds
from shortlist.data.vocabulary import Id, canonical
from shortlist.serve import entry
from shortlist.serve.erase import Hasher, erased
from shortlist.serve.eventlog.codec import decode
from shortlist.serve.eventlog.contract import EventLog
from shortlist.serve.fold import DATE
from shortlist.serve.prune import pruned

ABOUT = "log.json"
PIECE = 5000  # entries of the log that are read at a time
TYPES = {
    "time": pl.Int64, "event": pl.String, "value": pl.Float64, "request_id": pl.String, "position": pl.Int32, "propensity": pl.Float64,
}  # fmt: skip
SHOWN = {
    "request_id": pl.String, "time": pl.Int64, "position": pl.Int32, "score": pl.Float64, "propensity": pl.Float64, "source": pl.String,
    "variant": pl.String, "bundle": pl.String, "surface": pl.String, "call": pl.String, "degraded": pl.String,
}  # fmt: skip


@dataclass
class Exported:
    """position: of the log; pruned: up to where it has been cleared, so that the data must hold it; events, impressions: rows that come from it;
    left_out: rows of it that the data cannot hold, and rows of the data whose users were erased, by the reason."""

    position: int
    pruned: int = 0
    events: int = 0
    impressions: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


class Rows:
    """Rows as columns of plain values, as they come."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {}
        self.size = 0

    def add(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """More rows; what they have no column for is missing."""
        size = len(columns["time"])
        for name in columns:
            self.columns.setdefault(name, [None] * self.size)
        for name, held in self.columns.items():
            held.extend(columns.get(name) or [None] * size)
        self.size += size

    def frame(self, types: Mapping[str, Any], text: Mapping[str, bool]) -> pl.DataFrame:
        """As a table. types: of columns, where they are known; text: are the ids text?"""
        return pl.DataFrame({
            name: _ids(values, text[name]) if name in text else _column(values, types.get(name)) for name, values in self.columns.items()
        })  # fmt: skip


def export(log: EventLog, out: Path, base: Tables | None = None, impression: str = "impression") -> Exported:
    """Write the tables to a new folder, whole or not at all; the log's rows are held in memory. base: the data that the first bundle was fitted
    on; the log's rows come behind it. impression: the event kind of what was shown, "" = leave it out. DataError where there is nothing to write."""
    made = Exported(log.last(), pruned(log))
    tables = _plain(base, log, made) if base is not None else {}
    events, shown = Rows(), Rows()
    changed: dict[str, dict[Id, dict[str, Any]]] = {"items": {}, "users": {}}
    met = {str(name) for table in tables.values() if "item_id" in table.columns for name in table["item_id"].unique()}
    for content, kind in _contents(log, made.position):
        if isinstance(content, entry.Events):
            events.add(_did(content))
            made.events += len(content.time)
            met.update(map(str, content.item_id))
        elif isinstance(content, entry.Served):
            if content.request.get("shown") is False or not content.items:
                continue
            shown.add(_impressions(content))
            if impression and content.user_id is not None:
                events.add(_seen(content, impression))
                made.impressions += len(content.items)
        elif isinstance(content, entry.Rows):
            title = "items" if kind == entry.ITEMS else "users"
            for row in content.rows:
                _change(changed[title], KEY[title], row, content.time, met if title == "items" else None)
    if not events.size and "events" not in tables:
        raise DataError("the log holds no event and no answer: there is nothing to export")
    text = {key: _texts(tables, key, [events.columns, shown.columns], changed) for key in ("user_id", "item_id")}
    parts = [*([tables["events"]] if "events" in tables else []), *([events.frame(TYPES, text)] if events.size else [])]
    with whole_folder(out, ABOUT) as folder:
        _held(_joined(parts), made).write_parquet(folder / "events.parquet")
        for title, key in KEY.items():
            table = _merged(tables.get(title), key, changed[title], text[key])
            if table is not None:
                table.write_parquet(folder / f"{title}.parquet")
        if shown.size:
            shown.frame(SHOWN, text).write_parquet(folder / "impressions.parquet")
        (folder / ABOUT).write_text(json.dumps(made.__dict__, indent=1), encoding="utf-8")
    return made


def _contents(log: EventLog, upto: int) -> Iterator[tuple[Any, int]]:
    """Contents and kinds of all entries up to a position, in order; those that were erased whole are passed over."""
    position = 0
    while position < upto and (found := log.read(position, PIECE)):
        position = found[-1].position
        for stored in found:
            content = decode(stored) if stored.position <= upto else None
            if content is not None:
                yield content, stored.kind


def _did(content: entry.Events) -> dict[str, list[Any]]:
    """A batch of events as columns."""
    size = len(content.time)
    return {
        "user_id": content.user_id, "item_id": content.item_id, "time": content.time, "event": content.event, "value": content.value,
        "request_id": content.request_id or [None] * size, "position": content.position or [None] * size, **content.context,
    }  # fmt: skip


def _seen(content: entry.Served, impression: str) -> dict[str, list[Any]]:
    """An answer as events."""
    size = len(content.items)
    same: dict[str, Any] = {"user_id": content.user_id, "time": content.time, "event": impression}
    same["request_id"] = content.request_id
    same |= {name: value for name, value in (content.request.get("context") or {}).items() if value is not None}
    columns: dict[str, list[Any]] = {name: [value] * size for name, value in same.items()}
    return {**columns, "item_id": content.items, "position": list(range(1, size + 1)), "propensity": content.propensity}


def _impressions(content: entry.Served) -> dict[str, list[Any]]:
    """An answer with all that is known of it."""
    size = len(content.items)
    same = {
        "request_id": content.request_id, "user_id": content.user_id, "time": content.time, "variant": content.variant, "bundle": content.bundle,
        "surface": content.surface, "call": content.call, "degraded": "|".join(content.degraded),
    }  # fmt: skip
    columns: dict[str, list[Any]] = {name: [value] * size for name, value in same.items()}
    own: dict[str, list[Any]] = {"score": content.scores, "propensity": content.propensity, "source": content.sources}
    return {**columns, "item_id": content.items, "position": list(range(1, size + 1)), **own}


def _change(rows: dict[Id, dict[str, Any]], key: str, row: Mapping[str, Any], time: int, met: set[str] | None) -> None:
    """A row as the state takes it in: columns that it does not name keep their value, and an item that nobody has met (met: ids) and that has no
    date is available from now on."""
    own = rows.setdefault(row[key], {})
    own |= {name: value for name, value in row.items() if name != key}
    if met is not None and str(row[key]) not in met:
        met.add(str(row[key]))
        if own.get(DATE) is None:
            own[DATE] = time


def _plain(base: Tables, log: EventLog, made: Exported) -> dict[str, pl.DataFrame]:
    """The data's own tables in types that say by themselves what kind a column is, without users who were erased."""
    tables = dict(base.parts())
    events = tables["events"].select(
        *(name for name in EVENT_COLUMNS if name in base.events.columns), *base.context_columns()
    )
    if "event" not in events.columns:
        events = events.with_columns(event=pl.lit(base.default_kind))
    events = events.with_columns(unix_seconds(events["time"]).alias("time"))
    tables["events"] = events.with_columns(
        pl.col(name).cast(kind) for name, kind in TYPES.items() if name in events.columns
    )
    hashes, hasher = erased(log)[0], Hasher(log)
    for title, table in tables.items():
        columns = base.context_columns() if title == "events" else base.attributes(title)
        plain = [_typed(base, title, name, table[name]) for name in columns]
        keys = [
            canonical(table[key])
            for key in KEY.values()
            if key in table.columns and (title == "events" or key == KEY[title])
        ]
        table = table.with_columns(*plain, *keys)
        if hashes and "user_id" in table.columns and title != "items":
            gone = [user for user in table["user_id"].unique().to_list() if hasher(user) in hashes]
            kept = table.filter(~pl.col("user_id").is_in(gone))
            if len(kept) < len(table):
                made.left_out[f"{title} of erased users"] = len(table) - len(kept)
            table = kept
        tables[title] = table
    return tables


def _typed(base: Tables, title: str, name: str, values: pl.Series) -> pl.Series:
    """A column whose type alone says its kind: what a loader knows beyond the types is lost on a plain folder."""
    kind, dtype = base.kind(title, name), values.dtype
    if kind == "category" and (not dtype.is_integer() or not is_id(name)):
        return values.cast(pl.String)
    if kind == "number" and (dtype == pl.Boolean or is_id(name)):
        return values.cast(pl.Float64)
    return values.arr.to_list() if isinstance(dtype, pl.Array) else values


def _texts(
    tables: Mapping[str, pl.DataFrame], key: str, parts: Iterable[Mapping[str, list[Any]]], changed: Mapping[str, Mapping[Id, Any]]
) -> bool:  # fmt: skip
    """Are these ids text? As in the data; without any, unless all are whole numbers."""
    if "events" in tables:
        return is_text(tables["events"].schema[key])
    title = next(title for title, own in KEY.items() if own == key)
    names = [*(name for part in parts for name in part.get(key, [])), *changed[title]]
    return not all(isinstance(name, int) for name in names if name is not None)


def _ids(names: Sequence[Any], text: bool) -> pl.Series:
    """Ids in the data's own type; null for what cannot be one."""
    if text:
        return pl.Series([None if name is None else str(name) for name in names], dtype=pl.String)
    return pl.Series([_whole(name) for name in names], dtype=pl.Int64)


def _whole(name: Any) -> int | None:
    """17 and "17" are one id."""
    try:
        found = int(name)
    except (TypeError, ValueError):
        return None
    return found if -(2**63) <= found < 2**63 else None


def _column(values: Sequence[Any], dtype: Any = None) -> pl.Series:
    """Values from JSON as a column: of a type, or of the one that fits them all. What does not fit a type is missing, as it is in the state."""
    if isinstance(dtype, pl.Datetime | pl.Date):
        values = [datetime.fromtimestamp(value, UTC) if isinstance(value, int) else value for value in values]
        return pl.Series(
            [value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in values]
        ).cast(dtype)
    if dtype is not None and dtype != pl.Null:
        return pl.Series(values, dtype=dtype, strict=False)
    there = [value for value in values if value is not None]
    if any(isinstance(value, list) for value in there):
        inner = pl.Float64 if all(isinstance(x, float) for value in there for x in value) else pl.String
        return pl.Series(values, dtype=pl.List(inner), strict=False)
    if any(isinstance(value, str) for value in there):
        return pl.Series([None if value is None else str(value) for value in values], dtype=pl.String)
    return pl.Series(values, dtype=pl.Float64 if any(isinstance(value, float) for value in there) else pl.Int64)


def _second(value: Any) -> int | None:
    """Unix seconds of what a column of moments or days holds."""
    if isinstance(value, date):
        whole = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
        return int((whole if whole.tzinfo else whole.replace(tzinfo=UTC)).timestamp() // 1)
    return value if isinstance(value, int) else None


def _moments(seconds: pl.Series, dtype: Any) -> pl.Series:
    """Unix seconds as moments or days of a type."""
    made = pl.from_epoch(seconds.cast(pl.Int64), time_unit="s")
    zone = getattr(dtype, "time_zone", None)
    return (made.dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else made).cast(dtype)


def _joined(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """One below the other; a column that some do not have is missing there, one of several types is of the first's where that is of moments, else
    text or a number."""
    types: dict[str, Any] = {}
    for part in parts:
        for name, dtype in part.schema.items():
            known = types.setdefault(name, dtype)
            if known != dtype and not known.is_temporal():
                types[name] = pl.String if is_text(known) or is_text(dtype) else pl.Float64
    return pl.concat(
        [part.select(_like(part[name], types[name]) for name in part.columns) for part in parts], how="diagonal"
    )


def _like(values: pl.Series, dtype: Any) -> pl.Series:
    if dtype.is_temporal() and values.dtype.is_numeric():
        return _moments(values, dtype).alias(values.name)
    return values.cast(dtype, strict=False)


def _held(events: pl.DataFrame, made: Exported) -> pl.DataFrame:
    """Events that the data can hold: text is no id where ids are whole numbers."""
    kept = events.drop_nulls(["user_id", "item_id"])
    if len(kept) < len(events):
        made.left_out["text for an id where the data have whole numbers"] = len(events) - len(kept)
    return kept


def _merged(table: pl.DataFrame | None, key: str, rows: Mapping[Id, dict[str, Any]], text: bool) -> pl.DataFrame | None:
    """A table with its changed and new rows; None where there is neither."""
    if table is None and not rows:
        return None
    ids = _ids(list(rows), text)
    changed = {name: row for name, row in zip(ids.to_list(), rows.values(), strict=True) if name is not None}
    old: dict[Id, dict[str, Any]] = {}
    if table is not None:
        old = {row[key]: row for row in table.filter(pl.col(key).is_in(list(changed))).to_dicts()}
    columns = list(
        dict.fromkeys(
            [*(table.columns if table is not None else [key]), *(column for row in changed.values() for column in row)]
        )
    )
    fresh: dict[str, pl.Series] = {key: _ids(list(changed), text)}
    for column in columns:
        if column != key:
            values = [row.get(column, old.get(name, {}).get(column)) for name, row in changed.items()]
            fresh[column] = _column(values, table.schema.get(column) if table is not None else None)
    made = pl.DataFrame(fresh)
    return made if table is None else _joined([table.filter(~pl.col(key).is_in(list(changed))), made.select(columns)])
