"""New and changed rows of the items and users tables, while a service runs: attributes as JSON has them, into dense columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError, DataError, choices
from shortlist.core.units import moment
from shortlist.data.catalogue import NEVER, Column, Table
from shortlist.data.schema import MILLISECONDS

LONGEST = 1000  # entries of a list


def checked(tables: Sequence[Table], row: Mapping[str, Any], place: str, dates: tuple[str, ...] = ()) -> dict[str, Any]:
    """The attributes of a row, without its id, each as its column keeps it. tables: of one kind of thing, of several bundles: a column must be in one
    of them, and its value must fit there; where they keep it in different ways it stays as it was given (`fitting` makes of it what each can
    hold). dates: moments that may be given although no table has such a column yet. DataError for a column that is not there, or a value
    that does not fit."""
    made: dict[str, Any] = {}
    for name, value in row.items():
        columns = [table.columns[name] for table in tables if name in table.columns]
        if not columns and name not in dates:
            known = dict.fromkeys(column for table in tables for column in table.columns)
            raise DataError(f"{place}: unknown column {name!r}; columns: {choices([*known, *dates])}")
        made[name] = None if value is None else _held(columns or [None], value, f"{place}: {name}")
    return made


def _held(columns: Sequence[Column | None], value: Any, place: str) -> Any:
    """A value as the columns that can hold it keep it, or as it is where they differ. DataError, the first column's, where none can."""
    forms, problem = [], None
    for column in columns:
        try:
            forms.append(_fitting("moment" if column is None else column.kind, column, value, place))
        except DataError as error:
            problem = problem or error
    if not forms and problem is not None:
        raise problem
    same = all(type(form) is type(forms[0]) and form == forms[0] for form in forms)
    return forms[0] if same else value


def fitting(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Of attributes that were checked against another table, those that this one can hold, as its columns keep them."""
    made: dict[str, Any] = {}
    for name, value in row.items():
        try:
            made |= checked([table], {name: value}, "", (name,))
        except DataError:
            continue
    return made


def _fitting(kind: str, column: Column | None, value: Any, place: str) -> Any:
    if kind == "category" and isinstance(value, bool | int | str):
        return str(value).lower() if isinstance(value, bool) else value
    if kind == "number" and isinstance(value, int | float) and abs(value) <= float(np.finfo(np.float32).max):
        return float(value)
    if kind == "moment":
        try:
            seconds = moment(value)
        except ConfigError as error:
            raise DataError(f"{place}: {error}") from None
        if abs(seconds) >= MILLISECONDS:
            raise DataError(f"{place}: {value!r} is not in seconds: it looks like milliseconds")
        return seconds
    texts = isinstance(value, list) and len(value) <= LONGEST and all(isinstance(entry, int | str) for entry in value)
    if kind == "tags" and texts:
        return [str(entry) for entry in value]
    if kind == "vector" and isinstance(value, list) and column is not None:
        width = column.values.shape[1]
        if len(value) == width and all(isinstance(x, int | float) and abs(x) < 1e30 for x in value):
            return [float(x) for x in value]
        raise DataError(f"{place}: must be a list of {width} finite numbers")
    expected = {
        "category": "text or a whole number",
        "number": "a finite number",
        "tags": f"a list of at most {LONGEST} texts",
    }
    raise DataError(f"{place}: must be {expected.get(kind, kind)}, not {str(value)[:80]!r}")


def row(table: Table, code: int) -> dict[str, Any]:
    """The attributes of one row, as JSON has them; those that are missing are left out."""
    made: dict[str, Any] = {}
    for name, column in table.columns.items():
        if column.kind == "tags":
            entries = table.tags(name, np.array([code], dtype=np.int32))[1]
            assert column.vocabulary is not None
            made[name] = column.vocabulary.names(entries).to_list()
        elif column.kind == "category":
            assert column.vocabulary is not None
            if column.values[code] >= 0:
                made[name] = column.vocabulary.name(int(column.values[code]))
        elif column.kind == "vector":
            if not np.isnan(column.values[code]).any():
                made[name] = column.values[code].tolist()
        elif column.values[code] != NEVER and not np.isnan(column.values[code]):
            made[name] = column.values[code].item()
    return made


def put(table: Table, code: int, row: Mapping[str, Any]) -> None:
    """Write checked attributes of one row. Columns that are not named keep their value; None makes it missing. A moment that the table
    has no column for gets one."""
    for name, value in row.items():
        column = table.columns.get(name)
        if column is None:
            column = table.columns[name] = Column("moment", np.full(max(table.capacity, code + 2), NEVER))
        if column.kind == "tags":
            _put_tags(column, code, value or [])
        elif column.kind == "category":
            column.values = _own(column.values)
            assert column.vocabulary is not None
            fits = value is not None and (
                column.vocabulary.is_text or not isinstance(column.vocabulary.like(value), str)
            )
            fits = fits or (value is not None and not len(column.vocabulary))
            column.values[code] = column.vocabulary.add(value) if fits else -1
        else:
            column.values = _own(column.values)
            column.values[code] = (
                {"number": np.nan, "moment": NEVER, "vector": np.nan}[column.kind] if value is None else value
            )
    table.touch(code)


def _own(values: Array) -> Array:
    return values if values.flags.writeable else values.copy()


def _put_tags(column: Column, code: int, words: list[str]) -> None:
    """Entries of one row exchanged; those of later rows move."""
    assert column.vocabulary is not None
    assert column.codes is not None
    vocabulary = column.vocabulary
    numbers = not vocabulary.is_text and len(vocabulary) > 0
    known = [word for word in words if not numbers or not isinstance(vocabulary.like(word), str)]
    own = np.array([vocabulary.add(word) for word in known], dtype=column.codes.dtype)
    start, stop = int(column.values[code]), int(column.values[code + 1])
    column.codes = np.concatenate([column.codes[:start], own, column.codes[stop:]])
    column.values = column.values.copy()
    column.values[code + 1 :] += len(own) - (stop - start)
