"""Per-user history: a ring buffer of the newest events of each user, in blocks that grow four-fold up to the ring's length,
so that memory follows what users really did: at most 16 bytes x 4 per kept event, and a third of it in outgrown blocks.

Both tables are records of 16 bytes without padding: users come in no order, so an event costs the two cache lines that it
touches, whatever is done with them, and columns would make that six."""

from __future__ import annotations

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.contracts import History
from shortlist.state.slotted import longer

FIRST = 4
SMALLEST = 1024
# Per user: where the block begins in the pool, its length, and how many events were ever appended.
USER = np.dtype([("start", np.int64), ("room", np.int32), ("total", np.int32)])
# `moment` is time << 8 | kind: what an event was costs no byte.
EVENT = np.dtype([("moment", np.int64), ("item", np.int32), ("value", np.float32)])


class Ring:
    """The newest `length` events of every user: item, time, kind, value; oldest first within a user, in log order."""

    def __init__(self, length: int = 512) -> None:
        self.length = length
        self.users = np.zeros(SMALLEST, dtype=USER)
        self.pool = np.zeros(SMALLEST, dtype=EVENT)
        self.used = 0  # pool entries given out

    def append(self, users: Array, items: Array, times: Array, kinds: Array, values: Array) -> None:
        """Add events in log order. All (e,); an event of user -1 is passed over."""
        highest = int(users.max(initial=-1))
        self.users = longer(self.users, highest + 1)
        done = 0
        while True:
            done, self.used = _append(
                self.users, self.pool, users, items, times, kinds, values, done, self.used, self.length
            )
            if done == len(users):
                return
            self.pool = longer(self.pool, self.used + self.length)

    def read(self, users: Array, last: int = 0) -> History:
        """The newest `last` (0 = all kept) events of each of (n,) users; none for -1 or a user never met."""
        users = np.ascontiguousarray(users, dtype=np.int32)
        offsets = _offsets(self.users, users, last if last > 0 else self.length)
        items = np.empty(offsets[-1], dtype=np.int32)
        times = np.empty(offsets[-1], dtype=np.int64)
        kinds = np.empty(offsets[-1], dtype=np.int8)
        values = np.empty(offsets[-1], dtype=np.float32)
        _gather(self.users, self.pool, users, offsets, items, times, kinds, values)
        return History(offsets, items, times, kinds, values)

    def forget(self, user: int) -> None:
        """A user's events are overwritten."""
        if user < len(self.users):
            start, room = int(self.users[user]["start"]), int(self.users[user]["room"])
            self.pool[start : start + room] = np.zeros(1, dtype=EVENT)
            self.users[user] = np.zeros(1, dtype=USER)

    def arrays(self) -> dict[str, Array]:
        """What a snapshot keeps."""
        return {"size": np.array([self.length, self.used]), "users": self.users, "pool": self.pool}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take a snapshot back."""
        self.length, self.used = (int(number) for number in arrays["size"])
        self.users, self.pool = arrays["users"], arrays["pool"]


@njit(cache=True, nogil=True)
def _append(
    table: Array,
    pool: Array,
    users: Array,
    items: Array,
    times: Array,
    kinds: Array,
    values: Array,
    first: int,
    used: int,
    length: int,
) -> tuple[int, int]:
    for i in range(first, len(users)):
        if users[i] < 0:
            continue
        user = table[users[i]]
        if user.total == user.room and user.room < length:  # the block is full, and may still grow
            want = min(max(user.room * 4, FIRST), length)
            if used + want > len(pool):
                return i, used  # the pool must grow first
            for j in range(user.room):
                pool[used + j] = pool[user.start + j]
            user.start, user.room = used, want
            used += want
        place = user.total if user.total < user.room else user.total % user.room
        event = pool[user.start + place]
        event.moment, event.item, event.value = (times[i] << 8) | np.int64(kinds[i]), items[i], values[i]
        user.total += 1
    return len(users), used


@njit(cache=True, nogil=True)
def _offsets(table: Array, users: Array, last: int) -> Array:
    offsets = np.zeros(len(users) + 1, dtype=np.int64)
    for i in range(len(users)):
        have = 0
        if 0 <= users[i] < len(table):
            have = min(table[users[i]].total, table[users[i]].room, last)
        offsets[i + 1] = offsets[i] + have
    return offsets


@njit(cache=True, nogil=True)
def _gather(
    table: Array, pool: Array, users: Array, offsets: Array, items: Array, times: Array, kinds: Array, values: Array
) -> None:
    for i in range(len(users)):
        count = offsets[i + 1] - offsets[i]
        if count == 0:
            continue
        user = table[users[i]]
        for j in range(count):
            event = pool[user.start + (user.total - count + j) % user.room]
            items[offsets[i] + j] = event.item
            times[offsets[i] + j] = event.moment >> 8
            kinds[offsets[i] + j] = event.moment & 0xFF
            values[offsets[i] + j] = event.value
