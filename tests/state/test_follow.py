"""Live co-visitation against its definition in plain loops."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.batch import Array, Columns
from shortlist.core.errors import ConfigError
from shortlist.core.rng import rng
from shortlist.core.rows import offsets_of
from shortlist.state.fold.follow import Follow
from shortlist.state.state import State
from tests.state.folds import beside, rings
from tests.state.toys import events, toy_catalogue, toy_events

ITEMS = 12


def fed(fold: Follow, log: Columns, step: int = 0) -> Follow:
    """The fold after the log, in a state of its own, in pieces of `step`."""
    state, size = State(toy_catalogue(ITEMS, 5), [fold]), len(log["time"])
    for start in range(0, size, step or max(size, 1)):
        state.apply({name: column[start : start + (step or size)] for name, column in log.items()})
    return fold


def options(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "by": draw(st.sampled_from([("user",), ("user", "device"), ("user.region",)])),
        "event": draw(st.sampled_from([(), ("click",), ("buy", "view")])),
        "last": draw(st.integers(1, 4)),
        "room": draw(st.sampled_from([1, 2, 4, 5, 30])),
        "within": draw(st.sampled_from(["1m", "1h", "5d"])),
        "both": draw(st.booleans()),
    }


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, Any], Columns, int]:
    size, seed = draw(st.integers(0, 120)), draw(st.integers(0, 1000))
    log = toy_events(
        size, items=draw(st.sampled_from([3, ITEMS])), users=5, seed=seed, span=draw(st.sampled_from([600, 90_000]))
    )
    return options(draw), log, draw(st.integers(0, 5000))


def asked(draw: Any, n: int, items: int = ITEMS) -> tuple[Array, Array, Array, Array, Array]:
    """Anchors with weights and candidates of n requests: repeated anchors, some without anchors, some without candidates."""
    past = offsets_of(draw.integers(0, 5, n))
    owners = offsets_of(draw.integers(0, items + 1, n))
    anchors = draw.integers(-1, items + 1, past[-1]).astype(np.int32)
    found = [draw.permutation(items)[: b - a] for a, b in itertools.pairwise(owners)]
    return (
        anchors,
        draw.random(past[-1]),
        past,
        owners,
        np.concatenate([np.zeros(0, np.int32), *found]).astype(np.int32),
    )


@settings(max_examples=120)
@given(worlds())
def test_weights_equal_the_definition(world: tuple[dict[str, Any], Columns, int]) -> None:
    given_options, log, wait = world
    fold = fed(Follow(**given_options), log)
    entries = rings(fold, log)
    now = int(log["time"].max(initial=0))
    anchors, weights, past, owners, items = asked(rng(wait, "asked"), 6)
    times = now + wait * np.arange(6)
    got = fold.weights(anchors, weights, past, owners, items, times, 3600.0)
    assert got.dtype == np.float64
    expected = np.zeros((3, len(items)))
    for i in range(6):
        mine = range(past[i], past[i + 1])
        for row in range(owners[i], owners[i + 1]):
            counts = [beside(entries, int(anchors[j]), int(items[row]), int(times[i]), 3600.0) for j in mine]
            weighed = [weights[j] * count for j, count in zip(mine, counts, strict=True)]
            expected[:, row] = (sum(weighed), max(weighed, default=0.0), counts[-1] if counts else 0.0)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=0)
    for time in (now, now + wait):
        dense = fold.neighbours(anchors[: past[1]], weights[: past[1]], time, 600.0, ITEMS - 1)
        assert dense.dtype == np.float32
        sums = [
            sum(weights[j] * beside(entries, int(anchors[j]), x, time, 600.0) for j in range(past[1]))
            for x in range(ITEMS - 1)
        ]
        np.testing.assert_allclose(dense, sums, rtol=1e-6, atol=0)


def test_the_definition_by_hand() -> None:
    """One user: a, b, b again, c late by more than `within`, a."""
    log = events([0] * 5, [1, 2, 2, 3, 1], [1000, 1060, 1120, 0, 1180])
    fold = fed(Follow(within="10m"), log)
    expected = {1: [(2, 1060), (2, 1180)], 2: [(1, 1060), (1, 1180)]}
    assert rings(fold, log) == expected

    def one(a: int, x: int) -> list[float]:
        pair = np.array([0, 1])
        found = fold.weights(np.array([a]), np.ones(1), pair, pair, np.array([x]), np.array([1180]), 60.0)
        return [float(number) for number in found[:, 0]]

    assert one(1, 2) == [1.25, 1.25, 1.25]  # the second meeting 60 seconds ago would weigh a half, the first a quarter
    assert one(2, 1) == [1.25, 1.25, 1.25]
    assert one(3, 1) == one(1, 3) == [0.0, 0.0, 0.0]


def test_what_an_item_outgrows_is_the_next_ones() -> None:
    """Items become known one after the other: the pool is hardly longer than the rings, and no two rings share an entry."""
    count, room = 200, 64
    log = events(
        [0] * (2 * 40 * count), [item for a in range(count) for item in (a, 1000 + a) * 40], list(range(2 * 40 * count))
    )
    fold = fed(Follow(room=room, last=1), log)
    blocks = sorted((int(start), int(length)) for start, length, _ in fold.rings if length)
    assert len(blocks) == 2 * count
    for (start, length), (following, _) in itertools.pairwise(blocks):
        assert start + length <= following
    assert sum(length for _, length in blocks) == 2 * count * room
    assert fold.about[1] < 1.05 * 2 * count * room


@pytest.mark.parametrize("room", [1, 6, 64])
def test_a_batch_is_its_requests(room: int) -> None:
    """Bit for bit, in any order, and whatever was asked before; anchors and candidates that no event has named are no error."""
    fold = fed(Follow(room=room), toy_events(2000, items=ITEMS, users=5))
    anchors, weights, past, owners, items = asked(rng(3, "batch"), 40, ITEMS + 3)
    anchors[::7], items[::5] = 10**6, 10**6
    times = np.full(40, 100_000)
    together = fold.weights(anchors, weights, past, owners, items, times, 3600.0)
    assert (together > 0).any()
    for i in reversed(range(40)):
        a, b, c, d = past[i], past[i + 1], owners[i], owners[i + 1]
        alone = fold.weights(
            anchors[a:b], weights[a:b], np.array([0, b - a]), np.array([0, d - c]), items[c:d], times[:1], 3600.0
        )
        np.testing.assert_array_equal(alone, together[:, c:d])


def test_pieces_do_not_matter() -> None:
    """While rings, pool and the table of items grow."""
    log = toy_events(4000, items=3000, users=300, seed=2)
    catalogue, made = toy_catalogue(3000, 300), []
    for step in (4000, 371, 1):
        fold = Follow(room=20)
        state = State(catalogue, [fold])
        for start in range(0, 4000, step):
            state.apply({name: column[start : start + step] for name, column in log.items()})
        made.append([getattr(fold, name).tobytes() for name in ("seen", "memory", "rings", "pool", "about")])
    assert made[0] == made[1] == made[2]


def test_threads_have_scratch_of_their_own() -> None:
    fold = fed(Follow(), toy_events(3000, items=ITEMS, users=5))
    requests = [asked(rng(i, "threads"), 60) for i in range(4)]
    times = np.full(60, 100_000)
    expected = [fold.weights(*request, times, 3600.0) for request in requests]
    wrong: list[int] = []

    def ask(i: int) -> None:
        for _ in range(50):
            if not np.array_equal(fold.weights(*requests[i], times, 3600.0), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_times_far_from_the_first_event() -> None:
    """Before it, and further away than can be kept: cut to 68 years."""
    fold = fed(Follow(within="1h"), events([0, 0, 1, 1], [1, 2, 3, 4], [10**9, 10**9 - 60, 10**13, 10**13 + 5]))
    pair = np.array([0, 1])
    early = fold.weights(np.array([1]), np.ones(1), pair, pair, np.array([2]), np.array([10**9 - 60]), 60.0)
    assert early[0].tolist() == [1.0]
    far = fold.weights(np.array([3]), np.ones(1), pair, pair, np.array([4]), np.array([10**9 + 2**31 - 1]), 60.0)
    assert far[0].tolist() == [1.0]
    with pytest.raises(ConfigError, match="within '4000w' is longer than 68 years"):
        Follow(within="4000w")
