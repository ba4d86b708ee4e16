"""The catalogue: every item, user, event kind and context value that is known, with their attributes as dense columns.

Columns grow as items and users arrive. Every column keeps a spare last row that means "missing", so that code -1 (unknown)
reads it by plain numpy indexing, without a branch on the request path.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.component import load_array, save_array
from shortlist.core.errors import ConfigError, choices
from shortlist.data.vocabulary import Vocabulary

NEVER = np.iinfo(np.int64).min  # a missing moment


@dataclass
class Column:
    """One attribute. kind: category (int32 codes), number (float32), moment (int64 seconds), vector (float32, d wide),
    tags (a list of categories per row: `values` holds start offsets and `codes` the entries)."""

    kind: str
    values: Array  # (capacity, ...): the last row is the missing one; for tags (capacity + 1,) offsets into codes
    vocabulary: Vocabulary | None = None
    codes: Array | None = None

    def room(self, capacity: int) -> None:
        """Make the column at least this long, new rows missing."""
        have = len(self.values)
        if self.kind == "tags":
            extra = capacity + 1 - have
            if extra > 0:
                self.values = np.concatenate([self.values, np.full(extra, self.values[-1])])
            return
        if capacity > have:
            blank = np.repeat(self.values[-1:], capacity - have, axis=0)
            self.values = np.concatenate([self.values, blank])


@dataclass
class Table:
    """Ids of one kind of thing and the attributes of each. `listed`: how many came with a table (the others only ever
    appeared in events, so nothing but their code is known)."""

    ids: Vocabulary
    columns: dict[str, Column] = field(default_factory=dict)
    listed: int = 0
    version: int = 0  # goes up with every change of a column: who keeps columns in another layout must look
    _touched: set[int] = field(default_factory=set)
    gone: Array | None = None  # (capacity,) bool: deleted while serving, not to be shown; None where nothing is

    def __len__(self) -> int:
        return len(self.ids)

    def of_kind(self, *kinds: str) -> list[str]:
        """Names of the columns of these kinds, in table order."""
        return [name for name, column in self.columns.items() if column.kind in kinds]

    def column(self, name: str, place: str = "") -> Column:
        """A column by name, or one line with the choices."""
        if name not in self.columns:
            where = f"{place}: " if place else ""
            raise ConfigError(f"{where}unknown column {name!r}; columns: {choices(self.columns)}")
        return self.columns[name]

    def values(self, name: str, codes: Array) -> Array:
        """The attribute of these codes: (len,) or (len, d); the missing value for code -1. Not for tags."""
        taken: Array = self.column(name).values[codes]
        return taken

    def tags(self, name: str, codes: Array) -> tuple[Array, Array]:
        """Entries of a tags (or category) column as ragged (offsets (len + 1,), entry codes)."""
        column = self.column(name)
        if column.kind == "category":
            values = column.values[codes]
            offsets = np.zeros(len(codes) + 1, dtype=np.int64)
            np.cumsum(values >= 0, out=offsets[1:])
            return offsets, values[values >= 0]
        assert column.codes is not None
        offsets = np.empty(len(codes) + 1, dtype=np.int64)
        _runs(column.values, codes, offsets)
        entries = np.empty(offsets[-1], dtype=column.codes.dtype)
        _entries(column.values, column.codes, codes, offsets, entries)
        return offsets, entries

    def add(self, name: object) -> int:
        """The code of an id, new or not; a new one has no attributes."""
        code = self.ids.add(name)
        if code + 1 >= self.capacity:
            self.room(2 * (code + 2))
        return code

    def delete(self, code: int, gone: bool = True) -> None:
        """From now on this row is not to be shown, or is again. Its attributes stay: histories may hold it."""
        if self.gone is None:
            if not gone:
                return
            self.gone = np.zeros(len(self), dtype=bool)
        if code >= len(self.gone):
            self.gone = np.concatenate([self.gone, np.zeros(2 * code + 2 - len(self.gone), dtype=bool)])
        self.gone[code] = gone
        self.version += 1

    def forget(self, code: int) -> None:
        """Who a row was, and what was known of it, is no longer there."""
        self.ids.forget(code)
        for column in self.columns.values():
            if column.kind == "tags":
                assert column.codes is not None
                start, stop = int(column.values[code]), int(column.values[code + 1])
                column.codes = np.delete(column.codes, slice(start, stop))
                column.values = np.concatenate([column.values[: code + 1], column.values[code + 1 :] - (stop - start)])
            else:
                column.values = column.values.copy()
                column.values[code] = column.values[-1]
        self.version += 1

    def touch(self, code: int) -> None:
        """Remember that a row's attributes are no longer those that the bundle was fitted with."""
        self._touched.add(code)
        self.version += 1

    def touched(self) -> Array:
        """Codes of rows whose attributes came or changed while serving."""
        return np.array(sorted(self._touched), dtype=np.int32)

    def there(self) -> Array | None:
        """(len,) bool: rows that are not deleted; None where all are."""
        if self.gone is None:
            return None
        there = np.ones(len(self), dtype=bool)
        there[: len(self.gone)] = ~self.gone[: len(self)]
        return there

    @property
    def capacity(self) -> int:
        """Rows that the columns have room for, the missing row included."""
        for column in self.columns.values():
            return len(column.values) - (1 if column.kind == "tags" else 0)
        return len(self.ids) + 1

    def room(self, capacity: int) -> None:
        """Make every column at least this long."""
        self.version += 1
        for column in self.columns.values():
            column.room(capacity)


class Catalogue:
    """items, users: tables; kinds: event kinds; context: vocabularies of the categorical context columns of events."""

    def __init__(
        self, items: Table, users: Table, kinds: Vocabulary, context: dict[str, Vocabulary] | None = None
    ) -> None:
        self.items = items
        self.users = users
        self.kinds = kinds
        self.context = context or {}

    def kind_codes(self, names: Sequence[str], place: str = "") -> Array:
        """int8 codes of event kinds by name; ConfigError with the choices for one that the data do not have."""
        codes = self.kinds.codes(list(names))
        if (codes < 0).any():
            unknown = [name for name, code in zip(names, codes, strict=True) if code < 0]
            where = f"{place}: " if place else ""
            raise ConfigError(
                f"{where}unknown event kind {unknown[0]!r}; the data have: {choices(self.kinds.series().to_list())}"
            )
        return codes.astype(np.int8)

    def save(self, folder: Path) -> None:
        """Write as plain arrays and one JSON description."""
        folder.mkdir(parents=True, exist_ok=True)
        about: dict[str, Any] = {"context": list(self.context)}
        self.kinds.save(folder, "kinds")
        for name, vocabulary in self.context.items():
            vocabulary.save(folder, f"context.{name}")
        for title, table in (("items", self.items), ("users", self.users)):
            table.ids.save(folder, title)
            about[title] = {"listed": table.listed, "columns": {}}
            if table.gone is not None:
                about[title]["gone"] = np.flatnonzero(table.gone).tolist()
            if len(table.touched()):
                about[title]["touched"] = table.touched().tolist()
            for i, (name, column) in enumerate(table.columns.items()):
                stem = f"{title}.{i}"
                about[title]["columns"][name] = column.kind
                save_array(folder / f"{stem}.npy", column.values)
                if column.codes is not None:
                    save_array(folder / f"{stem}.codes.npy", column.codes)
                if column.vocabulary is not None:
                    column.vocabulary.save(folder, f"{stem}.vocabulary")
        (folder / "catalogue.json").write_text(json.dumps(about, indent=1, ensure_ascii=False))

    @classmethod
    def load(cls, folder: Path) -> Catalogue:
        """Read what `save` wrote. Arrays are memory-mapped; growing a column copies it."""
        about = json.loads((folder / "catalogue.json").read_text())
        tables = []
        for title in ("items", "users"):
            columns = {}
            for i, (name, kind) in enumerate(about[title]["columns"].items()):
                stem = f"{title}.{i}"
                codes = load_array(folder / f"{stem}.codes.npy") if kind == "tags" else None
                vocabulary = Vocabulary.load(folder, f"{stem}.vocabulary") if kind in ("category", "tags") else None
                columns[name] = Column(kind, load_array(folder / f"{stem}.npy"), vocabulary, codes)
            tables.append(Table(Vocabulary.load(folder, title), columns, about[title]["listed"]))
            for code in about[title].get("gone", ()):
                tables[-1].delete(code)
            for code in about[title].get("touched", ()):
                tables[-1].touch(code)
        context = {name: Vocabulary.load(folder, f"context.{name}") for name in about["context"]}
        return cls(tables[0], tables[1], Vocabulary.load(folder, "kinds"), context)


# On the request path: a step of numpy for each part of this would cost ten times as much.
@njit(cache=True, nogil=True)
def _runs(starts: Array, codes: Array, offsets: Array) -> None:
    """Where each row's entries will begin; -1, the missing row, has none."""
    offsets[0] = 0
    for i in range(len(codes)):
        code = codes[i]
        offsets[i + 1] = offsets[i] + (starts[code + 1] - starts[code] if code >= 0 else 0)


@njit(cache=True, nogil=True)
def _entries(starts: Array, entries: Array, codes: Array, offsets: Array, out: Array) -> None:
    for i in range(len(codes)):
        for j in range(offsets[i + 1] - offsets[i]):
            out[offsets[i] + j] = entries[starts[codes[i]] + j]


def category(values: pl.Series) -> Column:
    """A category column from text (or anything that is to be read as text); nulls are missing."""
    text = values if values.dtype == pl.String or values.dtype.is_integer() else values.cast(pl.String)
    vocabulary = Vocabulary(text)
    codes = np.append(vocabulary.codes(text), np.int32(-1)).astype(np.int32)
    return Column("category", codes, vocabulary)


def number(values: pl.Series) -> Column:
    """A number column; nulls are NaN."""
    return Column("number", np.append(values.cast(pl.Float32).fill_null(float("nan")).to_numpy(), np.float32("nan")))


def moment(values: pl.Series) -> Column:
    """A column of unix seconds (integers, or dates and date-times); nulls are NEVER."""
    if values.dtype in (pl.Date, pl.Datetime):
        values = values.cast(pl.Datetime("us")).dt.epoch("s")
    return Column("moment", np.append(values.cast(pl.Int64).fill_null(NEVER).to_numpy(), np.int64(NEVER)))


def tags(values: pl.Series) -> Column:
    """A column of lists of categories; null is the empty list."""
    counts = values.list.len().fill_null(0).to_numpy().astype(np.int64)
    entries = values.explode(empty_as_null=False, keep_nulls=False).cast(pl.String)
    entries = entries.drop_nulls() if int(counts.sum()) != len(entries) else entries
    vocabulary = Vocabulary(entries)
    offsets = np.zeros(len(values) + 2, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:-1])
    offsets[-1] = offsets[-2]
    return Column("tags", offsets, vocabulary, vocabulary.codes(entries))


def vector(values: pl.Series) -> Column:
    """A column of vectors of one width; null is all NaN."""
    width = int(values.list.len().max() or 0)  # type: ignore[arg-type]
    rows = [row if row is not None else [float("nan")] * width for row in values.to_list()]
    block = np.array([*rows, [float("nan")] * width], dtype=np.float32)
    return Column("vector", block)
