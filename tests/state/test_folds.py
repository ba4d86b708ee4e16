"""Every fold equals its definition, whatever the keys, kinds, ties, late events and chunks."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.batch import Columns
from shortlist.state.fold.count import Count
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.last import Last
from shortlist.state.fold.window import Window
from shortlist.state.state import State
from tests.state.folds import defined, key_of
from tests.state.toys import KINDS, events, toy_batch, toy_catalogue

BY = st.sampled_from(
    [
        (),
        ("item",),
        ("user",),
        ("device",),
        ("item.category",),
        ("user.region",),
        ("user", "item"),
        ("user", "item.category"),
        ("user.region", "item"),
        ("item", "device"),
    ]
)
KIND_SETS = st.sets(st.sampled_from(KINDS)).map(lambda names: tuple(sorted(names)))
START = 1_507_194_000  # a whole hour: the edge of a tile
DURATION = st.sampled_from(["1s", "10s", "7m", "1h", "3h", "1d"])


def any_fold(draw: st.DrawFn) -> Any:
    by, kinds = draw(BY), draw(KIND_SETS)
    kind = draw(st.sampled_from(["count", "decay", "window", "last"]))
    if kind == "count":
        return Count(by, kinds, weigh=draw(st.booleans()))
    if kind == "decay":
        return Decay(by, kinds, half_life=(draw(DURATION),), weigh=draw(st.booleans()))
    if kind == "window":
        return Window(by, kinds, length=draw(DURATION), tiles=draw(st.sampled_from([1, 2, 6, 7])))
    return Last(by, kinds)


def any_log(draw: st.DrawFn) -> Columns:
    """Up to 40 events; times mostly forward, often tied, sometimes late, sometimes far ahead."""
    size = draw(st.integers(0, 40))
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 5, 60, 3600, 90_000, -30, -4000]), min_size=size, max_size=size))
    columns = [
        draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        for low, high in ((0, 4), (0, 7), (0, 2), (-1, 1))
    ]
    value = draw(st.lists(st.sampled_from([1.0, 0.5, -2.0, 0.0, math.nan]), min_size=size, max_size=size))
    time = START + np.cumsum([0, *steps])[1:]
    return events(columns[0], columns[1], time.tolist(), columns[2], value, columns[3])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Any], Columns, int, list[int]]:
    """Folds, a log, when to read relative to the last event, and where to cut the log."""
    log = any_log(draw)
    cuts = sorted(draw(st.lists(st.integers(0, len(log["time"])), max_size=4)))
    wait = draw(st.sampled_from([0, 0, 1, 600, 7200, 200_000, -60, -5000]))
    return [any_fold(draw) for _ in range(draw(st.integers(1, 3)))], log, wait, cuts


def fed(folds: list[Any], log: Columns, cuts: list[int]) -> State:
    """A state that got the log in pieces."""
    state = State(toy_catalogue(8, 5), folds)
    edges = [0, *cuts, len(log["time"])]
    for first, last in itertools.pairwise(edges):
        state.apply({name: column[first:last] for name, column in log.items()})
    return state


@settings(max_examples=150)
@given(worlds())
def test_reading_equals_the_definition(world: tuple[list[Any], Columns, int, list[int]]) -> None:
    folds, log, wait, cuts = world
    state = fed(folds, log, cuts)
    last = int(log["time"].max(initial=START))
    batch = toy_batch([8, 0, 8, 8], items=8, users=5, time=[last + wait + 17 * i for i in range(4)])
    device = batch.spread(batch.req["device"])
    users, times = batch.spread(batch.user), batch.spread(batch.time)
    for fold in folds:
        got = state.read(fold.name, state.keys(fold.by, batch), times)[0]
        assert got.dtype == np.float64
        expected = [
            defined(fold, log, key_of(fold.by, int(users[i]), int(batch.item[i]), int(device[i])), int(times[i]))
            for i in range(batch.m)
        ]
        # The sums of forward decay are rounded relative to their largest term, not to what cancels out of them.
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9, err_msg=fold.name)


@settings(max_examples=60)
@given(worlds())
def test_chunks_do_not_matter_bit_for_bit(world: tuple[list[Any], Columns, int, list[int]]) -> None:
    folds, log, _, cuts = world
    whole = fed([type(fold)(**_options(fold)) for fold in folds], log, [])
    pieces = fed(folds, log, cuts)
    assert arrays_of(pieces) == arrays_of(whole)


def _options(fold: Any) -> dict[str, Any]:
    return {field: getattr(fold, field) for field in fold.__dataclass_fields__ if fold.__dataclass_fields__[field].init}


def arrays_of(state: State) -> dict[str, Any]:
    """Everything that a state holds, as bytes."""
    held: dict[str, Any] = {"now": state.now, "count": state.count, "met": state._met.tobytes()}
    for name, fold in state.folds.items():
        for field in fold.__dataclass_fields__.values():  # type: ignore[attr-defined]  # folds are dataclasses
            if field.metadata.get("fitted"):
                array = getattr(fold, field.name)
                held[f"{name}.{field.name}"] = (array.shape, array.tobytes())
    for by, slots in state._slots.items():
        held |= {f"{by}.{name}": (array.shape, array.tobytes()) for name, array in slots.arrays().items()}
    held |= {f"ring.{name}": (array.shape, array.tobytes()) for name, array in state._ring.arrays().items()}
    return held


def test_decay_over_thousands_of_half_lives() -> None:
    """Sums are scaled down on the way, exactly: the newest events keep full precision, old ones fade to zero."""
    fold, slow = Decay(("item",), half_life=("10s",)), Decay(("item",), half_life=("10s",))
    times = np.arange(0, 200_000, 7, dtype=np.int64)
    item = (np.arange(len(times)) % 3).astype(np.int64)
    blank = np.full(len(times), np.nan, dtype=np.float32)
    fold.update(item, times, blank)
    for start in range(0, len(times), 100):
        slow.update(item[start : start + 100], times[start : start + 100], blank[start : start + 100])
    assert fold.origin[1] >= 512 * 38
    assert fold.sums.tobytes() == slow.sums.tobytes()
    now = int(times[-1])
    expected = [sum(2.0 ** (-(now - int(t)) / 10) for t in times[item == i][-200:]) for i in range(3)]
    np.testing.assert_allclose(fold.read(np.arange(3), np.array([now]), now), expected, rtol=1e-9)
    assert fold.read(np.arange(3), np.array([now + 10**7]), now).tolist() == [0.0, 0.0, 0.0]


def test_decay_survives_one_jump_over_everything() -> None:
    fold = Decay(("item",), half_life=("1s",))
    fold.update(np.array([0, 1]), np.array([0, 10**9]), np.full(2, np.nan, dtype=np.float32))
    assert fold.read(np.array([0, 1]), np.array([10**9]), 10**9).tolist() == [0.0, 1.0]
    late = np.array([0, 1]), np.array([5, 10**9 - 1]), np.full(2, np.nan, dtype=np.float32)
    fold.update(*late)
    assert fold.read(np.array([0, 1]), np.array([10**9]), 10**9).tolist() == [0.0, 1.5]


def test_window_tiles_begin_where_they_should() -> None:
    """3600 / 7 seconds is not a float: dividing by it, a whole hour falls into the tile before."""
    fold = Window(length="1h", tiles=7)
    fold.update(np.array([0]), np.array([START]), np.full(1, np.nan, dtype=np.float32))
    read = fold.read(np.zeros(2, dtype=np.int64), np.array([START + 3599, START + 3600]), START)
    assert read.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("tiles", [1, 2, 6])
def test_window_takes_late_events_as_far_back_as_it_reaches(tiles: int) -> None:
    """One event, then a late one k tiles before it: counted while k < tiles, and never in the newest tile's place."""
    for back in range(3 * tiles):
        fold = Window(length="1h", tiles=tiles)
        times = np.array([START, START - back * 3600 // tiles])
        fold.update(np.zeros(2, dtype=np.int64), times, np.full(2, np.nan, dtype=np.float32))
        later = START + np.arange(tiles + 1) * 3600 // tiles
        read = fold.read(np.zeros(tiles + 1, dtype=np.int64), later, START)
        assert read.tolist() == [float((wait < tiles) + (back + wait < tiles)) for wait in range(tiles + 1)]


@pytest.mark.parametrize("fold", [Count(), Decay(), Window(), Last()])
def test_unknown_slots_read_as_never_met(fold: Any) -> None:
    blank = np.full(2, np.nan, dtype=np.float32)
    fold.update(np.array([-1, 0]), np.array([100, 100]), blank)
    nothing = fold.read(np.array([-1, 5, 10**9]), np.array([100]), 100)
    np.testing.assert_array_equal(nothing, np.full(3, np.nan if isinstance(fold, Last) else 0.0))
    once = fold.read(np.array([0]), np.array([100]), 100)
    assert once.tolist() == [0.0 if isinstance(fold, Last) else 1.0]


@pytest.mark.parametrize("fold", [Count(), Decay(), Window(tiles=3), Last()])
def test_growing_keeps_what_was(fold: Any) -> None:
    slots = np.array([0, 1023])
    fold.update(slots, np.array([100, 100]), np.ones(2, dtype=np.float32))
    before = fold.read(slots, np.array([200]), 100)
    fold.grow(1025)
    fold.update(np.array([1024]), np.array([100]), np.ones(1, dtype=np.float32))
    assert fold.read(slots, np.array([200]), 100).tolist() == before.tolist()
    assert fold.read(np.array([1024]), np.array([200]), 100).tolist() == before[:1].tolist()
    fold.grow(5)
    assert len(next(getattr(fold, name) for name in ("sums", "counts", "times") if hasattr(fold, name))) == 2048


def test_equal_folds_have_equal_names_and_others_not() -> None:
    folds = [
        Count(), Count(("user",)), Count(event=("buy",)), Count(weigh=True), Decay(), Decay(half_life=("2d",)),
        Decay(weigh=True), Window(), Window(tiles=3), Window(length="2h"), Last(), Last(("user", "item")),
    ]  # fmt: skip
    assert len({fold.name for fold in folds}) == len(folds)
    assert Decay(["item"], half_life=("1d",)).name == Decay().name  # type: ignore[arg-type]  # lists come from recipes
