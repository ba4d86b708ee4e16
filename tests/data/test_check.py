"""Every kind of violation and warning, each from a table that breaks one rule, with the rows that break it."""

import json
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from shortlist.core.errors import DataError
from shortlist.data.check import Violation, summary, violations, warnings
from shortlist.data.dataset import SHOWN, encode
from shortlist.data.schema import Tables

GOOD: dict[str, list[Any]] = {"user_id": [1, 2, 3, 4], "item_id": ["a", "b", "c", "d"], "time": [10, 20, 30, 40]}
ITEMS: dict[str, list[Any]] = {"item_id": ["a", "b", "c", "d"]}
USERS: dict[str, list[Any]] = {"user_id": [1, 2, 3, 4]}
NAN, INF = float("nan"), float("inf")


def make(items: dict[str, Any] | None = None, users: dict[str, Any] | None = None, **events: Any) -> Tables:
    """Good tables with some columns replaced, or gone where None."""

    def frame(good: dict[str, list[Any]], changes: dict[str, Any]) -> pl.DataFrame:
        columns = {name: values for name, values in {**good, **changes}.items() if values is not None}
        return pl.DataFrame(columns, strict=False)

    return Tables(frame(GOOD, events), frame(ITEMS, items or {}), frame(USERS, users or {}))


def test_good_tables_have_none() -> None:
    assert violations(make()) == []
    assert warnings(make()) == []
    everything = make(
        event=["x"] * 4,
        value=[1, None, 2.5, 3],
        request_id=[1, None, 1, 2],
        position=[0, None, 1, 2],
        propensity=[1.0, None, 0.5, 0.1],
        tab=["a", None, "b", "c"],
        items={
            "shape": [[1.0], None, [2.0], [3.0]],
            "tags": [["x"], None, [], ["y"]],
            "available_until": [1, 2, None, 3],
        },
        users={"age": [1, None, 3, 4], "note": pl.Series([None] * 4)},
    )
    assert violations(everything) == []


# (table, column, words of the rule, rows, what breaks it)
BROKEN: list[tuple[str, str, str, int, Tables]] = [
    ("events", "user_id", "column is missing", 1, make(user_id=None)),
    ("events", "item_id", "column is missing", 1, make(item_id=None)),
    ("events", "time", "column is missing", 1, make(time=None)),
    ("items", "item_id", "column is missing", 1, make(items={"item_id": None, "x": [1]})),
    ("users", "user_id", "column is missing", 1, make(users={"user_id": None, "x": [1]})),
    ("events", "user_id", "no id", 2, make(user_id=[1, None, 3, None])),
    ("events", "item_id", "no id", 1, make(item_id=["a", "b", None, "d"])),
    ("events", "item_id", "empty id", 1, make(item_id=["a", "b", "", "d"])),
    ("items", "item_id", "no id", 1, make(items={"item_id": ["a", None, "c", "d"]})),
    ("users", "user_id", "no id", 1, make(users={"user_id": [1, None, 3, 4]})),
    ("events", "user_id", "wrong type Float64", 4, make(user_id=[1.5, 2, 3, 4])),
    ("events", "item_id", "wrong type Boolean", 4, make(item_id=[True] * 4)),
    ("events", "user_id", "64 signed bits", 1, make(user_id=pl.Series([1, 2, 3, 2**63], dtype=pl.UInt64))),
    ("items", "item_id", "the id is there before", 2, make(items={"item_id": ["a", "b", "a", "b"]})),
    ("users", "user_id", "the id is there before", 1, make(users={"user_id": [1, 2, 3, 3]})),
    ("events", "time", "no time", 1, make(time=[10, None, 30, 40])),
    ("events", "time", "wrong type String", 4, make(time=["2020-01-01"] * 4)),
    ("events", "time", "wrong type Duration", 4, make(time=[timedelta(1)] * 4)),
    ("events", "time", "not a finite number", 2, make(time=[10.0, NAN, INF, 40])),
    ("events", "time", "looks like milliseconds", 4, make(time=[1.5e12 + i for i in range(4)])),
    ("events", "time", "looks like microseconds", 4, make(time=[1_500_000_000_000_000] * 4)),
    ("events", "time", "looks like nanoseconds", 4, make(time=[1_500_000_000_000_000_000] * 4)),
    ("events", "time", "mixed units", 1, make(time=[1_500_000_000, 1_500_000_000_000, 1_500_000_001, 5])),
    ("events", "event", "no event kind", 1, make(event=["x", None, "y", "z"])),
    ("events", "event", "wrong type", 4, make(event=[1.5] * 4)),
    ("events", "request_id", "wrong type", 4, make(request_id=[0.5] * 4)),
    ("events", "value", "not a finite number", 2, make(value=[1.0, NAN, -INF, 2.0])),
    ("events", "value", "wrong type String", 4, make(value=["1"] * 4)),
    ("events", "propensity", "not a probability", 3, make(propensity=[0.0, -1.0, 1.5, 1.0])),
    ("events", "propensity", "not a finite number", 1, make(propensity=[0.5, NAN, 0.5, 1.0])),
    ("events", "position", "negative", 1, make(position=[0, 1, -1, 2])),
    ("events", "position", "wrong type", 4, make(position=[0.5, 1, 1, 2])),
    ("events", "user", "reserved name", 1, make(user=[1, 2, 3, 4])),
    ("events", "kind", "reserved name", 1, make(kind=["a"] * 4)),
    ("events", "tab", "wrong type List", 4, make(tab=[["a"]] * 4)),
    ("events", "a/b", "unusable name", 1, Tables(pl.DataFrame({**GOOD, "a/b": [1, 2, 3, 4]}))),
    ("events", "load", "infinite", 1, make(load=[1.0, INF, NAN, 2.0])),
    ("items", "x", "wrong type Struct", 4, make(items={"x": [{"a": 1}] * 4})),
    ("items", "price", "infinite", 1, make(items={"price": [1.0, None, -INF, 2.0]})),
    ("items", "shape", "vector not 2 wide", 1, make(items={"shape": [[1.0, 2.0], [1.0], None, [3.0, 4.0]]})),
    ("items", "available_from", "looks like milliseconds", 4, make(items={"available_from": [1_500_000_000_000] * 4})),
    ("items", "available_from", "wrong type", 4, make(items={"available_from": ["2020"] * 4})),
    (
        "items",
        "available_from",
        "later than available_until",
        2,
        make(items={"available_from": [1, 5, 9, None], "available_until": [2, 4, 8, 3]}),
    ),
    (
        "items",
        "available_from",
        "later than available_until",
        1,
        make(items={"available_from": [datetime(2020, 1, 2)] * 4, "available_until": [1577836800, None, 2e9, 2e9]}),
    ),
]


@pytest.mark.parametrize(("table", "column", "rule", "count", "tables"), BROKEN, ids=[f"{b[1]}-{b[2]}" for b in BROKEN])
def test_one_broken_rule(table: str, column: str, rule: str, count: int, tables: Tables) -> None:
    (found,) = violations(tables)
    assert (found.table, found.column, found.count, found.severity) == (table, column, count, "error")
    assert rule in found.rule
    assert found.hint
    assert len(found.examples) <= 3
    with pytest.raises(DataError, match=f"{table}.{column}: "):
        encode(tables)


def test_empty_tables() -> None:
    for tables, title in (
        (make(user_id=[], item_id=[], time=[]), "events"),
        (make(items={"item_id": []}), "items"),
        (make(users={"user_id": []}), "users"),
    ):
        (found,) = violations(tables)
        assert (found.table, found.rule) == (title, "no rows")


def test_too_many_kinds() -> None:
    size = 128
    columns = {
        "user_id": [1] * size,
        "item_id": [1] * size,
        "time": [1] * size,
        "event": [f"k{i}" for i in range(size)],
    }
    (found,) = violations(Tables(pl.DataFrame(columns)))
    assert found.rule == "128 event kinds"
    assert violations(Tables(pl.DataFrame(columns).head(127))) == []


def test_options_name_columns_that_are_there() -> None:
    tables = make(tab=["a"] * 4)
    tables.context, tables.categories, tables.numbers = ("tab", "x"), ("tab", "y"), ("z", "tab")
    assert [(found.column, found.rule) for found in violations(tables) if "named" in found.rule] == [
        ("x", "named in context, not there"),
        ("y", "named in categories, not there"),
        ("z", "named in numbers, not there"),
    ]


def test_all_are_listed_and_the_message_shows_some() -> None:
    tables = make(
        user_id=[None, 2, 3, 4],
        time=[NAN, 1.0, 2.0, 1e12],
        value=[INF] * 4,
        items={"item_id": ["a", "a", None, "d"]},
        users={"user_id": [1, 1, 2, 3]},
    )
    found = violations(tables)
    assert [(v.table, v.column) for v in found] == [
        ("events", "user_id"),
        ("events", "time"),
        ("events", "time"),
        ("events", "value"),
        ("items", "item_id"),
        ("items", "item_id"),
        ("users", "user_id"),
    ]
    with pytest.raises(DataError, match=f"7 violations .* and {7 - SHOWN} more, see `shortlist check`"):
        encode(tables)


def test_examples_are_the_first_rows() -> None:
    tables = make(user_id=[1, 2, 3, 4], value=[1.0, NAN, INF, -INF])
    (found,) = violations(tables)
    assert found.examples == ((1, "nan"), (2, "inf"), (3, "-inf"))
    assert found.line() == (
        "events.value: not a finite number in 3 rows (row 1: nan, row 2: inf, row 3: -inf); leave it null where unknown"
    )
    assert json.loads(json.dumps(found.json()))["examples"][0] == {"row": 1, "value": "nan"}


def test_warnings() -> None:
    tables = make(
        user_id=[1, 2, 1, 9],
        item_id=["a", "b", "a", "z"],
        time=[10, 20, 10, 40],
        items={"item_id": ["a", "b", "c", "d"]},
    )
    assert violations(tables) == []
    found = {(v.table, v.column, v.rule): v for v in warnings(tables)}
    assert {key: (v.count, [row for row, _ in v.examples]) for key, v in found.items()} == {
        ("events", "", "exact duplicate"): (1, [2]),
        ("items", "item_id", "in no event"): (2, [2, 3]),
        ("events", "item_id", "not in the items table"): (1, [3]),
        ("users", "user_id", "in no event"): (2, [2, 3]),
        ("events", "user_id", "not in the users table"): (1, [3]),
    }
    assert {v.severity for v in found.values()} == {"warning"}
    assert isinstance(next(iter(found.values())), Violation)


def test_summary() -> None:
    tables = make(
        event=["x", "y", "x", "x"],
        value=[1.0, None, None, None],
        time=[1577836800, 1577836801, 1577923200, 1577836802],
        items={"tags": [["a"], None, [], ["b"]]},
    )
    tables.notes = ("half is missing",)
    about = summary(tables).json()
    assert json.loads(json.dumps(about)) == about
    assert about == {
        "name": "data",
        "events": 4,
        "users": 4,
        "items": 4,
        "listed_users": 4,
        "listed_items": 4,
        "kinds": {"x": 3, "y": 1},
        "first": "2020-01-01T00:00:00",
        "last": "2020-01-02T00:00:00",
        "columns": {"items.tags": "tags"},
        "missing": {"events.value": 0.75, "items.tags": 0.25},
        "notes": ["half is missing"],
    }
    assert summary(make()).kinds == {"interaction": 4}
