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
    """Growth (4, 16, 64 ...), wrap-around and reading the newest few."""
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
