"""Per-user history: a ring buffer of the newest events of each user, in blocks that grow four-fold up to the ring's length,
so that memory follows what users really did: at most 13 bytes x 4 per kept event, and a third of it in outgrown blocks."""

from __future__ import annotations

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.contracts import History

FIRST = 4
SMALLEST = 1024


class Ring:
    """The newest `length` events of every user: item, time, kind; oldest first within a user, in log order."""

    def __init__(self, length: int = 512) -> None:
        self.length = length
        self.start = np.zeros(SMALLEST, dtype=np.int64)  # per user: where its block begins in the pool
        self.room = np.zeros(SMALLEST, dtype=np.int32)  # per user: length of its block
        self.total = np.zeros(SMALLEST, dtype=np.int64)  # per user: events ever appended
        self.items = np.zeros(SMALLEST, dtype=np.int32)  # the pool
        self.times = np.zeros(SMALLEST, dtype=np.int64)
        self.kinds = np.zeros(SMALLEST, dtype=np.int8)
        self.used = 0  # pool entries given out

    def append(self, users: Array, items: Array, times: Array, kinds: Array) -> None:
        """Add events in log order. All (e,); users >= 0."""
        if not len(users):
            return
        highest = int(users.max())
        if highest >= len(self.start):
            capacity = len(self.start)
            while capacity <= highest:
                capacity *= 2
            self.start = _longer(self.start, capacity)
            self.room = _longer(self.room, capacity)
            self.total = _longer(self.total, capacity)
        done = 0
        while True:
            done, self.used = _append(
                self.start, self.room, self.total, self.items, self.times, self.kinds,
                users, items, times, kinds, done, self.used, self.length,
            )  # fmt: skip
            if done == len(users):
                return
            capacity = 2 * len(self.items)
            while capacity < self.used + self.length:
                capacity *= 2
            self.items = _longer(self.items, capacity)
            self.times = _longer(self.times, capacity)
            self.kinds = _longer(self.kinds, capacity)

    def read(self, users: Array, last: int = 0) -> History:
        """The newest `last` (0 = all kept) events of each of (n,) users; none for -1 or a user never met."""
        users = np.ascontiguousarray(users, dtype=np.int32)
        offsets = _offsets(self.room, self.total, users, last if last > 0 else self.length)
        items = np.empty(offsets[-1], dtype=np.int32)
        times = np.empty(offsets[-1], dtype=np.int64)
        kinds = np.empty(offsets[-1], dtype=np.int8)
        _gather(
            self.start, self.room, self.total, self.items, self.times, self.kinds, users, offsets, items, times, kinds
        )
        return History(offsets, items, times, kinds)

    def arrays(self) -> dict[str, Array]:
        """What a snapshot keeps."""
        return {
            "size": np.array([self.length, self.used]),
            "start": self.start,
            "room": self.room,
            "total": self.total,
            "items": self.items,
            "times": self.times,
            "kinds": self.kinds,
        }

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take a snapshot back."""
        self.length, self.used = (int(number) for number in arrays["size"])
        self.start, self.room, self.total = arrays["start"], arrays["room"], arrays["total"]
        self.items, self.times, self.kinds = arrays["items"], arrays["times"], arrays["kinds"]


def _longer(array: Array, capacity: int) -> Array:
    grown = np.zeros(capacity, dtype=array.dtype)
    grown[: len(array)] = array
    return grown


@njit(cache=True, nogil=True)
def _append(
    start: Array, room: Array, total: Array, pool_items: Array, pool_times: Array, pool_kinds: Array,
    users: Array, items: Array, times: Array, kinds: Array, first: int, used: int, length: int,
) -> tuple[int, int]:  # fmt: skip
    for i in range(first, len(users)):
        user = users[i]
        have = room[user]
        if total[user] == have and have < length:  # the block is full, and may still grow
            want = min(max(have * 4, FIRST), length)
            if used + want > len(pool_items):
                return i, used  # the pool must grow first
            old = start[user]
            for j in range(have):
                pool_items[used + j] = pool_items[old + j]
                pool_times[used + j] = pool_times[old + j]
                pool_kinds[used + j] = pool_kinds[old + j]
            start[user] = used
            room[user] = want
            used += want
        spot = start[user] + total[user] % room[user]
        pool_items[spot] = items[i]
        pool_times[spot] = times[i]
        pool_kinds[spot] = kinds[i]
        total[user] += 1
    return len(users), used


@njit(cache=True, nogil=True)
def _offsets(room: Array, total: Array, users: Array, last: int) -> Array:
    offsets = np.zeros(len(users) + 1, dtype=np.int64)
    for i in range(len(users)):
        user = users[i]
        have = 0
        if 0 <= user < len(room):
            have = min(total[user], room[user], last)
        offsets[i + 1] = offsets[i] + have
    return offsets


@njit(cache=True, nogil=True)
def _gather(
    start: Array, room: Array, total: Array, pool_items: Array, pool_times: Array, pool_kinds: Array,
    users: Array, offsets: Array, items: Array, times: Array, kinds: Array,
) -> None:  # fmt: skip
    for i in range(len(users)):
        user = users[i]
        count = offsets[i + 1] - offsets[i]
        if count == 0:
            continue
        first = total[user] - count
        for j in range(count):
            spot = start[user] + (first + j) % room[user]
            items[offsets[i] + j] = pool_items[spot]
            times[offsets[i] + j] = pool_times[spot]
            kinds[offsets[i] + j] = pool_kinds[spot]
