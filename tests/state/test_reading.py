"""One request at a time reads all its aggregates in one compiled pass: to the bit what each reads alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch
from shortlist.state.fold.count import Count
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.first import First
from shortlist.state.fold.last import Last
from shortlist.state.fold.mean import Mean
from shortlist.state.fold.rate import Rate
from shortlist.state.fold.session import Session
from shortlist.state.fold.window import Window
from shortlist.state.state import State
from tests.state.toys import toy_batch, toy_catalogue, toy_events

KEYS: list[tuple[str, ...]] = [
    (), ("item",), ("user",), ("last",), ("device",), ("hour",), ("item.category",), ("item.tags",), ("user.region",),
    ("last.category",), ("user", "item"), ("item.category", "user.region"), ("device", "item.tags"), ("item.tags", "item"),
    ("item", "item.category"), ("user", "device"), ("weekday", "last"), ("user", "item.tags", "device"), ("user.region", "item", "hour"),
]  # fmt: skip


def every(by: tuple[str, ...]) -> list[Any]:
    """One of each fold that has an entry, and one that has none."""
    return [
        Count(by, ("buy",), weigh=True),
        Decay(by, ("click",), ("1h", "3h")),
        First(by, ("buy",)),
        Last(by),
        Mean(by, half_life="1d"),
        Rate(by, ("buy",), ("view",), ("1h", "")),
        Rate(by, ("buy",), ("view",), ("1h",), hold="1h"),
        Rate(by, ("buy",), ("view",), ("1h",), prior=0.0, lag="2h"),
        Session(by, gap="1h"),
        Window(by, length="2h", tiles=3),
    ]


def compared(state: State, batch: Batch) -> None:
    """Each request alone, all aggregates after one another, twice: the pass knows them all the second time; and all requests together,
    which are read one aggregate at a time."""
    together = {name: state.values(name, batch) for name in state.folds}
    for i in range(batch.n):
        for _ in range(2):
            alone = batch.request(i)
            for name, values in together.items():
                read = state.values(name, alone)
                assert read.dtype == np.float32
                np.testing.assert_array_equal(read, values[:, batch.offsets[i] : batch.offsets[i + 1]], err_msg=name)


@pytest.mark.parametrize("by", KEYS, ids=" x ".join)
def test_a_request_alone_reads_what_many_read_together(by: tuple[str, ...]) -> None:
    state = State(toy_catalogue(), every(by), keys=30)
    batch = toy_batch([11, 0, 7, 1], time=[99_000, 100_000, 100_100, 200_000])
    compared(state, batch)  # before anything happened
    log = toy_events(3000)
    done = 0
    for size in (1, 1, 40, 700, 2258):  # tables and arrays grow, move and evict on the way
        state.apply({name: column[done : done + size] for name, column in log.items()})
        done += size
        compared(state, batch)


def test_all_keys_together() -> None:
    state = State(toy_catalogue(), [fold for by in KEYS for fold in every(by)])
    state.apply(toy_events(2000))
    compared(state, toy_batch([15, 3], time=[99_000, 100_000]))


def test_arrays_that_move_are_found_again() -> None:
    """2,000 items make every array grow after the pass has learned where it was."""
    state = State(toy_catalogue(items=2000), every(("item",)))
    batch = toy_batch([50, 2], items=2000)
    state.apply(toy_events(50, items=900))
    compared(state, batch)
    before = [state.folds[name] for name in state.folds]
    places = [getattr(fold, "sums", None) for fold in before]
    state.apply(toy_events(3000, items=2000, seed=1))
    assert any(getattr(fold, "sums", None) is not place for fold, place in zip(before, places, strict=True))
    compared(state, batch)


@dataclass
class Doubled(Decay):
    """Reads anew, so the entry that it inherits is not its own."""

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        super().fill(slots, times, now, out)
        out *= 2.0


def test_a_fold_that_reads_anew_is_not_read_by_its_parents_entry() -> None:
    state = State(toy_catalogue(), [Doubled(("item",), half_life=("1h",)), Decay(("item",), half_life=("2h",))])
    state.apply(toy_events(500))
    batch = toy_batch([20, 1])
    compared(state, batch)
    plain = State(toy_catalogue(), [Decay(("item",), half_life=("1h",))])
    plain.apply(toy_events(500))
    doubled, single = next(iter(state.folds)), next(iter(plain.folds))
    np.testing.assert_array_equal(state.values(doubled, batch.request(0)), 2 * plain.values(single, batch.request(0)))


def test_histories_of_one_request_are_ends_of_the_longest() -> None:
    """Whoever asks first, for few or many or all: what many requests together read."""
    state = State(toy_catalogue(), [], history=12)
    state.apply(toy_events(600))
    batch = toy_batch([3, 3, 3, 3])
    for order in ((2, 5, 0, 30), (0, 2, 30, 5), (5, 2, 2, 0)):
        for events in ((), ("buy",)):
            expected = {last: state.past(batch, events, last) for last in order}
            for i in range(batch.n):
                alone = batch.request(i)
                for last in order:
                    past, many = state.past(alone, events, last), expected[last]
                    part = slice(many.offsets[i], many.offsets[i + 1])
                    assert past.offsets.tolist() == [0, part.stop - part.start]
                    for name in ("items", "times", "kinds", "values"):
                        np.testing.assert_array_equal(getattr(past, name), getattr(many, name)[part], err_msg=name)
