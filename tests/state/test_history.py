import itertools
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.batch import Columns
from shortlist.core.contracts import History
from shortlist.state.history import Ring
from tests.state.toys import runs, toy_events


def lists(history: History) -> list[list[tuple[Any, ...]]]:
    """Per user: (item, time, kind, value), a missing value as None."""
    columns = [
        runs(history.offsets, column) for column in (history.items, history.times, history.kinds, history.values)
    ]
    return [
        [(*rest, None if np.isnan(value) else value) for *rest, value in zip(*one, strict=True)]
        for one in zip(*columns, strict=True)
    ]


def event(log: Columns, e: int) -> tuple[Any, ...]:
    """One event of a log as `lists` has it."""
    value = float(log["value"][e])
    return int(log["item"][e]), int(log["time"][e]), int(log["kind"][e]), None if np.isnan(value) else value


def append(ring: Ring, log: Columns) -> None:
    ring.append(log["user"], log["item"], log["time"], log["kind"], log["value"])


@settings(max_examples=40)
@given(
    length=st.sampled_from([1, 2, 3, 4, 5, 16, 17, 40]),
    sizes=st.lists(st.integers(0, 120), max_size=5),
    users=st.integers(1, 6),
    last=st.integers(0, 45),
    seed=st.integers(0, 1000),
)
def test_equals_a_deque_per_user(length: int, sizes: list[int], users: int, last: int, seed: int) -> None:
    """Growth (4, 8, 16 ...), wrap-around and reading the newest few."""
    ring, queues = Ring(length), [deque[tuple[Any, ...]](maxlen=length) for _ in range(users)]
    for i, size in enumerate(sizes):
        log = toy_events(size, users=users, seed=seed + i)
        append(ring, log)
        for e in range(size):
            queues[log["user"][e]].append(event(log, e))
    asked = np.array([*range(users), -1, users, 10**6, 0])
    expected = [list(queue)[-last if last else 0 :] for queue in queues]
    history = ring.read(asked, last)
    assert lists(history) == [*expected, [], [], [], expected[0]]
    columns = (history.items, history.times, history.kinds, history.values)
    assert [column.dtype for column in columns] == [np.int32, np.int64, np.int8, np.float32]
    assert lists(ring.read(asked).last(last)) == lists(history)


def test_many_users_make_the_tables_grow_whatever_the_pieces() -> None:
    log = toy_events(30_000, users=5000, seed=3)
    whole, pieces = Ring(20), Ring(20)
    append(whole, log)
    for start in range(0, 30_000, 1234):
        append(pieces, {name: column[start : start + 1234] for name, column in log.items()})
    for name, array in whole.arrays().items():
        assert pieces.arrays()[name].tobytes() == array.tobytes()
    user = int(log["user"][-1])
    mine = np.flatnonzero(log["user"] == user)[-20:]
    assert whole.read(np.array([user])).items.tolist() == log["item"][mine].tolist()


def test_unknown_users_are_passed_over() -> None:
    ring = Ring(4)
    log = toy_events(50, users=3)
    append(ring, log | {"user": np.where(log["user"] == 1, np.int32(-1), log["user"])})
    assert [len(events) for events in lists(ring.read(np.array([0, 1, 2, -1])))] == [4, 0, 4, 0]


def test_times_before_1970_and_far_ahead() -> None:
    """A time shares its word with the kind."""
    ring = Ring(8)
    log = toy_events(6, users=1) | {"time": np.array([-1, -(2**40), 2**40, 0, -256, 255], dtype=np.int64)}
    append(ring, log | {"kind": np.array([0, 127, 127, 5, 1, 0], dtype=np.int8)})
    history = ring.read(np.array([0]))
    assert history.times.tolist() == [-1, -(2**40), 2**40, 0, -256, 255]
    assert history.kinds.tolist() == [0, 127, 127, 5, 1, 0]


@pytest.mark.parametrize("k", [0, 1, 3, 100])
def test_history_selects_kinds_and_the_newest(k: int) -> None:
    log = toy_events(60, users=4)
    ring = Ring(50)
    append(ring, log)
    for users in (np.array([2]), np.array([0, 1, 2, 3, -1])):
        everything = lists(ring.read(users))
        history = ring.read(users).of_kinds(np.array([0, 2], dtype=np.int8))
        expected = [[event for event in events if event[2] in (0, 2)] for events in everything]
        assert lists(history) == expected
        assert lists(history.last(k)) == [events[-k:] if k else events for events in expected]
        assert lists(history.of_kinds(np.zeros(0, dtype=np.int8))) == [[] for _ in users]


def test_outgrown_blocks_are_given_out_again() -> None:
    """No user has more than twice the room that he needs, and what one has outgrown the next one takes. A ring that was written and
    read back gives out the same blocks."""
    ring, copy = Ring(64), Ring(64)
    log = toy_events(20_000, users=400, seed=5)
    append(ring, {name: column[:9000] for name, column in log.items()})
    copy.restore({name: array.copy() for name, array in ring.arrays().items()})
    assert (ring.outgrown >= 0).any()
    for one in (ring, copy):
        append(one, {name: column[9000:] for name, column in log.items()})
    for name, array in ring.arrays().items():
        assert copy.arrays()[name].tobytes() == array.tobytes(), name
    rooms = ring.users["room"][:400].astype(int)
    kept = np.minimum(ring.users["total"][:400], 64).sum()
    blocks = sorted(zip(ring.users["start"][:400].tolist(), (ring.users["start"][:400] + rooms).tolist(), strict=True))
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(blocks)), "two users share a block"
    assert rooms.sum() <= 2 * kept
    used, free = ring.used, ring.used - rooms.sum()
    late = toy_events(1200, users=100, seed=6)
    append(ring, late | {"user": late["user"] + np.int32(400)})  # newcomers take what the others have left
    assert free > ring.users["room"][400:500].sum() > 100
    assert ring.used == used


def test_of_kinds_straight_from_the_ring() -> None:
    """The newest of some kinds, as if the others had been taken out of all that is kept."""
    ring, log = Ring(16), toy_events(400, users=5, seed=2)
    append(ring, log)
    users = np.array([3, -1, 0, 99, 1, 2, 4])
    for kinds in ([0], [1, 2], [], [0, 1, 2, 3]):
        wanted = np.zeros(128, dtype=bool)
        wanted[kinds] = True
        for last in (0, 1, 3, 100):
            expected = ring.read(users).of_kinds(np.array(kinds, dtype=np.int8)).last(last)
            assert lists(ring.read(users, last, wanted)) == lists(expected)


@pytest.mark.parametrize("length", [3, 4, 6, 64])
def test_a_forgotten_users_events_are_nowhere(length: int) -> None:
    """Neither in his block nor in those that he has outgrown; the next user gets the block, and the others keep what they have."""
    ring, log = Ring(length), toy_events(2000, users=9, seed=8)
    log |= {"item": np.where(log["user"] == 4, np.int32(777), log["item"])}
    append(ring, log)
    assert (ring.pool["item"] == 777).any()
    others = np.array([0, 1, 2, 3, 5, 6, 7, 8])
    before, used = lists(ring.read(others)), ring.used
    ring.forget(4)
    ring.forget(4)
    ring.forget(10**6)
    assert not (ring.pool["item"] == 777).any()
    assert lists(ring.read(np.array([4]))) == [[]]
    mine = log["user"] == 3
    append(ring, {name: column[mine] for name, column in log.items()} | {"user": np.full(int(mine.sum()), 9, np.int32)})
    assert ring.used - used < length + 2 * 4  # only the small blocks on the way, at most
    assert lists(ring.read(others)) == before
    assert lists(ring.read(np.array([9]))) == [before[3]]
