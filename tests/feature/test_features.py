"""Every feature family against plain loops over the events."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.core.rng import rng
from shortlist.core.rows import offsets_of
from shortlist.data.catalogue import NEVER
from shortlist.feature.attributes import Attributes
from shortlist.feature.clock import Clock
from shortlist.feature.counts import Counts
from shortlist.feature.pair import Pair
from shortlist.feature.recency import Recency
from shortlist.state.state import State
from tests.state.toys import KINDS, moments, toy_catalogue, toy_events

DAY = 86_400
EVENTS = toy_events(1500, span=3 * DAY, seed=3)
CATALOGUE = toy_catalogue(listed=40, released=moments([None if i % 5 == 0 else i * 5000 for i in range(40)]))
POSITIVE = ("click", "buy")
CTX = FitContext(CATALOGUE, POSITIVE)
NOW = int(EVENTS["time"].max())


def asked() -> Batch:
    """Requests of several moments, among them of nobody, one without candidates, and one with an item that nobody knows."""
    draw = rng(0, "asked")
    counts = [7, 0, 12, 5, 9, 11]
    items = np.concatenate([draw.permutation(40)[:count] for count in counts]).astype(np.int32)
    items[3] = -1
    times = NOW + np.array([0, 10, -5000, 3600, DAY, 70])
    req = Batch.of(np.array([3, 4, -1, 7, 11, 3]), times, device=np.array([0, 1, -1, 1, 0, -1], np.int32)).req
    return Batch(req, offsets_of(np.array(counts)), {"item": items})


def computed(part: Any) -> Columns:
    """The part's columns, after all events."""
    state = State(CATALOGUE, part.folds(CTX) if hasattr(part, "folds") else ())
    state.apply(EVENTS)
    return dict(part.compute(asked(), state))


def rows() -> list[tuple[int, int, int, int]]:
    """(user, item, time, device) of every candidate row."""
    batch = asked()
    made = []
    for i in range(batch.n):
        for row in range(batch.offsets[i], batch.offsets[i + 1]):
            made.append((int(batch.user[i]), int(batch.item[row]), int(batch.time[i]), int(batch.req["device"][i])))
    return made


def key(name: str, user: int, item: int, device: int) -> tuple[int, ...] | None:
    """What a row or event is counted by; None where a part is missing."""
    parts = []
    for word in name.split(" x "):
        title, _, attribute = word.partition(".")
        code = {"item": item, "user": user, "device": device}[title]
        if attribute:
            table = CATALOGUE.items if title == "item" else CATALOGUE.users
            code = int(table.values(attribute, np.array([code]))[0])
        parts.append(code)
    return None if min(parts, default=0) < 0 else tuple(parts)


def met(name: str, wanted: tuple[int, ...] | None, kinds: tuple[str, ...]) -> list[int]:
    """The times of all events of a key, in log order."""
    columns = (EVENTS[column].tolist() for column in ("user", "item", "time", "device", "kind"))
    return [
        time
        for user, item, time, device, kind in zip(*columns, strict=True)
        if KINDS[kind] in kinds and wanted is not None and key(name, user, item, device) == wanted
    ]


def decayed(times: list[int], at: int, half_life: int) -> float:
    """Every event halves per half-life; time never runs backwards."""
    return sum(2 ** (-(max(at, NOW) - time) / half_life) for time in times)


def same(column: Array, expected: list[float], rtol: float = 1e-5) -> None:
    """float32 against the slow figures, and not the same for every row."""
    assert column.dtype == np.float32
    np.testing.assert_allclose(column, np.array(expected), rtol=rtol, atol=1e-7)
    assert len(np.unique(column)) > 1


KEYS = ["item", "user", "item.category", "user x item", "user.region x item", "device", "device x item"]


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("event", [(), ("view",)])
def test_counts(name: str, event: tuple[str, ...]) -> None:
    """Decayed, plain and windowed counts, their trend and their share."""
    part = Counts(by=[name], event=event, half_life=["2h", "1d"], window=["12h"], total=True, trend=True, share=True)
    columns = computed(part)
    kinds = event or POSITIVE
    stem = f"{'+'.join(event) or 'positive'}/{name}"
    wanted = [(key(name, user, item, device), time) for user, item, time, device in rows()]
    own = {each: met(name, each, kinds) for each, _ in wanted}
    everything = [
        time
        for time, kind in zip(EVENTS["time"].tolist(), EVENTS["kind"].tolist(), strict=True)
        if KINDS[kind] in kinds
    ]

    def tile(time: int) -> int:
        return math.floor(time * 6 / (12 * 3600))

    def windowed(times: list[int], at: int) -> float:
        last = tile(max(at, NOW))
        return sum(last - 6 < tile(time) <= last for time in times)

    horizons: dict[str, Callable[[list[int], int], float]] = {
        "2h": lambda times, at: decayed(times, at, 7200),
        "1d": lambda times, at: decayed(times, at, DAY),
        "12hw": windowed,
        "total": lambda times, at: float(len(times)),
    }
    for label, count in horizons.items():
        same(columns[f"{stem}/{label}"], [count(own[each], at) for each, at in wanted])
        share = [count(own[each], at) / max(count(everything, at), 1e-9) for each, at in wanted]
        same(columns[f"{stem}/{label}:share"], share)
    trend = [(decayed(own[each], at, 7200) + 1) / (decayed(own[each], at, DAY) + 1) for each, at in wanted]
    same(columns[f"{stem}/1d:trend"], trend)
    assert len(columns) == 9


def test_a_star_is_every_category_with_shared_values() -> None:
    part = Counts(by=["item.*", "user.*", "device x item.*"], half_life=["1d"])
    assert {name.split("/")[1] for name in computed(part)} == {"item.category", "user.region", "device x item.category"}


@pytest.mark.parametrize("name", [*KEYS, "user x item.category"])
def test_recency(name: str) -> None:
    """Seconds since the newest event, never negative; NaN without one."""
    columns = computed(Recency(by=[name], event=("click",)))
    expected = []
    for user, item, time, device in rows():
        times = met(name, key(name, user, item, device), ("click",))
        expected.append(float(max(time - max(times), 0)) if times else math.nan)
    assert list(columns) == [f"click/{name}/since"]
    same(columns[f"click/{name}/since"], expected)


def history(user: int, kinds: tuple[str, ...], last: int) -> list[tuple[int, int]]:
    """(item, time) of the newest events of a user, newest last."""
    columns = (EVENTS[column].tolist() for column in ("user", "item", "time", "kind"))
    own = [
        (item, time) for each, item, time, kind in zip(*columns, strict=True) if each == user and KINDS[kind] in kinds
    ]
    return own[-last:] if user >= 0 else []


def values(attribute: str, item: int) -> list[int]:
    """The item's categories or tags."""
    offsets, codes = CATALOGUE.items.tags(attribute, np.array([item]))
    assert offsets[-1] == len(codes)
    return [int(code) for code in codes]


@pytest.mark.parametrize("last", [5, 40])
def test_pair(last: int) -> None:
    """What the user did with the item, and with its category and tags."""
    columns = computed(Pair(event=("click",), last=last))
    expected: dict[str, list[float]] = {name: [] for name in columns}
    for user, item, time, _ in rows():
        own = history(user, ("click",), last)
        expected["history/length"].append(float(len(own)))
        expected["history/since"].append(max(time - own[-1][1], 0) if own else math.nan)
        places = [j for j, (each, _) in enumerate(own) if each == item]
        expected["pair/count"].append(float(len(places)))
        expected["pair/since"].append(float(max(time - own[places[-1]][1], 0)) if places else math.nan)
        expected["pair/steps"].append(float(len(own) - places[-1]) if places else math.nan)
        for attribute in ("category", "tags"):
            mine = values(attribute, item)
            past = [values(attribute, each) for each, _ in own]
            weight = sum(codes.count(code) for codes in past for code in mine)
            expected[f"pair/{attribute}/share"].append(weight / (len(mine) * len(own)) if mine and own else 0.0)
            places = [j for j, codes in enumerate(past) if set(codes) & set(mine)]
            expected[f"pair/{attribute}/since"].append(float(max(time - own[places[-1]][1], 0)) if places else math.nan)
            expected[f"pair/{attribute}/steps"].append(float(len(own) - places[-1]) if places else math.nan)
    assert len(columns) == 5 + 2 * 3
    for name, column in columns.items():
        same(column, expected[name])


def test_attributes() -> None:
    """Categories as codes, numbers as they are, moments as the age at the request."""
    columns = computed(Attributes(context=["device", "not there"]))
    assert set(columns) == {
        "item.category", "item.price", "item.released:age", "user.region", "context.device", "context.not there",
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
    with pytest.raises(ConfigError, match=r"feature.attributes.item: unknown column 'colour'; columns: category"):
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
    same(columns["clock.hour"], [((time + offset * 3600) % DAY) / 3600 for *_, time, _ in rows()])
    expected = [((time + offset * 3600) // DAY + 3) % 7 for *_, time, _ in rows()]
    assert columns["clock.weekday"].tolist() == expected
