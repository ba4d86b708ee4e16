"""The families that read aggregates (rate, mean, conditional, session) against loops over the events."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError
from shortlist.feature.conditional import Conditional
from shortlist.feature.mean import Mean
from shortlist.feature.rate import Rate
from shortlist.feature.session import Session
from tests.feature.slow import (
    CTX,
    DAY,
    KEYS,
    POSITIVE,
    Row,
    computed,
    decayed,
    events_by,
    events_of,
    everything,
    reading,
    rows,
    same,
)
from tests.state.folds import Event
from tests.state.toys import KINDS

HOUR = 3600


def sessions(events: list[Event], gap: float) -> list[list[Event]]:
    """Events in log order, cut where one comes more than `gap` after the newest time until then."""
    found: list[list[Event]] = []
    newest = -math.inf
    for event in events:
        if event.time - newest > gap:
            found.append([])
        found[-1].append(event)
        newest = max(newest, event.time)
    return found


def counting(events: list[Event], later: int, hold: float, lag: float) -> list[Event]:
    """The events of a key that count: not the running session; not the running tile."""
    if hold and events:
        running = sessions(events, hold)[-1]
        return events[: -len(running)] if later - max(event.time for event in running) <= hold else events
    if lag:
        return [event for event in events if event.time // lag < later // lag]
    return events


def sides(events: list[Event], later: int, event: Any, over: Any, life: float, weigh: bool) -> tuple[float, float]:
    """What counts above and below the line of a rate."""
    above = below = 0.0
    for each in events:
        fade = 2 ** (-(later - each.time) / life)
        if each.kind in event:
            above += fade * ((0.0 if math.isnan(each.value) else each.value) if weigh else 1.0)
        if each.kind in over:
            below += fade
    return above, below


RATES: list[dict[str, Any]] = [
    {"over": ("view",)},
    {"event": ("buy",), "over": ("click", "view"), "prior": 0.0},
    {"event": ("click",), "over": ("view",), "hold": "40m", "prior": 2.0},
    {"event": ("buy",), "over": ("view", "buy"), "lag": "6h"},
    {"event": ("click",), "over": ("view",), "weigh": True},
    {"event": ("buy",), "over": ("click",), "weigh": True, "hold": "20m"},
]


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("options", RATES, ids=str)
def test_rate(name: str, options: dict[str, Any]) -> None:
    """Every form of key, smoothed towards the rate of all keys together, of two half-lives and of all time."""
    columns = computed(Rate(by=[name], half_life=["5h", "2d"], total=True, **options))
    event, over = options.get("event", POSITIVE), options["over"]
    hold, lag = ({"40m": 2400, "20m": 1200, "6h": 6 * HOUR, "": 0}[options.get(key, "")] for key in ("hold", "lag"))
    kinds = tuple(kind for kind in KINDS if kind in event or kind in over)
    whole = everything(name, kinds)
    tail = f":held {options['hold']}" if hold else f":before {options['lag']}" if lag else ""
    tail += ":value" if "weigh" in options else ""
    label = f"{'+'.join(options.get('event', ['positive']))} per {'+'.join(over)}/{name}"
    lives = {"5h": 5.0 * HOUR, "2d": 2.0 * DAY, "total": math.inf}
    assert list(columns) == [f"{label}/{life}{tail}" for life in lives]
    prior, weigh = options.get("prior", 20.0), "weigh" in options
    for life, length in lives.items():
        bases = {}
        for later in {row.later for row in rows()}:
            above, below = sides(whole, later, event, over, length, weigh)
            bases[later] = above / below

        def rate(events: list[Event], row: Row, length: float = length, bases: dict[int, float] = bases) -> float:
            counted, base = counting(events, row.later, hold, lag), bases[row.later]
            above, below = sides(counted, row.later, event, over, length, weigh)
            return (above + prior * base) / (below + prior) if below + prior > 0 else base

        same(columns[f"{label}/{life}{tail}"], [reading(name, row, kinds, rate) for row in rows()])


def users_rate(hold: str = "", lag: str = "") -> Array:
    """One column."""
    (column,) = computed(Rate(by=["user"], over=("view",), half_life=["1d"], hold=hold, lag=lag)).values()
    return column


def test_what_is_held_back_matters() -> None:
    """Else the tests of hold and lag would say nothing."""
    plain = users_rate()
    for other in (users_rate(hold="40m"), users_rate(lag="1d"), users_rate(lag="2h")):
        assert (plain != other).any()


def test_rates_refuse_what_cannot_be_meant() -> None:
    """One line each, with the place and the choices."""
    with pytest.raises(
        ConfigError, match=r"^rate.over: unknown event kind 'impression'; the data have: click, buy, view$"
    ):
        Rate().folds(CTX)
    with pytest.raises(ConfigError, match=r"^rate.event: unknown event kind 'clik'; the data have: click, buy, view$"):
        Rate(event=("clik",), over=("view",)).folds(CTX)
    with pytest.raises(ConfigError, match=r"^rate: hold and lag are two ways to look away; give one of them$"):
        Rate(over=("view",), hold="30m", lag="1d").folds(CTX)


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("event", [(), ("view",)])
@pytest.mark.parametrize("std", [True, False])
def test_mean(name: str, event: tuple[str, ...], std: bool) -> None:
    """Mean and population deviation of the values that are there."""
    columns = computed(Mean(by=[name], event=event, std=std))

    def mean(events: list[Event], row: Row) -> float:
        there = [each.value for each in events if not math.isnan(each.value)]
        return math.fsum(there) / len(there) if there else math.nan

    def spread(events: list[Event], row: Row) -> float:
        there, centre = [each.value for each in events if not math.isnan(each.value)], mean(events, row)
        return math.sqrt(math.fsum((value - centre) ** 2 for value in there) / len(there)) if there else math.nan

    stem = f"{'+'.join(event) or 'positive'}/{name}"
    assert list(columns) == [f"{stem}/mean", *([f"{stem}/std"] if std else [])]
    same(columns[f"{stem}/mean"], [reading(name, row, event or POSITIVE, mean) for row in rows()])
    if std:
        same(columns[f"{stem}/std"], [reading(name, row, event or POSITIVE, spread) for row in rows()], rtol=1e-4)


SEGMENTS = ["user.region", "device", "last", "last.category", "hour", "user.region x device", "user"]


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize("what", ["item", "item.category", "item.tags"])
@pytest.mark.parametrize("prior", [20.0, 0.5])
def test_conditional(segment: str, what: str, prior: float) -> None:
    """(c(S, x) + prior p(x)) / (c(S) + prior), and that over p(x); of a list the mean of its entries' counts."""
    lives = {"4h": 4.0 * HOUR, "2d": 2.0 * DAY}
    columns = computed(Conditional(segment=[segment], what=what, half_life=list(lives), prior=prior))
    names = [f"positive/{what}|{segment}/{life}" for life in lives]
    assert sorted(columns) == sorted([*names, *(f"{name}:lift" for name in names)])
    for life, length in lives.items():
        shares, lifts = [], []

        def count(events: list[Event], row: Row, length: float = length) -> float:
            return decayed(events, row.later, length)

        for row in rows():
            both = reading(f"{segment} x {what}", row, POSITIVE, count)
            alone = reading(segment, row, POSITIVE, count)
            whole = reading(what, row, POSITIVE, count) / count(everything("", POSITIVE), row)
            shares.append((both + prior * whole) / (alone + prior))
            lifts.append(shares[-1] / whole if whole > 0 else 1.0)
        same(columns[f"positive/{what}|{segment}/{life}"], shares)
        same(columns[f"positive/{what}|{segment}/{life}:lift"], lifts)


def test_a_segment_without_events_reads_everybodys_share() -> None:
    """Nobody asks (request 2): the item's share of all events, and a lift of 1."""
    columns = computed(Conditional(segment=["user"], event=("click",), half_life=["1d"]))
    nobody = [j for j, row in enumerate(rows()) if row.user < 0]
    assert len(nobody) == 12
    np.testing.assert_allclose(columns["click/item|user/1d:lift"][nobody], 1.0, rtol=1e-6)
    for j in nobody:
        row = rows()[j]
        own = reading("item", row, ("click",), lambda events, row: decayed(events, row.later, DAY))
        whole = decayed(everything("", ("click",)), row.later, DAY)
        np.testing.assert_allclose(columns["click/item|user/1d"][j], own / whole, rtol=1e-5)


def test_conditional_without_lift_and_of_every_category() -> None:
    columns = computed(Conditional(segment=["user.*", "device"], half_life=["1d"], lift=False))
    assert list(columns) == ["positive/item|user.region/1d", "positive/item|device/1d"]
    with pytest.raises(
        ConfigError, match=r"^conditional.what: 'user.region' is not of the item; choices: item, item.<attribute>$"
    ):
        Conditional(what="user.region").folds(CTX)


@pytest.mark.parametrize("event", [(), ("view",), ("click", "view")])
@pytest.mark.parametrize("gap", ["10m", "3h"])
def test_session(event: tuple[str, ...], gap: str) -> None:
    """Position, length, pace, number of sessions, idle time; and the kinds of the newest events, whatever the session is of."""
    columns = computed(Session(event=event, gap=gap, kinds=3))
    length = {"10m": 600.0, "3h": 3.0 * HOUR}[gap]
    stem = f"session/{'+'.join((*event, gap))}"

    def readings(events: list[Event], row: Row) -> list[float]:
        later = row.later
        if not events:
            return [0.0, 0.0, math.nan, 0.0, math.nan]
        every = sessions(events, length)
        times = [each.time for each in every[-1]]
        since = float(later - max(each.time for each in events))
        if later - max(times) > length:
            return [0.0, 0.0, math.nan, float(len(every)), since]
        pace = (max(times) - min(times)) / (len(times) - 1) if len(times) > 1 else math.nan
        return [float(len(times)), float(later - min(times)), pace, float(len(every)), since]

    names = ("position", "length", "pace", "sessions", "since")
    assert list(columns) == [*(f"{stem}/{name}" for name in names), *(f"session/kind:{i}" for i in (1, 2, 3))]
    for j, name in enumerate(names):
        expected = [readings(events_of("user", (row.user,), event or POSITIVE), row)[j] for row in rows()]
        np.testing.assert_allclose(columns[f"{stem}/{name}"], np.array(expected, dtype=np.float32), rtol=1e-5)
    assert any(len(np.unique(columns[f"{stem}/{name}"])) > 1 for name in names)
    for i in (1, 2, 3):
        column = columns[f"session/kind:{i}"]
        assert column.dtype == np.int32
        own = [events_by("user").get((row.user,), []) for row in rows()]
        assert column.tolist() == [KINDS.index(events[-i].kind) if events else -1 for events in own]
        assert len(set(column.tolist())) > 1


def test_kinds_of_a_short_history() -> None:
    """As many columns as asked for, however few events there are."""
    columns = computed(Session(kinds=20))
    assert len(columns) == 25
