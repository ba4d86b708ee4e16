"""Checking tables against the schema: every violation with row examples and what to do, not the first one met.

Violations make encoding impossible or wrong. Warnings are legal, but seldom meant. Rows are counted from 0 at the first row
of data (a header is not a row).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl

from shortlist.core.errors import choices
from shortlist.core.units import iso
from shortlist.data.schema import (
    EVENT_COLUMNS,
    KEY,
    LOG_COLUMNS,
    MILLISECONDS,
    MOMENTS,
    REQUIRED,
    Tables,
    is_text,
    is_time,
    unix_seconds,
)

EXAMPLES = 3
MOST_KINDS = 127  # kinds are int8 codes in the log
UNITS = ((1e17, "nanoseconds"), (1e14, "microseconds"), (MILLISECONDS, "milliseconds"))


@dataclass(frozen=True)
class Violation:
    """One broken rule. column: "" when it is about the whole table; examples: (row, what stands there)."""

    table: str
    column: str
    rule: str
    count: int
    hint: str
    examples: tuple[tuple[int, str], ...] = ()
    severity: str = "error"

    def line(self) -> str:
        """The violation on one line, for people."""
        where = f"{self.table}.{self.column}" if self.column else self.table
        rows = f" in {self.count} row{'s' if self.count != 1 else ''}" if self.examples else ""
        shown = ", ".join(f"row {row}: {value}" for row, value in self.examples)
        return f"{where}: {self.rule}{rows}{f' ({shown})' if shown else ''}; {self.hint}"

    def json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "examples": [{"row": row, "value": value} for row, value in self.examples]}


@dataclass(frozen=True)
class Summary:
    """What is in the tables. columns: the kind of every context column and attribute; missing: share of nulls, where any."""

    name: str
    events: int
    users: int
    items: int
    listed_users: int
    listed_items: int
    kinds: dict[str, int]
    first: str
    last: str
    columns: dict[str, str] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "notes": list(self.notes)}


def violations(tables: Tables) -> list[Violation]:
    """Everything that breaks the schema, table by table; empty when the tables can be encoded."""
    found = [*_options(tables), *_events(tables)]
    for title in ("items", "users"):
        table = tables.parts().get(title)
        if table is not None:
            found += _listing(tables, title, table)
    return found


def warnings(tables: Tables) -> list[Violation]:
    """What is legal but seldom meant. Needs tables without violations."""
    found = list(_repeated(tables.events))
    for title, key in KEY.items():
        table = tables.parts().get(title)
        if table is not None:
            found += _unmet(tables.events, table, title, key)
    return found


def summary(tables: Tables) -> Summary:
    """Rows, users, items, kinds, time span, missing shares. Needs tables without violations."""
    events = tables.events
    kinds = {tables.default_kind: len(events)}
    if "event" in events.columns:
        counts = events["event"].cast(pl.String).value_counts(sort=True)
        kinds = dict(zip(counts["event"].to_list(), counts["count"].to_list(), strict=True))
    time = unix_seconds(events["time"])
    parts = tables.parts()
    columns = {f"events.{name}": str(tables.kind("events", name)) for name in tables.context_columns()}
    for title in KEY:
        columns |= {f"{title}.{name}": str(tables.kind(title, name)) for name in tables.attributes(title)}
    missing = {
        f"{title}.{name}": table[name].null_count() / len(table)
        for title, table in parts.items()
        for name in table.columns
        if table[name].null_count()
    }
    return Summary(
        name=tables.name,
        events=len(events),
        users=events["user_id"].n_unique(),
        items=events["item_id"].n_unique(),
        listed_users=len(parts.get("users", ())),
        listed_items=len(parts.get("items", ())),
        kinds=kinds,
        first=iso(int(time.min())),  # type: ignore[arg-type]  # polars types min() as any Python value
        last=iso(int(time.max())),  # type: ignore[arg-type]
        columns=columns,
        missing=missing,
        notes=tables.notes,
    )


def _options(tables: Tables) -> Iterator[Violation]:
    """Columns that were named and are nowhere."""
    everywhere = {name for table in tables.parts().values() for name in table.columns}
    for option, names, there in (
        ("context", tables.context, set(tables.events.columns)),
        ("categories", tables.categories, everywhere),
        ("numbers", tables.numbers, everywhere),
    ):
        for name in names:
            if name not in there:
                hint = f"the tables have: {choices(sorted(there))}"
                yield Violation(
                    "events" if option == "context" else "tables", name, f"named in {option}, not there", 1, hint
                )


def _events(tables: Tables) -> Iterator[Violation]:
    table = tables.events
    for name in REQUIRED:
        if name not in table.columns:
            yield _absent("events", name, table)
    if table.is_empty():
        yield Violation("events", "", "no rows", 0, "give at least one event")
        return
    for name in table.columns:
        values = table[name]
        if name in ("user_id", "item_id"):
            yield from _ids("events", name, values)
        elif name == "time":
            yield from _time("events", values)
        elif name in ("event", "request_id"):
            yield from _label(name, values)
        elif name in ("value", "propensity", "position"):
            yield from _measure(name, values)
        elif name in tables.context_columns():
            yield from _context(tables, name, values)


def _listing(tables: Tables, title: str, table: pl.DataFrame) -> Iterator[Violation]:
    """items or users."""
    key = KEY[title]
    if table.is_empty():
        yield Violation(title, "", "no rows", 0, "leave the table out, or give it rows")
        return
    if key not in table.columns:
        yield _absent(title, key, table)
    else:
        yield from _ids(title, key, table[key])
        ids = table[key].drop_nulls()
        if ids.n_unique() < len(ids):
            again = ~table[key].is_first_distinct() & table[key].is_not_null()
            yield from _rows(title, key, "the id is there before", again, table[key], "keep one row per id")
    for name in tables.attributes(title):
        yield from _attribute(tables, title, name, table[name])
    if all(name in table.columns and is_time(table.schema[name]) for name in MOMENTS) and title == "items":
        start, end = (_comparable(table[name]) for name in MOMENTS)
        yield from _rows(
            title,
            "available_from",
            "later than available_until",
            start > end,
            table["available_from"],
            "swap or mend them",
        )


def _absent(title: str, name: str, table: pl.DataFrame) -> Violation:
    return Violation(title, name, "column is missing", 1, f"the table has: {choices(table.columns)}; rename or add it")


def _ids(title: str, name: str, values: pl.Series) -> Iterator[Violation]:
    if not (values.dtype.is_integer() or is_text(values.dtype)):
        hint = "write ids as integers or text" + (
            " (nulls turn integers into floats)" if values.dtype.is_float() else ""
        )
        yield _type(title, name, values, hint)
        return
    yield from _rows(title, name, "no id", values.is_null(), values, "drop the rows, or give them an id")
    if is_text(values.dtype):
        yield from _rows(
            title, name, "empty id", values.cast(pl.String) == "", values, "drop the rows, or give them an id"
        )
    elif values.dtype in (pl.UInt64, pl.Int128, pl.UInt128):
        outside = values.cast(pl.Int64, strict=False).is_null() & values.is_not_null()
        yield from _rows(title, name, "id outside 64 signed bits", outside, values, "write such ids as text")


def _time(title: str, values: pl.Series, name: str = "time", *, required: bool = True) -> Iterator[Violation]:
    if not is_time(values.dtype):
        yield _type(title, name, values, "write unix seconds, or dates and date-times (not text)")
        return
    if required:
        yield from _rows(title, name, "no time", values.is_null(), values, "drop the rows, or give them a time")
    if not values.dtype.is_numeric():
        return
    if values.dtype.is_float():
        yield from _rows(title, name, "not a finite number", ~values.is_finite(), values, "write unix seconds")
    size = values.cast(pl.Float64).abs()
    size = size.set(~size.is_finite().fill_null(value=True), None)
    large = (size >= MILLISECONDS).fill_null(value=False)
    if large.any():
        largest = float(size.max())  # type: ignore[arg-type]  # polars types max() as any Python value
        unit = next(word for limit, word in UNITS if largest >= limit)
        if large.sum() == size.is_not_null().sum():
            yield from _rows(title, name, f"looks like {unit}", large, values, "write unix seconds")
        else:
            yield from _rows(
                title, name, f"mixed units: some look like {unit}", large, values, "write all in unix seconds"
            )


def _label(name: str, values: pl.Series) -> Iterator[Violation]:
    """event and request_id."""
    if not (values.dtype.is_integer() or is_text(values.dtype) or values.dtype == pl.Null):
        yield _type("events", name, values, "write text or integers")
    elif name == "event":
        yield from _rows("events", name, "no event kind", values.is_null(), values, "name the kind, such as click")
        if values.n_unique() > MOST_KINDS:
            count = values.n_unique()
            yield Violation(
                "events", name, f"{count} event kinds", count, f"at most {MOST_KINDS} are possible; merge the rare ones"
            )


def _measure(name: str, values: pl.Series) -> Iterator[Violation]:
    """value, propensity and position."""
    if values.dtype == pl.Null:
        return
    if name == "position" and not values.dtype.is_integer():
        yield _type("events", name, values, "write integers, the first place being 0 (nulls are allowed)")
        return
    if not values.dtype.is_numeric():
        yield _type("events", name, values, "write numbers (nulls are allowed)")
        return
    if values.dtype.is_float():
        yield from _rows(
            "events", name, "not a finite number", ~values.is_finite(), values, "leave it null where unknown"
        )
    if name == "propensity":
        finite = values.cast(pl.Float64).is_finite()  # polars counts NaN as greater than everything
        outside = ((values <= 0) | (values > 1)) & finite
        yield from _rows(
            "events", name, "not a probability", outside, values, "write the chance of being shown, in (0, 1]"
        )
    if name == "position":
        yield from _rows("events", name, "negative", values < 0, values, "count from 0")


def _context(tables: Tables, name: str, values: pl.Series) -> Iterator[Violation]:
    if name in LOG_COLUMNS:
        hint = f"these names belong to the log: {choices(LOG_COLUMNS)}; the table's own columns are: {choices(EVENT_COLUMNS)}"
        yield Violation("events", name, "reserved name", 1, hint)
        return
    kind = tables.kind("events", name)
    if kind in ("tags", "vector"):
        yield _type("events", name, values, "context is text, numbers or moments; leave lists out by naming `context`")
        return
    yield from _attribute(tables, "events", name, values)


def _attribute(tables: Tables, title: str, name: str, values: pl.Series) -> Iterator[Violation]:
    """A context column, or a column of items or users."""
    if "/" in name or "\0" in name or not name.strip():
        yield Violation(title, name, "unusable name", 1, "a column name becomes a file name: no slash, not blank")
    kind = tables.kind(title, name)
    if kind is None:
        yield _type(
            title, name, values, "use text, numbers, dates, or lists of text or numbers; or leave the column out"
        )
    elif kind == "number" and not (values.dtype.is_numeric() or values.dtype == pl.Boolean):
        yield _type(title, name, values, "a number column needs numbers")
    elif kind == "number" and values.dtype.is_float():
        yield from _rows(title, name, "infinite", values.is_infinite(), values, "leave it null where unknown")
    elif kind == "moment" and values.dtype != pl.Null:
        yield from _time(title, values, name, required=False)
    elif kind == "vector":
        yield from _widths(title, name, values)


def _widths(title: str, name: str, values: pl.Series) -> Iterator[Violation]:
    lists = values.arr.to_list() if isinstance(values.dtype, pl.Array) else values
    lengths = lists.list.len()
    usual = lengths.drop_nulls().mode().sort()
    if len(usual):
        hint = "all vectors need one width; null if none"
        for found in _rows(title, name, f"vector not {usual[0]} wide", lengths != usual[0], lengths, hint):
            # A length, not the numbers: sixty characters of a long vector do not show how long it is.
            yield replace(found, examples=tuple((row, f"{length} wide") for row, length in found.examples))


def _comparable(values: pl.Series) -> pl.Series:
    """Moments as float seconds, null where they are no finite number."""
    if not values.dtype.is_numeric():
        return unix_seconds(values).cast(pl.Float64)
    numbers = values.cast(pl.Float64)
    return numbers.set(~numbers.is_finite().fill_null(value=True), None)


def _type(title: str, name: str, values: pl.Series, hint: str) -> Violation:
    return Violation(
        title,
        name,
        f"wrong type {values.dtype}",
        len(values),
        hint,
        _examples(values, pl.Series([0]).head(len(values))),
    )


def _rows(title: str, name: str, rule: str, bad: pl.Series, values: pl.Series, hint: str) -> Iterator[Violation]:
    """One violation for the rows where `bad` is true, if there are any."""
    count = int(bad.sum() or 0)
    if count:
        yield Violation(title, name, rule, count, hint, _examples(values, bad.arg_true().head(EXAMPLES)))


def _examples(values: pl.Series, rows: pl.Series) -> tuple[tuple[int, str], ...]:
    return tuple(
        (row, repr(value)[:60]) for row, value in zip(rows.to_list(), values.gather(rows).to_list(), strict=True)
    )


def _repeated(events: pl.DataFrame) -> Iterator[Violation]:
    """Rows that are there twice, every column equal."""
    again = ~events.select(pl.struct(pl.all()).is_first_distinct()).to_series()
    for violation in _rows(
        "events", "", "exact duplicate", again, events["item_id"], "drop them, unless they really happened"
    ):
        yield _soft(violation)


def _unmet(events: pl.DataFrame, table: pl.DataFrame, title: str, key: str) -> Iterator[Violation]:
    """Ids of the table that no event names, and the other way round."""
    listed, named = table[key].cast(pl.String), events[key].cast(pl.String)
    idle = ~listed.is_in(named.unique().implode())
    for violation in _rows(
        title, key, "in no event", idle, table[key], "nothing can be learned about them but attributes"
    ):
        yield _soft(violation)
    unknown = ~named.is_in(listed.implode())
    for violation in _rows("events", key, f"not in the {title} table", unknown, events[key], "they have no attributes"):
        yield _soft(violation)


def _soft(violation: Violation) -> Violation:
    return Violation(**{**violation.__dict__, "severity": "warning"})
