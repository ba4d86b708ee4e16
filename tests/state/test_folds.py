"""Every fold equals its definition, whatever the keys, kinds, ties, late events and chunks."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.batch import Array, Columns
from shortlist.core.component import build, config, learned
from shortlist.core.errors import ConfigError
from shortlist.state.fold.count import Count
from shortlist.state.fold.decay import Decay
from shortlist.state.fold.distinct import Distinct
from shortlist.state.fold.first import First
from shortlist.state.fold.follow import Follow
from shortlist.state.fold.gap import Gap
from shortlist.state.fold.last import Last
from shortlist.state.fold.mean import Mean
from shortlist.state.fold.rate import Rate
from shortlist.state.fold.session import Session
from shortlist.state.fold.value import Value
from shortlist.state.fold.window import Window
from shortlist.state.state import State
from tests.state.folds import defined, keyed, keys_of, newest_items
from tests.state.toys import KINDS, events, toy_batch, toy_catalogue

BY: list[tuple[str, ...]] = [
    (), ("item",), ("user",), ("device",), ("item.category",), ("item.tags",), ("user.region",), ("last",), ("last.category",),
    ("hour",), ("weekday",),
    ("user", "item"), ("user", "item.category"), ("user.region", "item"), ("item", "device"), ("last", "item"),
    ("last.category", "item.category"), ("user", "item.tags"), ("item", "hour"), ("user", "last"),
    ("user.region", "item.category", "hour"), ("last", "item", "device"), ("user", "item.tags", "weekday"),
    ("user", "item", "device", "hour"), ("hour", "item.tags", "user.region", "last.category"),
]  # fmt: skip
KIND_SETS = st.sets(st.sampled_from(KINDS)).map(lambda names: tuple(sorted(names)))
START = 1_507_194_000  # a whole hour: the edge of a tile
DURATION = st.sampled_from(["1s", "10s", "7m", "1h", "3h", "1d"])
SLOW = st.sampled_from(["1d", "9d", ""])  # sums that are divided by each other: no fading away within a log
QUIET = st.sampled_from(["1s", "1m", "90m", "30h"])
VALUES = [1.0, 0.5, 3.0, 0.0, math.nan]


def any_fold(draw: st.DrawFn) -> Any:
    by, kinds = draw(st.sampled_from(BY)), draw(KIND_SETS)
    kind = draw(st.sampled_from([Count, Decay, Distinct, First, Follow, Gap, Last, Mean, Rate, Session, Value, Window]))
    if kind is Count:
        return Count(by, kinds, weigh=draw(st.booleans()))
    if kind is Decay:
        return Decay(by, kinds, tuple(draw(st.lists(DURATION, min_size=1, max_size=3))), weigh=draw(st.booleans()))
    if kind is Distinct:
        return Distinct(by, kinds, draw(st.sampled_from(["item", "user"])))
    if kind is Follow:
        return Follow(by, kinds, last=draw(st.integers(1, 4)), room=draw(st.sampled_from([1, 3, 20])))
    if kind is Mean:
        return Mean(by, kinds, draw(SLOW))
    if kind is Rate:
        hold, lag = draw(st.sampled_from([("", ""), (draw(QUIET), ""), ("", draw(QUIET))]))
        lives = tuple(draw(st.lists(SLOW, min_size=1, max_size=3)))
        prior = draw(st.sampled_from([0.0, 2.5, 20.0]))
        return Rate(by, kinds, draw(KIND_SETS), lives, prior, draw(st.booleans()), hold, lag)
    if kind is Session:
        return Session(by, kinds, draw(QUIET))
    if kind is Window:
        return Window(by, kinds, length=draw(DURATION), tiles=draw(st.sampled_from([1, 2, 6, 7])))
    return kind(by, kinds)


def any_log(draw: st.DrawFn, values: Sequence[float]) -> Columns:
    """Up to 40 events; times mostly forward, often tied, sometimes late, sometimes far ahead."""
    size = draw(st.integers(0, 40))
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 5, 60, 3600, 90_000, -30, -4000]), min_size=size, max_size=size))
    columns = [
        draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        for low, high in ((0, 4), (0, 7), (0, 2), (-1, 1))
    ]
    value = draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))
    time = START + np.cumsum([0, *steps])[1:]
    return events(columns[0], columns[1], time.tolist(), columns[2], value, columns[3])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Any], Columns, int, list[int]]:
    """Folds, a log, when to read relative to the last event, and where to cut the log."""
    folds = [any_fold(draw) for _ in range(draw(st.integers(1, 3)))]
    # What cancels out of a rate's numerator would be rounded relative to its largest term.
    log = any_log(draw, VALUES if any(isinstance(fold, Rate) for fold in folds) else [*VALUES, -2.0])
    cuts = sorted(draw(st.lists(st.integers(0, len(log["time"])), max_size=4)))
    wait = draw(st.sampled_from([0, 0, 1, 600, 7200, 200_000, -60, -5000]))
    return folds, log, wait, cuts


def fed(folds: list[Any], log: Columns, cuts: list[int]) -> State:
    """A state that got the log in pieces."""
    state = State(toy_catalogue(8, 5), folds)
    edges = [0, *cuts, len(log["time"])]
    for first, last in itertools.pairwise(edges):
        state.apply({name: column[first:last] for name, column in log.items()})
    return state


@settings(max_examples=200)
@given(worlds())
def test_reading_equals_the_definition(world: tuple[list[Any], Columns, int, list[int]]) -> None:
    """As candidates read it, and so every form of a key; by a column of lists, the mean over the entries."""
    folds, log, wait, cuts = world
    state = fed(folds, log, cuts)
    latest = int(log["time"].max(initial=START))
    batch = toy_batch([8, 0, 8, 3], items=8, users=5, time=[latest + wait + 17 * i for i in range(4)])
    device, users, times = (batch.spread(batch.req[name]).tolist() for name in ("device", "user", "time"))
    _, newest = newest_items(log)
    for fold in folds:
        got = state.values(fold.name, batch)
        assert got.dtype == np.float32
        assert got.shape == (len(fold.readings()), batch.m)
        for i in range(batch.n):  # one request alone takes a path of its own
            rows = slice(batch.offsets[i], batch.offsets[i + 1])
            np.testing.assert_array_equal(state.values(fold.name, batch.request(i)), got[:, rows], err_msg=fold.name)
        handed, known = keyed(fold, log), dict[Any, list[float]]()
        expected = np.full(got.shape, np.nan)
        for i in range(batch.m):
            keys = keys_of(fold.by, users[i], int(batch.item[i]), device[i], newest.get(users[i], -1), times[i])
            for key in keys:
                if (key, times[i]) not in known:
                    known[key, times[i]] = defined(fold, log, handed, key, times[i])
            for j in range(len(got)):
                entries = [known[key, times[i]][j] for key in keys if not math.isnan(known[key, times[i]][j])]
                expected[j, i] = sum(entries) / len(entries) if entries else math.nan
        np.testing.assert_allclose(got, expected, rtol=3e-7, atol=1e-7, err_msg=fold.name)


@settings(max_examples=100)
@given(worlds())
def test_reading_by_key_equals_the_definition(world: tuple[list[Any], Columns, int, list[int]]) -> None:
    """In double precision, by one column of codes."""
    folds, log, wait, cuts = world
    latest = int(log["time"].max(initial=START))
    for fold in folds:
        fold.by = ("item",)
    state = fed(folds, log, cuts)
    for fold in folds:
        got = state.read(fold.name, np.arange(-1, 9), np.array([latest + wait]))
        assert got.dtype == np.float64
        handed = keyed(fold, log)
        expected = [defined(fold, log, handed, (item,) if item >= 0 else None, latest + wait) for item in range(-1, 9)]
        # Sums are rounded relative to their largest term; a deviation is the root of such a sum.
        close = 1e-7 if isinstance(fold, Mean) else 1e-9
        np.testing.assert_allclose(got.T, expected, rtol=1e-9, atol=close, err_msg=fold.name)


@settings(max_examples=100)
@given(worlds())
def test_chunks_do_not_matter_bit_for_bit(world: tuple[list[Any], Columns, int, list[int]]) -> None:
    folds, log, _, cuts = world
    whole = fed([build("state.fold", config(fold)) for fold in folds], log, [])
    pieces = fed(folds, log, cuts)
    assert arrays_of(pieces) == arrays_of(whole)


def arrays_of(state: State) -> dict[str, Any]:
    """Everything that a state holds, as bytes."""
    held: dict[str, Any] = {"now": state.now, "count": state.count, "met": state._met.tobytes()}
    held |= {"previous": state._previous.tobytes(), "arrived": state._arrived}
    for name, fold in state.folds.items():
        for field in learned(fold):
            array = getattr(fold, field)
            held[f"{name}.{field}"] = (array.shape, array.tobytes())
    for by, slots in state._slots.items():
        held |= {f"{by}.{name}": (array.shape, array.tobytes()) for name, array in slots.arrays().items()}
    held |= {f"ring.{name}": (array.shape, array.tobytes()) for name, array in state._ring.arrays().items()}
    return held


def given_to(fold: Any, slots: Sequence[int] | Array, times: Sequence[int] | Array, values: Any = None) -> None:
    """Events of kind 0 into a fold alone; without values unless given."""
    size = len(slots)
    columns = {
        "time": np.asarray(times, dtype=np.int64),
        "value": np.full(size, np.nan, dtype=np.float32) if values is None else np.asarray(values, dtype=np.float32),
        "kind": np.zeros(size, dtype=np.int8),
        "item": np.arange(size, dtype=np.int32),
        "user": np.arange(size, dtype=np.int32),
    }
    fold.update(np.asarray(slots, dtype=np.int64), columns)


def asked(fold: Any, slots: Sequence[int] | Array, times: Sequence[int] | Array, now: int) -> Any:
    """The first reading."""
    return fold.read(np.asarray(slots, dtype=np.int64), np.asarray(times, dtype=np.int64), now)[0]


def test_decay_over_thousands_of_half_lives() -> None:
    """Sums are scaled down on the way, exactly: the newest events keep full precision, old ones fade to zero. Each half-life on
    its own."""
    fold, slow = Decay(("item",), half_life=("10s", "1h")), Decay(("item",), half_life=("10s", "1h"))
    times = np.arange(0, 200_000, 7, dtype=np.int64)
    item = (np.arange(len(times)) % 3).astype(np.int64)
    given_to(fold, item, times)
    for start in range(0, len(times), 100):
        given_to(slow, item[start : start + 100], times[start : start + 100])
    assert fold.origin[1] >= 512 * 38
    assert fold.origin[2] == 0
    assert fold.sums.tobytes() == slow.sums.tobytes()
    now = int(times[-1])
    for j, life in enumerate((10, 3600)):
        expected = [math.fsum(2.0 ** (-(now - int(t)) / life) for t in times[item == i]) for i in range(3)]
        np.testing.assert_allclose(fold.read(np.arange(3), np.array([now]), now)[j], expected, rtol=1e-9)
    assert asked(fold, [0, 1, 2], [now + 10**7], now).tolist() == [0.0, 0.0, 0.0]


def test_decay_survives_one_jump_over_everything() -> None:
    fold = Decay(("item",), half_life=("1s",))
    given_to(fold, [0, 1], [0, 10**9])
    assert asked(fold, [0, 1], [10**9], 10**9).tolist() == [0.0, 1.0]
    given_to(fold, [0, 1], [5, 10**9 - 1])
    assert asked(fold, [0, 1], [10**9], 10**9).tolist() == [0.0, 1.5]


def test_means_and_rates_over_thousands_of_half_lives() -> None:
    """What is scaled down with the sums: all of theirs, and the totals of all keys."""
    times = np.arange(0, 40_000, 5, dtype=np.int64)
    values = np.random.default_rng(0).normal(5.0, 1.0, len(times)).astype(np.float32)
    slot = (np.arange(len(times)) % 2).astype(np.int64)
    now = int(times[-1])
    weight = 2.0 ** ((times - now) / 10)
    mean, rate = Mean(half_life="10s"), Rate(half_life=("10s",), weigh=True, prior=0.0, hold="1h")
    smooth = Rate(half_life=("10s",), weigh=True, prior=3.0)
    for fold in (mean, rate, smooth):
        fold.bind(toy_catalogue())
        given_to(fold, slot, times, values)
        assert fold.origin[1] >= 512 * 7
    for i in (0, 1):
        own = weight * (slot == i)
        expected = (own * values).sum() / own.sum()
        spread = math.sqrt((own * (values - expected) ** 2).sum() / own.sum())
        got = mean.read(np.array([i]), np.array([now]), now)[:, 0]
        np.testing.assert_allclose(got, [expected, spread, own.sum()], rtol=1e-7)
        assert asked(rate, [i], [now + 3601], now)[0] == pytest.approx(expected, rel=1e-7)
        base = (weight * values).sum() / weight.sum()
        assert asked(rate, [i], [now + 3595], now)[0] == pytest.approx(base, rel=1e-7)  # the session runs
        expected = ((own * values).sum() + 3 * base) / (own.sum() + 3)
        assert asked(smooth, [i], [now], now)[0] == pytest.approx(expected, rel=1e-7)


def test_window_tiles_begin_where_they_should() -> None:
    """3600 / 7 seconds is not a float: dividing by it, a whole hour falls into the tile before."""
    fold = Window(length="1h", tiles=7)
    given_to(fold, [0], [START])
    assert asked(fold, [0, 0], [START + 3599, START + 3600], START).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("tiles", [1, 2, 6])
def test_window_takes_late_events_as_far_back_as_it_reaches(tiles: int) -> None:
    """One event, then a late one k tiles before it: counted while k < tiles, and never in the newest tile's place."""
    for back in range(3 * tiles):
        fold = Window(length="1h", tiles=tiles)
        given_to(fold, [0, 0], [START, START - back * 3600 // tiles])
        later = START + np.arange(tiles + 1) * 3600 // tiles
        read = asked(fold, np.zeros(tiles + 1), later, START)
        assert read.tolist() == [float((wait < tiles) + (back + wait < tiles)) for wait in range(tiles + 1)]


def test_mean_keeps_its_digits() -> None:
    """Values far from zero, an outlier first: a sum of squares would say nothing about the spread."""
    fold = Mean()
    values = np.array([1e9, *(1e6 + np.arange(1000) % 2)], dtype=np.float32)
    given_to(fold, np.zeros(len(values)), np.arange(len(values)), values)
    given_to(fold, np.ones(1000), np.arange(1000), values[1:])
    mean, std, count = fold.read(np.array([1]), np.array([5000]), 5000)[:, 0]
    assert (mean, count) == (1e6 + 0.5, 1000)
    assert std == pytest.approx(0.5, rel=1e-9)


def test_distinct_forgets_the_coldest_pairs() -> None:
    """Against a model in plain loops: 32 pairs; a new one drives out the two that were longest without an event."""
    draw = np.random.default_rng(3)
    for seen in (20, 40, 200):
        fold, pieces = Distinct(pairs=32), Distinct(pairs=32)
        slots = draw.integers(-1, 6, seen)
        codes = draw.integers(0, 12, seen).astype(np.int32)
        live: dict[tuple[int, int], int] = {}
        counts, evicted = [0] * 6, 0
        for i, pair in enumerate(zip(slots.tolist(), codes.tolist(), strict=True)):
            if pair[0] < 0:
                continue
            if pair not in live:
                if len(live) == 32:
                    for gone in sorted(live, key=lambda one: live[one])[:2]:
                        del live[gone]
                    evicted += 2
                counts[pair[0]] += 1
            live[pair] = i
        fold.update(slots, {"item": codes})
        for start in range(0, seen, 7):
            pieces.update(slots[start : start + 7], {"item": codes[start : start + 7]})
        assert asked(fold, np.arange(6), [0], 0).tolist() == counts
        assert fold.evicted == evicted
        assert (evicted > 0) == (seen > 60)
        for name in learned(fold):
            assert getattr(fold, name).tobytes() == getattr(pieces, name).tobytes()


def test_distinct_forgets_the_pairs_of_a_cleared_slot() -> None:
    fold = Distinct()
    fold.update(np.array([0, 0, 1, 1, 1]), {"item": np.array([5, 6, 5, 7, 8], dtype=np.int32)})
    fold.clear(np.array([0, 9000]))
    assert asked(fold, [0, 1], [0], 0).tolist() == [0.0, 3.0]
    fold.update(np.array([0, 1]), {"item": np.array([5, 5], dtype=np.int32)})
    assert asked(fold, [0, 1], [0], 0).tolist() == [1.0, 3.0]


ALL = [
    Count(),
    Decay(),
    Distinct(),
    First(),
    Follow(),
    Gap(),
    Last(),
    Mean(),
    Rate(),
    Session(),
    Value(),
    Window(tiles=3),
]
NEVER_MET = {"First": [math.nan], "Last": [math.nan], "Value": [math.nan], "Mean": [math.nan, math.nan, 0.0],
             "Gap": [math.nan] * 2, "Session": [0.0, 0.0, math.nan, 0.0, math.nan], "Rate": [1.0]}  # fmt: skip


@pytest.mark.parametrize("kind", [type(fold) for fold in ALL])
def test_unknown_slots_read_as_never_met(kind: Any) -> None:
    fold = kind()
    fold.bind(toy_catalogue())
    given_to(fold, [-1, 0, 0], [90, 100, 110], [5.0, 1.0, 1.0])
    nothing = fold.read(np.array([-1, 5, 10**9]), np.array([130]), 110)
    expected = NEVER_MET.get(kind.__name__, [0.0])
    np.testing.assert_array_equal(nothing.T, [expected] * 3)
    once = fold.read(np.array([0]), np.array([130]), 110)[:, 0].tolist()
    assert (once != expected) == (kind is not Rate)  # a key at the rate of all keys reads as they do


@pytest.mark.parametrize("kind", [type(fold) for fold in ALL])
def test_growing_keeps_what_was(kind: Any) -> None:
    fold = kind()
    fold.bind(toy_catalogue())
    given_to(fold, [0, 1023, 0, 1023], [100, 100, 107, 107], np.ones(4))
    before = fold.read(np.array([0, 1023]), np.array([200]), 107)
    fold.grow(1025)
    given_to(fold, [1024, 1024], [100, 107], np.ones(2))
    after = fold.read(np.array([0, 1023, 1024]), np.array([200]), 107)
    np.testing.assert_array_equal(after[:, :2], before)
    np.testing.assert_array_equal(after[:, 2], before[:, 0])
    fold.grow(5)
    for field in fold.__dataclass_fields__.values():
        if "slots" in field.metadata:
            assert len(getattr(fold, field.name)) == 1152  # an eighth more


def test_memory_is_told() -> None:
    """Per slot; two half-lives of a rate with what it holds back are 72 bytes."""
    assert Rate(half_life=("1d", "7d")).bytes() == 32
    assert Rate(half_life=("1d", "7d"), lag="1d").bytes() == 72
    assert Window(tiles=6).bytes() == 32
    assert [fold.bytes() <= 64 for fold in ALL] == [True] * len(ALL)


def test_equal_folds_have_equal_names_and_others_not() -> None:
    folds = [
        *ALL, Count(("user",)), Count(event=("buy",)), Count(weigh=True), Decay(half_life=("2d",)),
        Decay(half_life=("1d", "2d")), Decay(weigh=True), Window(), Window(length="2h"), Last(("user", "item")),
        Rate(over=("buy",)), Rate(event=("buy",)), Rate(hold="1d"), Rate(lag="1d"), Rate(prior=1.0), Rate(half_life=("1d", "")),
    ]  # fmt: skip
    assert len({fold.name for fold in folds}) == len(folds)
    assert Decay(["item"], half_life=("1d",)).name == Decay().name  # type: ignore[arg-type]  # lists come from recipes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hold": "1h", "lag": "1d"}, r"rate: hold '1h' and lag '1d' exclude each other"),
        ({"hold": "0s"}, r"rate: hold must be longer than nothing"),
        ({"half_life": ["1"]}, r"rate: half_life: not a duration: '1'; write a number and a unit"),
        ({"half_life": []}, r"rate: half_life is empty"),
        ({"prior": -1.0}, r"prior: -1.0 is out of range"),
    ],
)
def test_rates_that_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("state.fold", {"type": "rate", **options})


def test_a_kind_named_twice_is_one_kind() -> None:
    """Two names of three kinds are not all kinds, and three names of two are not either."""
    fold = Count(event=("buy", "buy", "buy"))
    assert fold.name == Count(event=("buy",)).name
    state = State(toy_catalogue(), [fold])
    state.apply(events([0, 0], [1, 1], [5, 6], kind=[0, 1]))
    assert state.read(fold.name, np.array([1]), np.array([9])).tolist() == [[1.0]]
