"""A small world for the feature families, and what the tests of every family share: keys by their meaning, events of a key, and
readings in plain loops. A list-valued key gives a candidate one reading per entry, of which it has the mean."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.contracts import FitContext
from shortlist.core.rng import rng
from shortlist.core.rows import offsets_of
from shortlist.data.catalogue import category
from shortlist.data.log import Log
from shortlist.state.state import State
from tests.state.folds import Event, Key, keys_of, newest_items
from tests.state.toys import KINDS, moments, toy_catalogue, toy_events

DAY = 86_400
EVENTS = toy_events(2500, span=3 * DAY, seed=3)
BRANDS = ["acme", "zeta", "acme", None]  # item i has BRANDS[i % 4]
CATALOGUE = toy_catalogue(
    listed=40,
    released=moments([None if i % 5 == 0 else i * 5000 for i in range(40)]),
    brand=category(pl.Series([BRANDS[i % 4] for i in range(40)])),
)
POSITIVE = ("click", "buy")
CTX = FitContext(CATALOGUE, POSITIVE)
NOW = int(EVENTS["time"].max())

# Every form that a key may have.
KEYS = [
    "item",
    "user",
    "item.category",
    "item.tags",
    "user x item",
    "user.region x item",
    "device",
    "device x item",
    "user x item.tags",
    "hour",
    "weekday x item.category",
    "last x item",
    "last.category x item.category",
    "user.region x item.category x hour",
    "user.region x item.tags x device",
]


class Row(NamedTuple):
    """One candidate and who asks."""

    user: int
    item: int
    time: int
    device: int

    @property
    def later(self) -> int:
        """Time never runs backwards."""
        return max(self.time, NOW)


def asked() -> Batch:
    """Requests of several moments, among them of nobody, one without candidates, and one with an item that nobody knows."""
    draw = rng(0, "asked")
    counts = [7, 0, 12, 5, 9, 11]
    items = np.concatenate([draw.permutation(40)[:count] for count in counts]).astype(np.int32)
    items[3] = -1
    times = NOW + np.array([0, 10, -5000, 3600, DAY, 70])
    req = Batch.of(np.array([3, 4, -1, 7, 11, 3]), times, device=np.array([0, 1, -1, 1, 0, -1], np.int32)).req
    return Batch(req, offsets_of(np.array(counts)), {"item": items})


def made(part: Any) -> tuple[Columns, State]:
    """The part's columns, after all events, and the state."""
    state = State(CATALOGUE, part.folds(CTX) if hasattr(part, "folds") else ())
    if hasattr(part, "fit"):
        part.fit(Log(EVENTS), CTX)
    state.apply(EVENTS)
    return dict(part.compute(asked(), state)), state


def computed(part: Any) -> Columns:
    """The part's columns, each of which says what it is read from."""
    columns, state = made(part)
    if hasattr(part, "origin"):
        for name in columns:
            assert part.origin(name) in {"", *state.folds}, name
    return columns


def rows() -> list[Row]:
    """Every candidate row."""
    batch = asked()
    owners = np.repeat(np.arange(batch.n), np.diff(batch.offsets)).tolist()
    return [
        Row(int(batch.user[i]), int(item), int(batch.time[i]), int(batch.req["device"][i]))
        for i, item in zip(owners, batch.item.tolist(), strict=True)
    ]


def parts_of(name: str) -> list[str]:
    """The columns of a key as it is written; none for everything together."""
    return name.split(" x ") if name else []


@functools.cache
def _newest() -> tuple[list[int], dict[int, int]]:
    return newest_items(EVENTS)


@functools.cache
def events_by(name: str) -> dict[Key, list[Event]]:
    """The events of every value of a key, in log order; an event of several values is in each."""
    found: dict[Key, list[Event]] = {}
    for e in range(len(EVENTS["time"])):
        user, item, time, kind, device = (int(EVENTS[c][e]) for c in ("user", "item", "time", "kind", "device"))
        event = Event(time, float(EVENTS["value"][e]), KINDS[kind], item, user)
        for key in keys_of(parts_of(name), user, item, device, _newest()[0][e], time):
            if key is not None:
                found.setdefault(key, []).append(event)
    return found


def keys(name: str, row: Row) -> list[Key]:
    """The values that a key has for a candidate: one (None where a part is missing), or one per entry of a list."""
    parts = parts_of(name)
    if row.item < 0 and any(part.startswith("item") for part in parts):
        return [] if "item.tags" in parts else [None]
    return keys_of(parts, row.user, row.item, row.device, _newest()[1].get(row.user, -1), row.time)


def of_kinds(events: list[Event], kinds: tuple[str, ...]) -> list[Event]:
    """Only events of these kinds."""
    return [event for event in events if event.kind in kinds]


@functools.cache
def events_of(name: str, key: Key, kinds: tuple[str, ...]) -> list[Event]:
    """The events of one value of a key."""
    return of_kinds(events_by(name).get(key, []), kinds)


def reading(name: str, row: Row, kinds: tuple[str, ...], read: Callable[[list[Event], Row], float]) -> float:
    """What a candidate reads of a key, given what each of its values reads of its events; their mean where there are several, those
    without a reading aside."""
    made = [read(events_of(name, key, kinds), row) for key in keys(name, row)]
    there = [value for value in made if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan


def everything(name: str, kinds: tuple[str, ...]) -> list[Event]:
    """The events of all values of a key together: once for every value that they have."""
    return [event for key in events_by(name) for event in events_of(name, key, kinds)]


def decayed(events: list[Event], later: int, half_life: float) -> float:
    """Every event halves per half-life."""
    return math.fsum(2 ** (-(later - event.time) / half_life) for event in events)


def history(user: int, kinds: tuple[str, ...], last: int) -> list[Event]:
    """The newest events of a user, newest last."""
    return events_of("user", (user,), kinds)[-last:]


def codes(attribute: str, item: int) -> list[int]:
    """The item's categories or tags, as codes."""
    offsets, entries = CATALOGUE.items.tags(attribute, np.array([item]))
    assert offsets[-1] == len(entries)
    return [int(code) for code in entries]


def same(column: Array, expected: list[float], rtol: float = 1e-5) -> None:
    """float32 against the slow figures, and not the same for every row."""
    assert column.dtype == np.float32
    np.testing.assert_allclose(column, np.array(expected), rtol=rtol, atol=1e-7)
    assert len(np.unique(column)) > 1
