"""Attributes as columns: missing values, growth, tags, saving."""

import itertools
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from shortlist.core.errors import ConfigError
from shortlist.data.catalogue import NEVER, Catalogue, Table, category, moment, number, tags, vector
from shortlist.data.vocabulary import Vocabulary

LISTS = [["a", "b"], None, [], ["b"], ["c", "a", "b"]]


def make() -> Catalogue:
    columns = {
        "tags": tags(pl.Series(LISTS, dtype=pl.List(pl.String))),
        "kind": category(pl.Series(["x", None, "y", "x", "y"])),
        "price": number(pl.Series([1.5, None, 2.0, 3.0, 4.0])),
        "since": moment(pl.Series([10, None, 30, 40, 50])),
        "shape": vector(pl.Series([[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])),
    }
    items = Table(Vocabulary(pl.Series(range(5))), columns, 5)
    return Catalogue(
        items,
        Table(Vocabulary(pl.Series(["u"]))),
        Vocabulary(pl.Series(["click"])),
        {"tab": Vocabulary(pl.Series([3]))},
    )


def read_tags(table: Table, codes: list[int]) -> list[list[object]]:
    offsets, entries = table.tags("tags", np.array(codes))
    vocabulary = table.columns["tags"].vocabulary
    assert vocabulary is not None
    return [[vocabulary.name(code) for code in entries[start:stop]] for start, stop in itertools.pairwise(offsets)]


def check(catalogue: Catalogue) -> None:
    items = catalogue.items
    assert items.values("kind", np.array([3, 1, -1])).tolist() == [0, -1, -1]
    assert np.array_equal(items.values("price", np.array([0, 1, -1])), [1.5, np.nan, np.nan], equal_nan=True)
    assert items.values("since", np.array([2, 1, -1])).tolist() == [30, NEVER, NEVER]
    shapes = np.array([[7, 8], [np.nan, np.nan], [np.nan, np.nan]])
    assert np.array_equal(items.values("shape", np.array([4, 1, -1])), shapes, equal_nan=True)
    assert read_tags(items, [4, 1, -1, 0, 2]) == [["c", "a", "b"], [], [], ["a", "b"], []]
    assert [entry.tolist() for entry in items.tags("kind", np.array([0, 1, 2]))] == [[0, 1, 1, 2], [0, 1]]


def test_reading_by_code() -> None:
    check(make())


def test_growing_leaves_what_was_there() -> None:
    catalogue = make()
    for name in range(5, 300):
        code = catalogue.items.add(name)
        assert code == name
        assert catalogue.items.values("kind", np.array([code])).tolist() == [-1]
        assert read_tags(catalogue.items, [code]) == [[]]
    assert catalogue.items.add(3) == 3
    assert len(catalogue.items) == 300
    assert catalogue.items.listed == 5
    check(catalogue)


def test_saving_and_loading(tmp_path: Path) -> None:
    make().save(tmp_path)
    loaded = Catalogue.load(tmp_path)
    check(loaded)
    assert list(loaded.items.columns) == ["tags", "kind", "price", "since", "shape"]
    assert loaded.items.listed == 5
    assert loaded.context["tab"].series().to_list() == [3]
    loaded.items.add(99)  # a mapped column is copied when it grows
    check(loaded)
    check(Catalogue.load(tmp_path))


def test_unknown_names_say_the_choices() -> None:
    catalogue = make()
    with pytest.raises(ConfigError, match=r"here: unknown column 'colour'; columns: tags, kind, price, since, shape"):
        catalogue.items.column("colour", "here")
    with pytest.raises(ConfigError, match=r"here: unknown event kind 'buy'; the data have: click"):
        catalogue.kind_codes(["click", "buy"], "here")


def test_moments_are_utc() -> None:
    east = timezone(timedelta(hours=3))
    aware = pl.Series([datetime(2020, 1, 1, 3, tzinfo=east)]).dt.convert_time_zone("Europe/Moscow")
    assert moment(aware).values.tolist() == [1577836800, NEVER]
    assert moment(pl.Series([datetime(2020, 1, 1)])).values[0] == 1577836800
    assert moment(pl.Series([datetime(1969, 12, 31, 23, 59, 59, 500_000)])).values[0] == -1
