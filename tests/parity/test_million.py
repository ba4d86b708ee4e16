"""A million events, every fold, keys of every form: the state that a replay moves forward in big blocks and the state that a service
feeds event by event, in small batches, and across restarts, are equal to the bit, whenever they are asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import build, config, names
from shortlist.core.contracts import Fold
from shortlist.core.rng import rng
from shortlist.core.rows import offsets_of
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
from tests.state.test_folds import arrays_of
from tests.state.toys import runs, toy_catalogue

EVENTS = 1_000_000
ITEMS, USERS = 3_000, 20_000
KEYS = 15_000  # fewer than the pairs that come: keys are evicted
MOMENTS = (137, 250_001, 500_000, 777_777, EVENTS)
RESTARTS = MOMENTS[1:4:2]
FOLDS: list[Fold] = [
    Count(()),
    Count(("user", "item.category"), ("buy",)),
    Decay(("item",), ("click",), ("10m", "1h", "9h", "7d")),
    Decay(("item.tags",), (), ("10s",), weigh=True),
    Decay(("user.region", "item", "hour"), ("click", "view"), ("1h",)),
    Distinct(("user",)),
    Distinct(("item",), ("buy",), "user", pairs=20_000),
    Distinct(("user", "item.category"), ("view",)),
    First(("item",)),
    First(("last", "item.category")),
    Follow(room=20),
    Follow(("device",), ("buy",), last=5, within="5m", both=False),
    Gap(("user",)),
    Last(("user", "item.category"), ("click",)),
    Last(("device",)),
    Mean(("item.tags", "user.region"), ("buy",), "3h"),
    Mean(("item",)),
    Rate(("item",), ("buy",), ("view",), ("1h", "")),
    Rate(("user",), ("buy",), ("view",), ("1d",), weigh=True, hold="30m"),
    Rate(("user", "item.category"), ("click",), (), ("1h",), prior=0.0, lag="1h"),
    Rate(("last.category", "item.tags", "weekday"), ("buy",), ("view", "buy"), ("12h",)),
    Session(("user",), (), "10m"),
    Value(("user", "item.category")),
    Value(("item",)),
    Window(("item",), ("click",), "2h", 6),
    Window(("last", "item", "device", "hour"), (), "1d", 4),
]  # fmt: skip


def stream(size: int) -> Columns:
    """Ten days with ties and late events; users and items keep arriving, and so do values of the context column."""
    draw = rng(0, "million")
    time = np.sort(draw.integers(0, 10 * 86_400, size)) // 7 * 7
    late = draw.random(size) < 0.03
    time[late] -= draw.integers(0, 2 * 86_400, int(late.sum()))
    reach = 0.3 + 0.7 * np.arange(size) / size
    return {
        "user": (USERS * reach * draw.random(size) ** 3).astype(np.int32),
        "item": (ITEMS * reach * draw.random(size) ** 2).astype(np.int32),
        "time": time.astype(np.int64),
        "kind": draw.integers(0, 3, size).astype(np.int8),
        "value": np.where(draw.random(size) < 0.3, np.nan, draw.normal(size=size)).astype(np.float32),
        "position": draw.integers(-1, 10, size).astype(np.int32),
        "device": (draw.random(size) * reach * 7).astype(np.int32) - 1,
    }


def piece(log: Columns, first: int, last: int) -> Columns:
    return {name: column[first:last] for name, column in log.items()}


def live_pieces(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Where a service's batches begin and end: one event to two thousand, one of five a single event."""
    draw = rng(first, "pieces")
    while first < last:
        size = 1 if draw.random() < 0.2 else int(draw.integers(2, 2001))
        yield first, min(first + size, last)
        first += size


def empty() -> State:
    folds = [build("state.fold", config(fold)) for fold in FOLDS]
    return State(toy_catalogue(ITEMS, USERS), folds, history=16, history_events=("click", "buy"), keys=KEYS)


def requests(now: int, n: int = 60) -> Batch:
    """Users who have been there, will come, and never come; candidates likewise; times before, at and after the newest event."""
    draw = rng(now, "requests")
    offsets = offsets_of(draw.integers(0, 40, n))
    user = draw.integers(-1, USERS, n).astype(np.int32)
    user[::3] = draw.integers(0, 40, len(user[::3]))
    time = now + draw.choice([-100_000, -1, 0, 60, 4000, 10**6], n)
    device = draw.integers(-1, 8, n).astype(np.int32)
    item = np.concatenate([draw.permutation(ITEMS)[: b - a] for a, b in itertools.pairwise(offsets)])
    return Batch(Batch.of(user, time, device=device).req, offsets, {"item": item.astype(np.int32)})


def everything(state: State, batch: Batch) -> dict[str, Array]:
    """All that parts may read of a state."""
    found = {name: state.values(name, batch) for name in state.folds}
    history = state.past(batch, ("buy",), 5)
    found["history"], found["values"] = history.items, history.values
    weights = np.ones(len(history.items))
    for name, fold in state.folds.items():
        if isinstance(fold, Follow):
            time = np.maximum(batch.time, state.now)
            found[f"{name} beside"] = fold.weights(
                history.items, weights, history.offsets, batch.offsets, batch.item, time, 3600.0
            )
            found[f"{name} all"] = fold.neighbours(history.items[:5], weights[:5], state.now, 3600.0, ITEMS)
    found["seen"] = state.seen(batch.item)
    return found


def same(got: dict[str, Array], expected: dict[str, Array]) -> None:
    assert list(got) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name, strict=True)


@pytest.mark.slow
def test_replay_equals_live_over_a_million_events(tmp_path: Path) -> None:
    assert {type(fold).__module__.rpartition(".")[2] for fold in FOLDS} == set(names("state.fold"))
    log, replayed, live = stream(EVENTS), empty(), empty()
    for first, last in itertools.pairwise((0, *MOMENTS)):
        replayed.apply(piece(log, first, last))
        for a, b in live_pieces(first, last):
            live.apply(piece(log, a, b))
        batch = requests(replayed.now)
        expected = everything(replayed, batch)
        same(everything(live, Batch(batch.req, batch.offsets, batch.cand)), expected)
        for i in range(0, batch.n, 7):  # the service is asked one by one
            alone = everything(live, batch.request(i))
            for name in replayed.folds:
                rows = slice(batch.offsets[i], batch.offsets[i + 1])
                np.testing.assert_array_equal(alone[name], expected[name][:, rows], err_msg=name)
        if last in RESTARTS:
            live.snapshot(tmp_path / str(last))
            live = State.load(tmp_path / str(last), toy_catalogue(ITEMS, USERS))
    assert arrays_of(live) == arrays_of(replayed)
    assert live.count == EVENTS
    says_something(replayed, expected)


def says_something(state: State, found: dict[str, Array]) -> None:
    """Equal would be easy if nothing had happened."""
    for by in (("user", "item.category"), ("user.region", "item", "hour"), ("last", "item", "device", "hour")):
        assert state._slots[by].evicted > 1000, by
    fold: Any = state.folds[FOLDS[6].name]
    assert fold.evicted > 1000
    for name, kept in state.folds.items():
        for reading in kept.read(np.arange(KEYS), np.array([state.now]), state.now):
            assert len(np.unique(reading[np.isfinite(reading)])) > 1, name
    for name in found:
        if name.endswith(("beside", "all")):
            assert (found[name] > 0).sum() > 10, name


def test_the_stream_has_everything_in_it() -> None:
    log = stream(50_000)
    steps = np.diff(log["time"])
    assert (steps == 0).mean() > 0.05
    assert (steps < -86_400).mean() > 0.005
    for name in ("user", "item", "device"):
        first, last = (runs(np.array([0, 5000]), log[name][part])[0] for part in (slice(0, 5000), slice(-5000, None)))
        assert max(last) > max(first), name
    assert {-1, 5} <= set(log["device"].tolist())
