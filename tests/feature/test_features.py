"""The plain families (attributes, clock, counts, pair, recency) against loops over the events."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from shortlist.core.errors import ConfigError
from shortlist.data.catalogue import NEVER
from shortlist.feature.attributes import Attributes
from shortlist.feature.clock import Clock
from shortlist.feature.counts import Counts
from shortlist.feature.pair import Pair
from shortlist.feature.recency import Recency
from tests.feature.slow import (
    CATALOGUE,
    DAY,
    KEYS,
    POSITIVE,
    Row,
    codes,
    computed,
    decayed,
    everything,
    history,
    reading,
    rows,
    same,
)
from tests.state.folds import Event


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("event", [(), ("view",)])
def test_counts(name: str, event: tuple[str, ...]) -> None:
    """Decayed, plain and windowed counts, their trend and their share."""
    lives = ["2h", "9h", "1d"]
    part = Counts(by=[name], event=event, half_life=lives, window=["12h"], total=True, trend=True, share=True)
    columns = computed(part)
    kinds = event or POSITIVE
    stem = f"{'+'.join(event) or 'positive'}/{name}"

    def windowed(events: list[Event], later: int) -> float:
        newest = math.floor(later * 6 / (12 * 3600))
        return float(sum(newest - 6 < math.floor(each.time * 6 / (12 * 3600)) <= newest for each in events))

    horizons: dict[str, Callable[[list[Event], int], float]] = {
        "2h": lambda events, later: decayed(events, later, 7200),
        "9h": lambda events, later: decayed(events, later, 9 * 3600),
        "1d": lambda events, later: decayed(events, later, DAY),
        "12hw": windowed,
        "total": lambda events, later: float(len(events)),
    }

    def counted(row: Row, label: str) -> float:
        return reading(name, row, kinds, lambda events, row: horizons[label](events, row.later))

    for label, count in horizons.items():
        own = [counted(row, label) for row in rows()]
        same(columns[f"{stem}/{label}"], own)
        whole = [count(everything("", kinds), row.later) for row in rows()]
        same(columns[f"{stem}/{label}:share"], [x / max(y, 1e-9) for x, y in zip(own, whole, strict=True)])
    for short, long in (("2h", "9h"), ("9h", "1d")):
        trend = [(counted(row, short) + 1) / (counted(row, long) + 1) for row in rows()]
        same(columns[f"{stem}/{long}:trend"], trend)
    assert len(columns) == 12


def test_a_count_of_everything() -> None:
    """The key without columns is one key for all."""
    column = computed(Counts(by=[""], half_life=["1d"]))["positive/all/1d"]
    same(column, [decayed(everything("", POSITIVE), row.later, DAY) for row in rows()])


def test_a_star_is_every_category_with_shared_values() -> None:
    part = Counts(by=["item.*", "user.*", "device x item.*"], half_life=["1d"])
    assert {name.split("/")[1] for name in computed(part)} == {
        "item.category", "item.brand", "user.region", "device x item.category", "device x item.brand",
    }  # fmt: skip


@pytest.mark.parametrize("name", [*KEYS, "user x item.category"])
@pytest.mark.parametrize("event", [(), ("click",)])
def test_recency(name: str, event: tuple[str, ...]) -> None:
    """Seconds since the newest event and since the first, never negative; the mean gap, and how overdue the next event is. A late
    event makes a gap of 0."""
    columns = computed(Recency(by=[name], event=event, first=True, gap=True))

    def gap(events: list[Event]) -> float:
        gaps, newest = [], events[0].time if events else 0
        for event in events[1:]:
            gaps.append(max(event.time - newest, 0))
            newest = max(newest, event.time)
        return sum(gaps) / len(gaps) if gaps else math.nan

    def quiet(events: list[Event], later: int) -> float:
        mean = gap(events)
        return (later - max(each.time for each in events)) / mean if mean > 0 else math.nan

    readings: dict[str, Callable[[list[Event], Row], float]] = {
        "since": lambda events, row: max(row.time - max(each.time for each in events), 0) if events else math.nan,
        "age": lambda events, row: max(row.time - min(each.time for each in events), 0) if events else math.nan,
        "gap": lambda events, row: gap(events),
        "quiet": lambda events, row: quiet(events, row.later),
    }
    stem = f"{'+'.join(event) or 'positive'}/{name}"
    assert list(columns) == [f"{stem}/{label}" for label in readings]
    for label, read in readings.items():
        expected = [reading(name, row, event or POSITIVE, read) for row in rows()]
        same(columns[f"{stem}/{label}"], expected)


def test_recency_says_what_it_is_asked() -> None:
    assert list(computed(Recency(by=["item"], event=("view",)))) == ["view/item/since"]
    assert list(computed(Recency(by=["user"], gap=True))) == [
        "positive/user/since",
        "positive/user/gap",
        "positive/user/quiet",
    ]


@pytest.mark.parametrize("last", [5, 40])
@pytest.mark.parametrize("attributes", [["*"], ["brand", "tags", "category"], ["tags"], []])
def test_pair(last: int, attributes: list[str]) -> None:
    """What the user did with the item, and with its categories (several columns at once) and tags."""
    columns = computed(Pair(attributes=attributes, event=("click",), last=last))
    named = ["category", "tags", "brand"] if attributes == ["*"] else attributes
    expected: dict[str, list[float]] = {name: [] for name in columns}
    for user, item, time, _ in rows():
        own = [(event.item, event.time) for event in history(user, ("click",), last)]
        expected["history/length"].append(float(len(own)))
        expected["history/since"].append(max(time - own[-1][1], 0) if own else math.nan)
        places = [j for j, (each, _) in enumerate(own) if each == item]
        expected["pair/count"].append(float(len(places)))
        expected["pair/since"].append(float(max(time - own[places[-1]][1], 0)) if places else math.nan)
        expected["pair/steps"].append(float(len(own) - places[-1]) if places else math.nan)
        for attribute in named:
            mine = codes(attribute, item)
            past = [codes(attribute, each) for each, _ in own]
            weight = sum(entries.count(code) for entries in past for code in mine)
            expected[f"pair/{attribute}/share"].append(weight / (len(mine) * len(own)) if mine and own else 0.0)
            places = [j for j, entries in enumerate(past) if set(entries) & set(mine)]
            expected[f"pair/{attribute}/since"].append(float(max(time - own[places[-1]][1], 0)) if places else math.nan)
            expected[f"pair/{attribute}/steps"].append(float(len(own) - places[-1]) if places else math.nan)
    assert [name for name in columns if name.count("/") == 2] == [
        f"pair/{attribute}/{label}" for attribute in named for label in ("share", "since", "steps")
    ]
    for name, column in columns.items():
        same(column, expected[name])


def test_attributes() -> None:
    """Categories as codes, numbers as they are, moments as the age at the request."""
    columns = computed(Attributes(context=["device", "not there"]))
    assert set(columns) == {
        "item.category", "item.price", "item.released:age", "item.brand", "user.region", "context.device", "context.not there",
    }  # fmt: skip
    items, users = CATALOGUE.items, CATALOGUE.users
    for row, (user, item, time, device) in enumerate(rows()):
        assert columns["item.category"][row] == items.values("category", np.array([item]))[0]
        assert columns["user.region"][row] == users.values("region", np.array([user]))[0]
        assert columns["context.device"][row] == device
        price, released = (items.values(name, np.array([item]))[0] for name in ("price", "released"))
        np.testing.assert_array_equal(columns["item.price"][row], price)
        age = np.float32(np.nan) if released == NEVER else np.float32(time - released)
        np.testing.assert_array_equal(columns["item.released:age"][row], age)
    assert (columns["context.not there"] == -1).all()
    assert columns["item.category"].dtype == columns["context.device"].dtype == np.int32


def test_attributes_by_name() -> None:
    """Only what is named; a column that is not there is one line."""
    assert set(computed(Attributes(item=["price"], user=[]))) == {"item.price"}
    with pytest.raises(ConfigError, match=r"^attributes.item: unknown column 'colour'; columns: category"):
        computed(Attributes(item=["colour"]))


def test_a_column_with_a_value_of_its_own_per_item_is_not_useful() -> None:
    """Titles and the like name the item; they say nothing about others."""
    names = set(computed(Attributes()))
    assert "item.tags" not in names
    assert "item.vector" not in names


@pytest.mark.parametrize("offset", [0, 5])
def test_clock(offset: int) -> None:
    """1 January 1970 was a Thursday."""
    columns = computed(Clock(offset=f"{offset}h"))
    same(columns["clock.hour"], [((row.time + offset * 3600) % DAY) / 3600 for row in rows()])
    expected = [((row.time + offset * 3600) // DAY + 3) % 7 for row in rows()]
    assert columns["clock.weekday"].tolist() == expected
