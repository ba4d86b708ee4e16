"""Encoding: order, codes, types, fingerprints, and the ways in."""

import importlib
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.errors import ConfigError, DataError
from shortlist.data.catalogue import NEVER
from shortlist.data.dataset import Dataset, encode, from_frames, loaders, read, tables
from shortlist.data.schema import Tables

pd: Any = importlib.import_module("pandas")  # has no types of its own

EVENTS: dict[str, list[Any]] = {
    "user_id": ["u2", "u1", "u2", "u3"],
    "item_id": [30, 10, 20, 10],
    "time": [200, 100, 200, 50],
    "event": ["click", "buy", "click", "view"],
    "value": [None, 2.5, 0.5, None],
    "request_id": ["r9", "r1", None, "r9"],
    "position": [3, None, 1, 0],
    "propensity": [0.5, 1.0, None, 0.25],
    "device": ["phone", "desk", None, "phone"],
    "load": [1, 2, None, 4],
}
ITEMS: dict[str, list[Any]] = {
    "item_id": [20, 40, 10],
    "available_from": [5, None, 7],
    "author_id": [7, None, 9],
    "price": [1.5, None, 2.0],
    "title": ["b", "c", None],
    "new": [True, None, False],
    "tags": [["x", None, "y"], None, ["y"]],
    "seen_on": [date(2020, 1, 1), None, date(2020, 1, 2)],
    "shape": [[1.0, 2.0], None, [3.0, 4.0]],
}


def make(**changes: Any) -> Dataset:
    return encode(Tables(pl.DataFrame(EVENTS), pl.DataFrame(ITEMS, strict=False), **changes))


def names(dataset: Dataset) -> tuple[list[Any], list[Any], list[Any]]:
    catalogue, log = dataset.catalogue, dataset.log
    return (
        catalogue.users.ids.names(log.user).to_list(),
        catalogue.items.ids.names(log.item).to_list(),
        catalogue.kinds.names(log.kind).to_list(),
    )


def test_the_log() -> None:
    dataset = make()
    assert names(dataset) == (["u3", "u1", "u2", "u2"], [10, 10, 30, 20], ["view", "buy", "click", "click"])
    log = dataset.log.columns
    assert log["time"].tolist() == [50, 100, 200, 200]
    assert np.array_equal(log["value"], np.array([np.nan, 2.5, np.nan, 0.5], np.float32), equal_nan=True)
    assert log["request"].tolist() == [0, 1, 0, -1]
    assert log["position"].tolist() == [0, -1, 3, 1]
    assert np.array_equal(log["propensity"], np.array([0.25, 1, 0.5, np.nan], np.float32), equal_nan=True)
    assert log["device"].tolist() == [0, 1, 0, -1]
    assert np.array_equal(log["load"], np.array([4, 2, 1, np.nan], np.float32), equal_nan=True)
    assert {name: column.dtype.str[1:] for name, column in log.items()} == {
        "user": "i4",
        "item": "i4",
        "time": "i8",
        "kind": "i1",
        "value": "f4",
        "request": "i4",
        "position": "i4",
        "propensity": "f4",
        "device": "i4",
        "load": "f4",
    }
    assert all(column.flags.owndata or column.base is not None for column in log.values())
    assert list(dataset.catalogue.context) == ["device"]


def test_codes_and_attributes() -> None:
    items = make().catalogue.items
    assert items.ids.series().to_list() == [20, 40, 10, 30]  # the table in its order, then who only events name
    assert items.listed == 3
    every = np.array([0, 1, 2, 3, -1])
    assert {name: column.kind for name, column in items.columns.items()} == {
        "available_from": "moment",
        "author_id": "category",
        "price": "number",
        "title": "category",
        "new": "category",
        "tags": "tags",
        "seen_on": "moment",
        "shape": "vector",
    }
    assert items.values("available_from", every).tolist() == [5, NEVER, 7, NEVER, NEVER]
    assert items.values("author_id", every).tolist() == [0, -1, 1, -1, -1]
    assert items.values("new", every).tolist() == [0, -1, 1, -1, -1]
    assert items.values("seen_on", every).tolist() == [1577836800, NEVER, 1577923200, NEVER, NEVER]
    price = np.array([1.5, np.nan, 2, np.nan, np.nan], np.float32)
    assert np.array_equal(items.values("price", every), price, equal_nan=True)
    assert [part.tolist() for part in items.tags("tags", every)] == [[0, 2, 2, 3, 3, 3], [0, 1, 1]]
    assert np.isnan(items.values("shape", every)).all(axis=1).tolist() == [False, True, False, True, True]
    users = make().catalogue.users
    assert users.ids.series().to_list() == ["u3", "u1", "u2"]
    assert users.listed == 0


def test_kinds_of_columns_can_be_said() -> None:
    dataset = make(categories=("price", "load"), numbers=("author_id",), context=("load",))
    assert dataset.catalogue.items.columns["price"].kind == "category"
    assert dataset.catalogue.items.columns["author_id"].kind == "number"
    assert dataset.log.columns["load"].tolist() == [0, 1, 2, -1]
    assert "device" not in dataset.log.columns


def test_without_optional_columns() -> None:
    dataset = from_frames({"user_id": [1], "item_id": ["a"], "time": [1.9]}, default_kind="click")
    assert dataset.catalogue.kinds.series().to_list() == ["click"]
    assert set(dataset.log.columns) == {"user", "item", "time", "kind", "value"}
    assert dataset.log.time.tolist() == [1]
    assert np.isnan(dataset.log.columns["value"]).all()


ROWS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 8), st.sampled_from("abc"), st.sampled_from("xyz")),
    min_size=1,
    max_size=25,
)


def of_rows(rows: list[tuple[Any, ...]]) -> Dataset:
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "time", "event", "device"], orient="row")
    request = frame.with_columns(request_id=pl.col("user_id") * 10 + pl.col("time"))
    return encode(Tables(request, pl.DataFrame({"item_id": [3, 1]})))


@given(ROWS)
def test_ties_keep_their_row_order(rows: list[tuple[Any, ...]]) -> None:
    want = sorted(rows, key=lambda row: row[2])  # sorted is stable
    users, items, kinds = names(of_rows(rows))
    assert list(zip(users, items, kinds, strict=True)) == [(row[0], row[1], row[3]) for row in want]


@given(ROWS, st.integers(0, 9))
def test_what_comes_later_changes_nothing_before(rows: list[tuple[Any, ...]], cut: int) -> None:
    before = [row for row in rows if row[2] < cut]
    if not before:
        before, cut = rows, 99
    short, long = of_rows(before), of_rows(rows)
    size = long.log.position(cut)
    assert len(short.log) == size
    for name, column in short.log.columns.items():
        assert column.tobytes() == long.log.columns[name][:size].tobytes(), name
    for got, want in (
        (short.catalogue.items.ids, long.catalogue.items.ids),
        (short.catalogue.users.ids, long.catalogue.users.ids),
        (short.catalogue.kinds, long.catalogue.kinds),
        (short.catalogue.context["device"], long.catalogue.context["device"]),
    ):
        assert got.series().to_list() == want.series().to_list()[: len(got)]


@pytest.mark.parametrize(
    "times",
    [
        [1577836800, 1577836801],
        [1577836800.0, 1577836801.9],
        [datetime(2020, 1, 1), datetime(2020, 1, 1, 0, 0, 1, 999_999)],
        [datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 0, 0, 1, tzinfo=UTC)],
    ],
)
def test_times(times: list[Any]) -> None:
    dataset = from_frames({"user_id": [1, 1], "item_id": [1, 2], "time": times})
    assert dataset.log.time.tolist() == [1577836800, 1577836801]


def write_csv(frame: pl.DataFrame, path: Path) -> None:
    frame.write_csv(path.with_suffix(".csv"))


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    frame.write_parquet(path.with_suffix(".parquet"))


def write_arrow(frame: pl.DataFrame, path: Path) -> None:
    frame.write_ipc(path.with_suffix(".arrow"))


PLAIN = {name: values for name, values in ITEMS.items() if name not in ("tags", "shape")}


@pytest.mark.parametrize("write", [write_csv, write_parquet, write_arrow])
def test_one_content_one_fingerprint(write: Callable[[pl.DataFrame, Path], None], tmp_path: Path) -> None:
    events = pl.DataFrame(EVENTS).with_columns(pl.col("item_id").cast(pl.UInt16), pl.col("time").cast(pl.UInt32))
    items = pl.DataFrame(PLAIN).with_columns(pl.col("item_id", "author_id").cast(pl.Int32))
    write(events, tmp_path / "events")
    write(items, tmp_path / "items")
    got = read(tmp_path)
    want = from_frames(EVENTS, PLAIN)
    assert got.fingerprint == want.fingerprint
    for name, column in want.log.columns.items():
        assert got.log.columns[name].tobytes() == column.tobytes()
    assert got.name == tmp_path.name


def test_every_change_changes_the_fingerprint() -> None:
    seen = {make().fingerprint, make(name="other").fingerprint}
    assert len(seen) == 1
    for column, value in {
        "user_id": "u9",
        "item_id": 40,
        "time": 201,
        "event": "view",
        "value": 1.0,
        "request_id": "r1",
        "position": 2,
        "propensity": 0.1,
        "device": "desk",
        "load": 7,
    }.items():
        changed = {**EVENTS, column: [value, *EVENTS[column][1:]]}
        seen.add(from_frames(changed, pl.DataFrame(ITEMS, strict=False)).fingerprint)
    for column, value in {"item_id": 21, "price": 9.0, "title": "z", "tags": ["x"], "shape": [0.0, 0.0]}.items():
        items = {**ITEMS, column: [value, *ITEMS[column][1:]]}
        seen.add(from_frames(EVENTS, pl.DataFrame(items, strict=False)).fingerprint)
    assert len(seen) == 16


def test_ids_with_leading_zeros_stay_text(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,item_id,time\n007,1,5\n7,2,6\n")
    dataset = read(str(tmp_path))
    assert names(dataset)[:2] == (["007", "7"], [1, 2])


def test_integers_and_text_of_the_same_id_are_one() -> None:
    dataset = from_frames({"user_id": [1], "item_id": ["7"], "time": [1]}, {"item_id": [7, 8], "price": [1.0, 2.0]})
    assert dataset.catalogue.items.ids.series().to_list() == ["7", "8"]
    assert dataset.log.item.tolist() == [0]


@pytest.mark.parametrize(
    "how", [pd.DataFrame, pl.DataFrame, pl.LazyFrame, lambda columns: pl.DataFrame(columns).to_arrow()]
)
def test_frames_of_every_make(how: Callable[[dict[str, Any]], Any]) -> None:
    got = from_frames(how(EVENTS), how(PLAIN), name="mine")
    want = from_frames(EVENTS, PLAIN)
    assert names(got) == names(want)
    for name, column in want.log.columns.items():
        assert np.array_equal(got.log.columns[name], column, equal_nan=column.dtype.kind == "f")
    assert got.name == "mine"


def test_what_is_no_table() -> None:
    with pytest.raises(DataError, match="not a table: int"):
        from_frames(7)


def test_saving_and_opening(tmp_path: Path) -> None:
    before = make(notes=("as found",))
    before.save(tmp_path)
    after = Dataset.open(tmp_path)
    assert (after.name, after.fingerprint, after.notes) == (before.name, before.fingerprint, ("as found",))
    assert names(after) == names(before)
    for name, column in before.log.columns.items():
        assert column.tobytes() == after.log.columns[name].tobytes()
    with pytest.raises(DataError, match="not a saved data set"):
        Dataset.open(tmp_path / "log")


def test_bad_tables_are_one_clear_message() -> None:
    bad = {"user_id": [1, None], "article": [1, 2], "time": [1, 2]}
    with pytest.raises(DataError) as caught:
        from_frames(bad, name="mine")
    message = str(caught.value)
    assert message.startswith("mine: 2 violations of the schema: (1) events.item_id: column is missing")
    assert "user_id, article, time" in message
    assert "(2) events.user_id: no id in 1 row (row 1: None)" in message
    assert "\n" not in message


def test_specs(tmp_path: Path) -> None:
    pl.DataFrame(EVENTS).write_parquet(tmp_path / "events.parquet")
    assert len(tables(tmp_path, default_kind="x").events) == 4
    assert set(loaders()) >= {"folder", "globo", "kuairand", "ml100k", "ml1m", "online_retail", "xwines"}
    with pytest.raises(ConfigError, match=r"unknown data set 'nowhere'; choices: .*globo.* or a plain folder"):
        read(f"nowhere:{tmp_path}")
    with pytest.raises(ConfigError, match="unknown option 'variant' of folder; options: default_kind"):
        read(tmp_path, variant="loo")
    for spec in ("globo:", f"globo:{tmp_path}/none", str(tmp_path / "none")):
        with pytest.raises(DataError, match="no such folder"):
            read(spec)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no events table; expected events with one of \.parquet.*has: none"):
        read(tmp_path)
    events = tmp_path / "events.parquet"
    events.write_bytes(b"")
    with pytest.raises(DataError, match=r"events\.parquet: the file is empty"):
        read(tmp_path)
    events.write_bytes(b"no such thing as this")
    with pytest.raises(DataError, match=r"events\.parquet: not readable as parquet"):
        read(tmp_path)
    (tmp_path / "events.csv").write_text("user_id,item_id,time\n1,1,1\n")
    with pytest.raises(DataError, match=r"both events\.parquet and events\.csv; keep one"):
        read(tmp_path)
    events.unlink()
    assert len(read(tmp_path).log) == 1
    (tmp_path / "items.csv").write_text("item_id,price\n1,2,3,4\n")
    with pytest.raises(DataError, match=r"items\.csv: not readable as csv"):
        read(tmp_path)
    with pytest.raises(
        DataError, match=r"interactions\.parquet: no such file; the folder has: events\.csv, items\.csv"
    ):
        read(f"globo:{tmp_path}")
