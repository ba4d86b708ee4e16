"""The schema: three tables with canonical columns, and what kind every other column is.

events: `user_id`, `item_id`, `time`, and optionally `event`, `value`, `request_id`, `position`, `propensity`; every other
column is context of the request. items: `item_id`, optionally `available_from`, `available_until`; every other column is an
attribute. users: `user_id` and attributes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl
from polars.datatypes import DataTypeClass

REQUIRED = ("user_id", "item_id", "time")
OPTIONAL = ("event", "value", "request_id", "position", "propensity")
EVENT_COLUMNS = REQUIRED + OPTIONAL
MOMENTS = ("available_from", "available_until")
LOG_COLUMNS = ("user", "item", "time", "kind", "value", "request", "position", "propensity")
KEY = {"items": "item_id", "users": "user_id"}
MILLISECONDS = 1e11  # a time in seconds never gets here (year 5138); one in milliseconds does from March 1973 on


@dataclass
class Tables:
    """One data set as tables, before encoding."""

    events: pl.DataFrame
    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    name: str = "data"
    default_kind: str = "interaction"  # the kind of every event when there is no `event` column
    context: tuple[str, ...] = ()  # event columns to keep as context; none named: all that are not canonical
    categories: tuple[str, ...] = ()  # columns, in any table, that are categories whatever their type says
    numbers: tuple[str, ...] = ()  # columns that are numbers whatever their type says
    notes: tuple[str, ...] = ()  # what a loader left out or made up

    def parts(self) -> dict[str, pl.DataFrame]:
        """The tables that are there, by name."""
        tables = {"events": self.events, "items": self.items, "users": self.users}
        return {title: table for title, table in tables.items() if table is not None}

    def context_columns(self) -> list[str]:
        """The event columns that become context, in table order."""
        others = [name for name in self.events.columns if name not in EVENT_COLUMNS]
        return [name for name in others if name in self.context] if self.context else others

    def attributes(self, title: str) -> list[str]:
        """The columns of `items` or `users` that become attributes, in table order."""
        table = self.parts().get(title)
        return [] if table is None else [name for name in table.columns if name != KEY[title]]

    def kind(self, title: str, name: str) -> str | None:
        """What a context column or attribute is: see `kind_of`."""
        return kind_of(name, self.parts()[title].schema[name], self.categories, self.numbers)


def kind_of(
    name: str, dtype: pl.DataType, categories: Collection[str] = (), numbers: Collection[str] = ()
) -> str | None:
    """category, number, moment, tags or vector, by the column's type; None for a type that cannot be read.

    Text, booleans and enumerations are categories; so are integers named `id` or ending in `_id`. Other numbers are numbers,
    dates and date-times are moments, lists of text or integers are tags, lists of floats and arrays of numbers are vectors.
    """
    if name in MOMENTS:
        return "moment" if dtype.is_numeric() or _is_date(dtype) or dtype == pl.Null else None
    if isinstance(dtype, pl.Array):
        return "vector" if dtype.inner.is_numeric() else _tags(dtype.inner)
    if isinstance(dtype, pl.List):
        return "vector" if dtype.inner.is_float() and name not in categories else _tags(dtype.inner)
    if is_text(dtype) or dtype in (pl.Boolean, pl.Null):
        return "number" if name in numbers and dtype == pl.Boolean else "category"
    if dtype.is_numeric():
        by_name = dtype.is_integer() and is_id(name)
        return "category" if name in categories or (by_name and name not in numbers) else "number"
    return "moment" if _is_date(dtype) else None


def is_id(name: str) -> bool:
    """Does the name say that integers in the column are names, not amounts?"""
    return name == "id" or name.endswith("_id")


def is_text(dtype: pl.DataType) -> bool:
    """Text, also where it is stored as an enumeration."""
    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def _is_date(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Date | pl.Datetime)


def _tags(inner: pl.DataType | DataTypeClass) -> str | None:
    plain = inner == pl.String or inner.is_numeric() or inner in (pl.Boolean, pl.Null, pl.Categorical, pl.Enum)
    return "tags" if plain else None


def is_time(dtype: pl.DataType) -> bool:
    """May a column of this type be the time of an event?"""
    return dtype.is_integer() or dtype.is_float() or _is_date(dtype)


def unix_seconds(values: pl.Series) -> pl.Series:
    """Times as Int64 unix seconds: dates and date-times (UTC unless they say otherwise), integers, floats (floored)."""
    if _is_date(values.dtype):
        return values.cast(pl.Datetime("us")).dt.epoch("s")
    if values.dtype.is_integer():
        return values.cast(pl.Int64)
    return values.cast(pl.Float64).floor().cast(pl.Int64)
