"""Keys to slots. One code is its own slot; a tuple of codes gets a slot through an open-addressing hash table of bounded size,
whose coldest keys make room for new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.state.ahead import fetch

EMPTY = -1
SMALLEST = 1024
# Default bound of a hash table. A number, not a share of the catalogue: the catalogue of a log that was encoded at once knows
# its future users, and who goes from a full table must not depend on them.
KEYS = 1 << 20
SHARE = 16  # one key in so many goes when the table is full
MIXER = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: Fibonacci hashing


def pack(first: Array, second: Array) -> Array:
    """Two (len,) int32 code arrays as one int64 key each; -1 where either is missing."""
    first, second = first.astype(np.int64), second.astype(np.int64)
    return np.where((first < 0) | (second < 0), -1, (first << 32) | second)


def joined(parts: Sequence[Array], length: int) -> Array:
    """Code columns as one int64 key each, -1 where any is missing: no column = one key for everything, one = the code itself,
    two = packed. Three or more are hashed to 63 bits: among ten million keys, two share theirs with a chance of 1 in 180,000.
    """
    if not parts:
        return np.zeros(length, dtype=np.int64)
    if len(parts) == 1:
        return parts[0].astype(np.int64)
    if len(parts) == 2:
        return pack(parts[0], parts[1])
    return _mixed(np.stack([part.astype(np.int64) for part in parts]))


def columns_of(text: str) -> tuple[str, ...]:
    """The columns of a key as a recipe writes it: "item", "user.age x item", or "" for everything together."""
    return tuple(part.strip() for part in text.split(" x ")) if text.strip() else ()


class Codes:
    """Keys that are dense codes already."""

    evicted = 0

    def __init__(self) -> None:
        self.size = 0

    def add(self, keys: Array, first: int = 0, rows: Array | None = None) -> tuple[Array, int]:
        """Slots of keys, new ones included, -1 for a missing key; and how many keys got theirs: all."""
        if len(keys):
            self.size = max(self.size, int(keys.max()) + 1)
        return keys, len(keys)

    def find(self, keys: Array) -> Array:
        """Slots of keys; -1 for a missing or unknown one."""
        return keys

    @property
    def live(self) -> int:
        """Keys that have a slot: all codes up to the highest."""
        return self.size

    def evict(self) -> Array:
        """Nothing ever has to go."""
        return np.zeros(0, dtype=np.int64)

    def arrays(self) -> dict[str, Array]:
        """What a snapshot keeps."""
        return {"size": np.array([self.size])}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take a snapshot back."""
        self.size = int(arrays["size"][0])


class Hashed:
    """Sparse int64 keys (tuples of codes), `limit` of them at most. When a new key finds the table full, the sixteenth part
    that was longest without an event goes, and is counted in `evicted`. Which goes depends on the log alone, not on how it was
    cut into pieces. 12 bytes a place in a table at most seven tenths full, and 8 a slot; both grow by an eighth, up to what `limit`
    keys need: 25 to 29 bytes a key."""

    def __init__(self, limit: int = KEYS) -> None:
        self.limit = limit
        self.size = 0  # slots ever given out
        self.evicted = 0
        # A key and its slot lie in two arrays: what is not there, the commoner case for pairs, costs the keys' cache line only.
        self._keys = np.full(SMALLEST, EMPTY, dtype=np.int64)
        self._places = np.full(SMALLEST, EMPTY, dtype=np.int32)
        self._touched = np.zeros(_room(SMALLEST), dtype=np.int64)  # log position of the last event of each slot
        self._free = np.zeros(0, dtype=np.int64)

    def add(self, keys: Array, first: int = 0, rows: Array | None = None) -> tuple[Array, int]:
        """Slots of keys, new ones included, -1 for a missing key; and how many keys got theirs. When that is not all, the table
        is full: fold in what has a slot, `evict`, clear, and go on from there.

        first: log position of the first event; rows: of which event after it each key is, where that is not one by one."""
        slots = np.empty(len(keys), dtype=np.int64)
        owners = np.zeros(0, dtype=np.int64) if rows is None else rows
        done = 0
        while True:
            room = min(_room(len(self._keys)), self.limit)
            done, self.size, left = _insert(
                self._keys, self._places, self._touched, self._free, keys, owners, slots, first, done, self.size, room
            )
            self._free = self._free[:left]
            if done == len(keys) or room == self.limit:
                return slots[:done], done
            self._rehash(min(len(self._keys) + len(self._keys) // 8, -(-self.limit * 10 // 7)))

    def find(self, keys: Array) -> Array:
        """Slots of keys; -1 for a missing or unknown one."""
        slots = np.empty(len(keys), dtype=np.int64)
        _find(self._keys, self._places, keys, slots)
        return slots

    def of_first(self, code: int) -> Array:
        """Slots of the pairs whose first code is this one."""
        mine = (self._keys >= 0) & (self._keys >> 32 == code)
        found: Array = self._places[mine].astype(np.int64)
        return found

    def find_pairs(self, first: Array, second: Array, size: int) -> Array:
        """(size,) slots of the packed pairs of two columns, one of which may be a single code."""
        slots = np.empty(size, dtype=np.int64)
        find_pairs(self._keys, self._places, first, second, slots)
        return slots

    @property
    def live(self) -> int:
        """Keys that have a slot now."""
        return self.size - len(self._free)

    def evict(self) -> Array:
        """Forget the keys that were longest without an event. Their slots, to be cleared, will be given out again."""
        there = self._keys != EMPTY
        keys, slots = self._keys[there], self._places[there]
        touched, count = self._touched[slots], max(self.limit // SHARE, 1)
        # The last of those that go. To sort all of them would cost four times as much.
        last = np.partition(touched, count - 1)[count - 1]
        gone = touched < last
        tied = np.flatnonzero(touched == last)  # keys of one event's list: the lowest slots go
        gone[tied[np.argsort(slots[tied])][: count - int(gone.sum())]] = True
        self._filled(len(self._keys), keys[~gone], slots[~gone])
        self.evicted += count
        self._free = np.sort(slots[gone].astype(np.int64))[::-1].copy()
        return self._free

    def _rehash(self, capacity: int) -> None:
        there = self._keys != EMPTY
        self._filled(capacity, self._keys[there], self._places[there])
        touched = np.zeros(min(_room(capacity), self.limit), dtype=np.int64)
        touched[: len(self._touched)] = self._touched
        self._touched = touched

    def _filled(self, capacity: int, keys: Array, slots: Array) -> None:
        """A table of these keys and their slots."""
        self._keys, self._places = np.full(capacity, EMPTY, dtype=np.int64), np.full(capacity, EMPTY, dtype=np.int32)
        _place(self._keys, self._places, keys, slots)

    def arrays(self) -> dict[str, Array]:
        """What a snapshot keeps."""
        size = np.array([self.size, self.evicted, self.limit])
        return {
            "size": size, "keys": self._keys, "places": self._places, "touched": self._touched, "free": self._free,
        }  # fmt: skip

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take a snapshot back."""
        self.size, self.evicted, self.limit = (int(number) for number in arrays["size"])
        self._keys, self._places = arrays["keys"], arrays["places"]
        self._touched, self._free = arrays["touched"], arrays["free"]


@njit(cache=True, nogil=True)
def _mixed(parts: Array) -> Array:
    columns, rows = parts.shape
    out = np.empty(rows, dtype=np.int64)
    for i in range(rows):
        key = np.uint64(0)
        for j in range(columns):
            if parts[j, i] < 0:
                key = np.uint64(0)
                out[i] = -1
                break
            # The finisher of SplitMix64: every bit of every part reaches every bit of the key.
            key = (key ^ np.uint64(parts[j, i])) + np.uint64(MIXER)
            key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            key = key ^ (key >> np.uint64(31))
            out[i] = np.int64(key >> np.uint64(1))
    return out


@njit(cache=True, nogil=True, inline="always")
def _spot(key: int, capacity: int) -> np.int64:
    # The upper half of the product, as a share of the capacity (Lemire 2019): any capacity will do, and no division is needed.
    mixed = (np.uint64(key) ^ (np.uint64(key) >> np.uint64(32))) * np.uint64(MIXER)
    return np.int64(((mixed >> np.uint64(32)) * np.uint64(capacity)) >> np.uint64(32))


@njit(cache=True, nogil=True, inline="always")
def _walked(table: Array, key: Any, capacity: int) -> Any:
    """Where a key is, or the empty place where it would be."""
    spot: Any = _spot(key, capacity)
    while table[spot] != EMPTY and table[spot] != key:
        spot += 1
        if spot == capacity:
            spot = 0
    return spot


def _room(capacity: int) -> int:
    """Keys that a table of so many places may hold: longer runs would cost more than the memory is worth."""
    return capacity * 7 // 10


@njit(cache=True, nogil=True)
def _insert(
    table: Array, places: Array, touched: Array, free: Array, keys: Array, rows: Array, slots: Array, first: int, start: int,
    size: int, room: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Keys from `start` on: how far it came before the table had to grow, slots given out, free slots left."""
    capacity, left = len(table), len(free)
    for i in range(start, len(keys)):
        key = keys[i]
        slots[i] = -1
        if key < 0:
            continue
        spot = _walked(table, key, capacity)
        if table[spot] == EMPTY:
            if size - left >= room:
                return i, size, left
            if left > 0:
                left -= 1
                slot = free[left]
            else:
                slot = size
                size += 1
            table[spot], places[spot] = key, slot
        slots[i] = places[spot]
        touched[slots[i]] = first + (rows[i] if len(rows) > 0 else i)
    return len(keys), size, left


@njit(cache=True, nogil=True, inline="always")
def _near(table: Array, places: Array, key: Any, capacity: int) -> None:
    """Ask for the place where a key may be, without waiting: one key after the other, each look that fails would have to be seen to
    before the next."""
    spot = _spot(key, capacity)
    fetch(table.ctypes.data + 8 * spot)
    fetch(places.ctypes.data + 4 * spot)


@njit(cache=True, nogil=True, inline="always")
def _slot(table: Array, places: Array, key: Any, capacity: int) -> Any:
    spot = _walked(table, key, capacity)
    return EMPTY if table[spot] == EMPTY else places[spot]


# Kernels of the request path write into an array that is handed in: to hand one out costs numba two microseconds.
@njit(cache=True, nogil=True)
def _find(table: Array, places: Array, keys: Array, out: Array) -> None:
    capacity = len(table)
    for i in range(len(keys)):
        _near(table, places, keys[i], capacity)
    for i in range(len(keys)):
        out[i] = _slot(table, places, keys[i], capacity) if keys[i] >= 0 else -1


@njit(cache=True, nogil=True)
def find_pairs(table: Array, places: Array, first: Array, second: Array, out: Array) -> None:
    """Slots of the packed pairs of two columns of codes, one of which may be a single code, into `out`."""
    capacity, left, right = len(table), len(first) > 1, len(second) > 1
    for i in range(len(out)):
        _near(table, places, (np.int64(first[i if left else 0]) << 32) | np.int64(second[i if right else 0]), capacity)
    for i in range(len(out)):
        a, b = np.int64(first[i if left else 0]), np.int64(second[i if right else 0])
        out[i] = _slot(table, places, (a << 32) | b, capacity) if a >= 0 and b >= 0 else -1


@njit(cache=True, nogil=True)
def _place(table: Array, places: Array, keys: Array, slots: Array) -> None:
    capacity = len(table)
    for i in range(len(keys)):
        spot = _walked(table, keys[i], capacity)
        table[spot], places[spot] = keys[i], slots[i]
