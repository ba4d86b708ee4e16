"""A data set, encoded: the catalogue and the log. Tables come in by `read` (files) or `from_frames` (Python)."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shortlist.core.batch import Array, Columns
from shortlist.core.errors import ConfigError, DataError, choices
from shortlist.data import catalogue as column
from shortlist.data.catalogue import Catalogue, Column, Table
from shortlist.data.check import Violation, violations
from shortlist.data.log import Log
from shortlist.data.schema import KEY, Tables, is_id, unix_seconds
from shortlist.data.vocabulary import Vocabulary, canonical

SHOWN = 5  # violations in an error message; `shortlist check` lists all
_SPEC = re.compile(r"^([a-z][a-z0-9_]+):(.*)$", re.DOTALL)


@dataclass(frozen=True)
class Dataset:
    """name: for reports. fingerprint: 32 hex digits, the same for the same content whatever file it came from."""

    name: str
    catalogue: Catalogue
    log: Log
    fingerprint: str
    notes: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Write as plain arrays, so that `open` need not parse and sort again."""
        self.catalogue.save(folder / "catalogue")
        self.log.save(folder / "log")
        about = {"name": self.name, "fingerprint": self.fingerprint, "notes": list(self.notes)}
        # Last: a folder without it is not a data set, so a half-written one is never opened.
        (folder / "dataset.json").write_text(json.dumps(about, indent=1, ensure_ascii=False))

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Memory-map what `save` wrote."""
        path = folder / "dataset.json"
        try:
            about = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not a saved data set: {error}") from None
        stored, log = Catalogue.load(folder / "catalogue"), Log.load(folder / "log")
        return cls(about["name"], stored, log, about["fingerprint"], tuple(about["notes"]))


def read(spec: str | Path, **options: Any) -> Dataset:
    """A data set from files. spec and options: see `tables`. DataError lists the first violations."""
    return encode(tables(spec, **options))


def tables(spec: str | Path, **options: Any) -> Tables:
    """The tables of a folder of your own (`path`), or of a public set (`globo:path`, the name being a file of data/load).
    options: keyword arguments of its `load`."""
    match = _SPEC.match(spec) if isinstance(spec, str) else None
    name, path = (match[1], match[2]) if match and not Path(spec).exists() else ("folder", str(spec))
    if name not in loaders():
        raise ConfigError(f"{spec}: unknown data set {name!r}; choices: {choices(loaders())}, or a plain folder")
    load = importlib.import_module(f"shortlist.data.load.{name}").load
    known = [option for option in inspect.signature(load).parameters if option != "folder"]
    for option in options:
        if option not in known:
            raise ConfigError(f"{spec}: unknown option {option!r} of {name}; options: {choices(known)}")
    folder = Path(path).expanduser()
    if not path or not folder.is_dir():
        raise DataError(f"{spec}: no such folder: {path!r}")
    loaded: Tables = load(folder, **options)
    return loaded


def loaders() -> list[str]:
    """What may stand before the colon: the files of data/load."""
    package = importlib.import_module("shortlist.data.load")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def from_frames(events: Any, items: Any = None, users: Any = None, **options: Any) -> Dataset:
    """A data set from pandas, Polars or Arrow tables, or dicts of columns. options: further fields of `Tables`, such as
    `name`, `default_kind`, `context`, `categories`, `numbers`."""
    frames = [None if table is None else _frame(table) for table in (events, items, users)]
    assert frames[0] is not None
    return encode(Tables(frames[0], frames[1], frames[2], **options))


def _frame(table: Any) -> pl.DataFrame:
    """Any table as a Polars frame. NaN in a pandas frame means missing, so it becomes null."""
    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    try:
        if type(table).__module__.split(".")[0] == "pandas":
            return _whole(pl.from_pandas(table))
        return pl.DataFrame(table)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(f"not a table: {type(table).__name__}: {error}; give a pandas, Polars or Arrow table") from None


def _whole(frame: pl.DataFrame) -> pl.DataFrame:
    """Ids and positions as integers again: in a pandas frame one missing value makes floats of them all."""
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float() and (is_id(name) or name == "position")]
    whole = [name for name in floats if bool((frame[name].floor() == frame[name]).all())]  # nulls aside
    return frame.with_columns(pl.col(whole).cast(pl.Int64))


def encode(tables: Tables) -> Dataset:
    """Tables as codes and columns. Events are sorted by time, ties keep their row order.

    Codes: the rows of the items (users) table in table order, then ids that only events name, in order of first appearance
    in the sorted log; event kinds and context categories in order of appearance. So no code depends on a later event.
    """
    problems = violations(tables)
    if problems:
        raise DataError(explain(tables.name, problems))
    time = unix_seconds(tables.events["time"])
    events = tables.events.with_columns(time.alias("time"))
    if not time.is_sorted():
        events = events.sort("time", maintain_order=True)
    items, users = (_table(tables, title, events) for title in ("items", "users"))
    kind = events["event"].cast(pl.String) if "event" in events.columns else pl.Series("event", [tables.default_kind])
    kinds = Vocabulary(kind)
    columns: Columns = {
        "user": users.ids.codes(events["user_id"]),
        "item": items.ids.codes(events["item_id"]),
        "time": events["time"].to_numpy(),
        "kind": np.broadcast_to(kinds.codes(kind).astype(np.int8), len(events)).copy(),
        "value": _numbers(events, "value"),
    }
    columns |= _optional(events)
    context = {}
    for name in tables.context_columns():
        encoded = _column(tables, "events", name, events[name])
        columns[name] = encoded.values[:-1].copy()  # without the spare row
        if encoded.vocabulary is not None:
            context[name] = encoded.vocabulary
    catalogue, log = Catalogue(items, users, kinds, context), Log(columns)
    return Dataset(tables.name, catalogue, log, fingerprint(catalogue, log), tables.notes)


def explain(name: str, problems: list[Violation]) -> str:
    """Violations as one message."""
    lines = "; ".join(f"({i + 1}) {problem.line()}" for i, problem in enumerate(problems[:SHOWN]))
    more = f"; and {len(problems) - SHOWN} more, see `shortlist check`" if len(problems) > SHOWN else ""
    return f"{name}: {len(problems)} violation{'s' if len(problems) > 1 else ''} of the schema: {lines}{more}"


def _table(tables: Tables, title: str, events: pl.DataFrame) -> Table:
    """The ids of a table and of the sorted events, and the attributes of the listed ones."""
    key = KEY[title]
    listed = tables.parts().get(title)
    if listed is None:
        return Table(Vocabulary(events[key]))
    ids, met = canonical(listed[key]), canonical(events[key])
    if ids.dtype != met.dtype:
        ids, met = ids.cast(pl.String), met.cast(pl.String)
    vocabulary = Vocabulary(pl.concat([ids.alias(key), met.alias(key)]))
    attributes = {name: _column(tables, title, name, listed[name]) for name in tables.attributes(title)}
    table = Table(vocabulary, attributes, len(listed))
    table.room(len(vocabulary) + 1)
    return table


def _column(tables: Tables, title: str, name: str, values: pl.Series) -> Column:
    """One attribute or context column, encoded by its kind."""
    match tables.kind(title, name):
        case "category":
            plain = values if values.dtype.is_integer() and values.dtype != pl.Null else values.cast(pl.String)
            return column.category(plain)
        case "number":
            return column.number(values.cast(pl.Float64))
        case "moment":
            return column.moment(unix_seconds(values))
        case "tags":
            return column.tags(_lists(values).list.drop_nulls())
        case _:
            return column.vector(_lists(values).cast(pl.List(pl.Float32)))


def _lists(values: pl.Series) -> pl.Series:
    return values.arr.to_list() if isinstance(values.dtype, pl.Array) else values


def _numbers(events: pl.DataFrame, name: str) -> Array:
    """(events,) float32, NaN where null or absent."""
    if name not in events.columns:
        return np.full(len(events), np.nan, dtype=np.float32)
    return events[name].cast(pl.Float32).fill_null(float("nan")).to_numpy().copy()


def _optional(events: pl.DataFrame) -> Columns:
    """request, position and propensity, where the data have them; -1 and NaN where null."""
    columns: Columns = {}
    if "request_id" in events.columns:
        columns["request"] = Vocabulary(events["request_id"]).codes(events["request_id"])
    if "position" in events.columns:
        columns["position"] = events["position"].cast(pl.Int32).fill_null(-1).to_numpy().copy()
    if "propensity" in events.columns:
        columns["propensity"] = _numbers(events, "propensity")
    return columns


def fingerprint(catalogue: Catalogue, log: Log) -> str:
    """A hash of the content: blake2b over every log column, id, vocabulary and attribute. Integers and their text, and
    number types of any width, count as the same, for a file format may not know the difference."""
    digest = hashlib.blake2b(digest_size=16)
    for name, values in log.columns.items():
        _feed(digest, "log", name, values)
    for name, vocabulary in (("kinds", catalogue.kinds), *catalogue.context.items()):
        _feed(digest, "vocabulary", name, *_text(vocabulary))
    for title, table in (("items", catalogue.items), ("users", catalogue.users)):
        _feed(digest, title, f"ids {table.listed}", *_text(table.ids))
        for name, stored in table.columns.items():
            arrays: Iterable[Array] = [stored.values] if stored.codes is None else [stored.values, stored.codes]
            _feed(digest, f"{title} {stored.kind}", name, *arrays)
            if stored.vocabulary is not None:
                _feed(digest, f"{title} words", name, *_text(stored.vocabulary))
    return digest.hexdigest()


def _feed(digest: Any, title: str, name: str, *arrays: Array) -> None:
    """Add arrays to a hash, framed by what and how long they are, so that no two contents give the same bytes."""
    for array in arrays:
        flat = np.ascontiguousarray(array)
        if flat.dtype.kind == "f":
            flat = np.where(np.isnan(flat), np.float32("nan"), flat).astype(np.float32)  # one NaN of the many
        digest.update(f"{title}\x1f{name}\x1f{flat.dtype.str}\x1f{flat.shape}\x1e".encode())
        digest.update(flat.tobytes())


def _text(vocabulary: Vocabulary) -> tuple[Array, Array]:
    """Ids as bytes and their lengths."""
    text = vocabulary.series().cast(pl.String)
    return np.frombuffer("".join(text.to_list()).encode(), dtype=np.uint8), text.str.len_bytes().to_numpy().astype(
        np.int64
    )
