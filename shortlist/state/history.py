"""Per-user history: a ring buffer of the newest events of each user, in blocks that double up to the ring's length, so that memory
follows what users really did: at most 16 bytes x 2 per kept event, and what is outgrown goes to the next who needs that much.

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


EVERY = np.zeros(0, dtype=bool)  # kinds: all of them


class Ring:
    """The newest `length` events of every user: item, time, kind, value; oldest first within a user, in log order."""

    def __init__(self, length: int = 512) -> None:
        self.length = length
        self.users = np.zeros(SMALLEST, dtype=USER)
        self.pool = np.zeros(SMALLEST, dtype=EVENT)
        self.used = 0  # pool entries given out
        # Per size of block (4, 8, 16 ...): where an outgrown one begins, -1 = none. Each holds the next one's beginning as its first
        # `moment`.
        self.outgrown = np.full(64, -1, dtype=np.int64)

    def append(self, users: Array, items: Array, times: Array, kinds: Array, values: Array) -> None:
        """Add events in log order. All (e,); an event of user -1 is passed over."""
        highest = int(users.max(initial=-1))
        self.users = longer(self.users, highest + 1)
        done = 0
        while True:
            done, self.used = _append(
                self.users, self.pool, self.outgrown, users, items, times, kinds, values, done, self.used, self.length
            )
            if done == len(users):
                return
            self.pool = longer(self.pool, self.used + self.length)

    def read(self, users: Array, last: int = 0, wanted: Array = EVERY) -> History:
        """The newest `last` (0 = all kept) events of each of (n,) users; none for -1 or a user never met. wanted: (128,) bool, only
        events of these kinds."""
        users = np.ascontiguousarray(users, dtype=np.int32)
        offsets = np.empty(len(users) + 1, dtype=np.int64)
        size = _offsets(self.users, self.pool, users, last if last > 0 else self.length, wanted, offsets)
        items = np.empty(size, dtype=np.int32)
        times = np.empty(size, dtype=np.int64)
        kinds = np.empty(size, dtype=np.int8)
        values = np.empty(size, dtype=np.float32)
        _gather(self.users, self.pool, users, wanted, offsets, items, times, kinds, values)
        return History(offsets, items, times, kinds, values)

    def forget(self, user: int) -> None:
        """A user's events are overwritten, and the block is the next one's."""
        if user < len(self.users):
            start, room = int(self.users[user]["start"]), int(self.users[user]["room"])
            if room:
                size = (min(FIRST, self.length), 0)
                while size[0] < room:
                    size = min(2 * size[0], self.length), size[1] + 1
                _given_back(self.pool, self.outgrown, start, room, size[1])
            self.users[user] = np.zeros(1, dtype=USER)

    def arrays(self) -> dict[str, Array]:
        """What a snapshot keeps."""
        size = np.array([self.length, self.used])
        return {"size": size, "users": self.users, "pool": self.pool, "outgrown": self.outgrown}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take a snapshot back."""
        self.length, self.used = (int(number) for number in arrays["size"])
        self.users, self.pool, self.outgrown = arrays["users"], arrays["pool"], arrays["outgrown"]


def longest(first: int, second: int) -> int:
    """The longer of two numbers of newest events, of which 0 is all."""
    return max(first, second) if first and second else 0


def newest(history: History, last: int) -> History:
    """The newest `last` events of a history of one user."""
    count = len(history.items)
    if count <= last:
        return history
    start = count - last
    offsets = np.array([0, last], dtype=np.int64)
    return History(offsets, history.items[start:], history.times[start:], history.kinds[start:], history.values[start:])


@njit(cache=True, nogil=True)
def _given_back(pool: Array, outgrown: Array, start: int, room: int, size: int) -> None:
    """A block is free. What it held is overwritten: nobody's events stay behind where no history shows them."""
    for j in range(start, start + room):
        pool[j].moment, pool[j].item, pool[j].value = 0, 0, 0.0
    pool[start].moment = outgrown[size]
    outgrown[size] = start


@njit(cache=True, nogil=True)
def _append(
    table: Array, pool: Array, outgrown: Array, users: Array, items: Array, times: Array, kinds: Array, values: Array,
    first: int, used: int, length: int,
) -> tuple[int, int]:  # fmt: skip
    for i in range(first, len(users)):
        if users[i] < 0:
            continue
        user = table[users[i]]
        if user.total == user.room and user.room < length:  # the block is full, and may still grow
            want, size = min(FIRST, length), 0
            while want <= user.room:
                want, size = min(2 * want, length), size + 1
            start = outgrown[size]
            if start >= 0:
                outgrown[size] = pool[start].moment
            elif used + want > len(pool):
                return i, used  # the pool must grow first
            else:
                start = used
                used += want
            for j in range(user.room):
                pool[start + j] = pool[user.start + j]
            if user.room > 0:
                _given_back(pool, outgrown, user.start, user.room, size - 1)
            user.start, user.room = start, want
        place = user.total if user.total < user.room else user.total % user.room
        event = pool[user.start + place]
        event.moment, event.item, event.value = (times[i] << 8) | np.int64(kinds[i]), items[i], values[i]
        user.total += 1
    return len(users), used


@njit(cache=True, nogil=True, inline="always")
def _have(table: Array, user: int) -> int:
    """How many events of a user are kept."""
    have: int = min(table[user].total, table[user].room) if 0 <= user < len(table) else 0
    return have


@njit(cache=True, nogil=True)
def _offsets(table: Array, pool: Array, users: Array, last: int, wanted: Array, offsets: Array) -> int:
    """Where each user's events will begin; how many there are."""
    offsets[0] = 0
    for i in range(len(users)):
        have, count = _have(table, users[i]), 0
        if len(wanted) == 0:
            count = min(have, last)
        else:
            for j in range(have):
                user = table[users[i]]
                event = pool[user.start + (user.total - 1 - j) % user.room]
                if count == last:
                    break
                count += wanted[event.moment & 0xFF]
        offsets[i + 1] = offsets[i] + count
    return int(offsets[len(users)])


@njit(cache=True, nogil=True)
def _gather(
    table: Array, pool: Array, users: Array, wanted: Array, offsets: Array, items: Array, times: Array, kinds: Array,
    values: Array,
) -> None:  # fmt: skip
    for i in range(len(users)):
        place, j = offsets[i + 1] - 1, 0
        while place >= offsets[i]:  # from the newest on
            user = table[users[i]]
            event = pool[user.start + (user.total - 1 - j) % user.room]
            j += 1
            kind = event.moment & 0xFF
            if len(wanted) > 0 and not wanted[kind]:
                continue
            items[place] = event.item
            times[place] = event.moment >> 8
            kinds[place] = kind
            values[place] = event.value
            place -= 1
