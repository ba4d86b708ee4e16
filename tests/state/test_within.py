"""Aggregates that are part of another, those without a `fill` of their own, and bounds of single keys."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array, Columns
from shortlist.core.contracts import Fold
from shortlist.core.errors import ConfigError
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.rate import Rate
from shortlist.state.fold.session import Session
from shortlist.state.slotted import Filled, Slotted, slots
from shortlist.state.state import State
from tests.state.test_folds import ALL
from tests.state.test_state import folds
from tests.state.toys import toy_batch, toy_catalogue, toy_events

LIVES = ("1h", "12h", "1d", "")
PARTS: list[Any] = [
    Decay(("item",), half_life=("12h",)),
    Decay(("item",), half_life=("1d", "1h")),
    Rate(("item.tags",), ("buy",), ("view",), ("", "12h"), hold="1h"),
    Rate(("user", "item.category"), ("buy",), ("view",), ("1h",)),
]
WHOLES: list[Any] = [
    Decay(("item",), half_life=LIVES[:3]),
    Rate(("item.tags",), ("buy",), ("view",), LIVES, hold="1h"),
    Rate(("user", "item.category"), ("buy",), ("view",), LIVES),
]


@pytest.mark.parametrize("order", [1, -1])
def test_parts_read_as_if_they_were_kept_alone(order: int, tmp_path: Path) -> None:
    """To the bit, whichever is named first; also after thousands of half-lives, and from a snapshot."""
    log = toy_events(3000, span=40_000_000)
    state = State(toy_catalogue(), [*PARTS, *WHOLES][::order])
    alone = {part.name: State(toy_catalogue(), [part]) for part in PARTS}
    assert set(state.folds) == {fold.name for fold in WHOLES}
    for each in (state, *alone.values()):
        each.apply(log)
    state.snapshot(tmp_path)
    again = State.load(tmp_path, toy_catalogue())
    batch, moment = (
        toy_batch([20, 0, 31, 7], time=[39_000_000, 40_000_000, 40_000_100, 50_000_000]),
        np.array([41_000_000]),
    )
    keys = np.arange(-1, 60)
    for name, own in alone.items():
        assert state.fold(name).readings() == own.fold(name).readings()
        for one in (state, again):
            np.testing.assert_array_equal(one.values(name, batch), own.values(name, batch), err_msg=name)
            np.testing.assert_array_equal(one.read(name, keys, moment), own.read(name, keys, moment))
            np.testing.assert_array_equal(one.scan(name, 50, 41_000_000), own.scan(name, 50, 41_000_000))
    assert set(again.folds) == set(state.folds)


@pytest.mark.parametrize(
    "other",
    [
        Decay(("user",), half_life=LIVES[:3]),
        Decay(("item",), ("click",), half_life=LIVES[:3]),
        Decay(("item",), half_life=LIVES[:3], weigh=True),
        Rate(("item",), (), ("view",), LIVES, prior=3.0),
        Rate(("item",), (), ("view",), ("12h", "1d")),
    ],
)
def test_what_differs_in_more_than_half_lives_is_no_part(other: Any) -> None:
    for part in (Decay(("item",), half_life=("12h",)), Rate(("item",), (), ("view",), ("1h",))):
        assert list(State(toy_catalogue(), [part, other]).folds) == [part.name, other.name]


def test_the_same_half_lives_in_another_order_are_kept_once() -> None:
    one, other = Decay(half_life=("1h", "1d")), Decay(half_life=("1d", "1h"))
    state = State(toy_catalogue(), [one, other])
    assert list(state.folds) == [one.name]
    state.apply(toy_events(300))
    batch = toy_batch([9])
    np.testing.assert_array_equal(state.values(other.name, batch), state.values(one.name, batch)[::-1])


@dataclass
class Seen(Slotted):
    """How many events a key has had, as somebody else would write it: `update` and `read`, nothing more."""

    counts: Array = slots("events per slot", np.int64, 0.0)

    def update(self, slots: Array, events: Columns) -> None:
        np.add.at(self.counts, slots[slots >= 0], 1)

    def read(self, slots: Array, times: Array, now: int) -> Array:
        known = (slots >= 0) & (slots < len(self.counts))
        return np.where(known, self.counts[np.where(known, slots, 0)], 0).astype(np.float64)[None, :]


class Bare:
    """A fold that has what the contract asks for and no more."""

    by: tuple[str, ...] = ("item.tags",)
    kinds: tuple[str, ...] = ()
    name = "bare"

    def __init__(self) -> None:
        self.counts = np.zeros(1)

    def readings(self) -> tuple[str, ...]:
        return ("",)

    def bind(self, catalogue: Any) -> None:
        pass

    def grow(self, size: int) -> None:
        self.counts = np.concatenate([self.counts, np.zeros(max(size - len(self.counts), 0))])

    def clear(self, slots: Array) -> None:
        self.counts[slots] = 0.0

    def bytes(self) -> int:
        return 8

    def update(self, slots: Array, events: Columns) -> None:
        np.add.at(self.counts, slots[slots >= 0], 1.0)

    def read(self, slots: Array, times: Array, now: int) -> Array:
        known = (slots >= 0) & (slots < len(self.counts))
        return np.where(known, self.counts[np.where(known, slots, 0)], 0.0)[None, :]


def test_a_fold_that_only_reads_is_read_the_general_way() -> None:
    """By codes, pairs, lists, and of the request alone; as the built-in count of the same."""
    catalogue, batch = toy_catalogue(), toy_batch([20, 3, 0, 31])
    keys: list[tuple[str, ...]] = [("item",), ("user", "item.category"), ("item.tags",), ("user",), ()]
    state = State(catalogue, [*(Seen(by) for by in keys), Bare()])
    counted = State(catalogue, [Decay(by, half_life=("",)) for by in keys])
    for one in (state, counted):
        one.apply(toy_events(2000))
    for by in keys:
        expected = counted.values(Decay(by, half_life=("",)).name, batch)
        got = state.values(Seen(by).name, batch)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(state.values("bare", batch), state.values(Seen(("item.tags",)).name, batch))


@pytest.mark.parametrize("fold", ALL, ids=lambda fold: type(fold).__name__)
def test_fill_is_read_rounded_once(fold: Any) -> None:
    """Every built-in fold writes its readings itself, every cell of them, and `read` hands out the same."""
    assert isinstance(fold, Filled)
    made: Any = type(fold)()
    state = State(toy_catalogue(), [made])
    state.apply(toy_events(3000))
    own: Any = next(iter(state.folds.values()))
    size = len(own.readings())
    asked, times = np.array([0, 3, -1, 17, 10**6, 3]), np.array([99_000, 100_000, 101_000, 10**6, 5, 10**8])
    for when in (times, times[:1]):
        read = own.read(asked, when, state.now)
        assert read.dtype == np.float64
        for dtype in (np.float32, np.float64):
            out = np.full((size, len(asked)), 77.5, dtype=dtype)
            own.fill(asked, when, state.now, out)
            np.testing.assert_array_equal(out, read.astype(dtype))


@dataclass
class Halved(Decay):
    """A built-in fold whose reading somebody has changed."""

    def read(self, slots: Array, times: Array, now: int) -> Array:
        return super().read(slots, times, now) / 2


def test_a_read_that_was_written_over_counts() -> None:
    """Not the `fill` of the class below it."""
    fold = Halved(("item",))
    state, plain = State(toy_catalogue(), [fold]), State(toy_catalogue(), [Decay(("item",))])
    for one in (state, plain):
        one.apply(toy_events(500))
    batch = toy_batch([20])
    np.testing.assert_array_equal(state.values(fold.name, batch), plain.values(Decay(("item",)).name, batch) / 2)


@dataclass
class Mute(Slotted):
    """Neither reads nor fills."""

    counts: Array = slots("nothing", np.int64, 0.0)


@dataclass
class MuteToo(Filled):
    """Neither reads nor fills."""

    counts: Array = slots("nothing", np.int64, 0.0)


@pytest.mark.parametrize(("fold", "message"), [(Mute(), "Mute has no read"), (MuteToo(), "MuteToo has no fill")])
def test_a_fold_without_either_says_so(fold: Slotted, message: str) -> None:
    with pytest.raises(NotImplementedError, match=message):
        fold.read(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), 0)


def test_one_key_may_have_fewer_values() -> None:
    """Its coldest go as if the whole state were so bounded; the others keep theirs, and a snapshot knows."""
    log = toy_events(4000)
    pairs: list[Fold] = [Decay(("user", "item")), Decay(("user", "item.category"))]
    state = State(toy_catalogue(), pairs, keys=500, bounds={("user", "item"): 64, ("last", "item"): 3})
    alone = State(toy_catalogue(), pairs[:1], keys=64)
    for one in (state, alone):
        one.apply(log)
    batch = toy_batch([30, 40])
    np.testing.assert_array_equal(state.values(pairs[0].name, batch), alone.values(pairs[0].name, batch))
    assert [table.evicted > 0 for table in state.slots().values()] == [True, False]
    wide = State(toy_catalogue(), pairs[:1], keys=64, bounds={("user", "item"): 10**6})
    wide.apply(log)
    assert next(iter(wide.slots().values())).evicted == next(iter(alone.slots().values())).evicted


def test_readings_of_a_batch_are_worked_out_once_and_go_stale() -> None:
    state = State(toy_catalogue(), folds())
    state.apply(toy_events(500))
    batch = toy_batch([5, 9])
    for name in (Session().name, folds()[0].name):
        assert state.values(name, batch) is state.values(name, batch)
    before = state.values(folds()[0].name, batch)
    state.apply({name: column[:200] for name, column in toy_events(500, seed=4).items()})
    assert (state.values(folds()[0].name, batch) > before).any()


def test_what_the_state_does_not_keep_is_named() -> None:
    state = State(toy_catalogue(), [Decay()])
    for ask in (lambda: state.values("nothing", toy_batch([2])), lambda: state.fold("nothing")):
        with pytest.raises(ConfigError, match="no aggregate 'nothing' in the state; it keeps: decay"):
            ask()
    assert all(one.readings() for one in itertools.chain(state.folds.values()))
