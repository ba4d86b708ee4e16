"""Keys to slots: one code is its own slot; a pair of codes gets the next free slot through an open-addressing hash table."""

from __future__ import annotations

import numpy as np
from numba import njit

from shortlist.core.batch import Array

EMPTY = -1
SMALLEST = 1024


def pack(first: Array, second: Array) -> Array:
    """Two (len,) int32 code arrays as one int64 key each; -1 where either is missing."""
    first, second = first.astype(np.int64), second.astype(np.int64)
    return np.where((first < 0) | (second < 0), -1, (first << 32) | second)


def columns_of(text: str) -> tuple[str, ...]:
    """The columns of a key as a recipe writes it: "item", or "user.age x item"."""
    return tuple(part.strip() for part in text.split(" x "))


class Codes:
    """Keys that are dense codes already."""

    def __init__(self) -> None:
        self.size = 0

    def add(self, keys: Array) -> Array:
        """Slots of keys, new ones included; -1 for a missing key."""
        if len(keys):
            self.size = max(self.size, int(keys.max()) + 1)
        return keys

    def find(self, keys: Array) -> Array:
        """Slots of keys; -1 for a missing or unknown one."""
        return keys

    def arrays(self) -> dict[str, Array]:
        """What a snapshot keeps."""
        return {"size": np.array([self.size])}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take a snapshot back."""
        self.size = int(arrays["size"][0])


class Hashed:
    """Sparse int64 keys (pairs of codes). At most `limit` keys: further new ones get no slot and are counted in `refused`."""

    def __init__(self, limit: int = 1 << 24) -> None:
        self.limit = limit
        self.size = 0
        self.refused = 0
        self._keys = np.full(SMALLEST, EMPTY, dtype=np.int64)
        self._slots = np.full(SMALLEST, -1, dtype=np.int32)

    def add(self, keys: Array) -> Array:
        """Slots of keys, new ones included; -1 for a missing or refused key."""
        out = np.empty(len(keys), dtype=np.int64)
        done = 0
        while True:
            room = min(len(self._keys) // 2, self.limit)
            done, self.size, refused = _insert(self._keys, self._slots, keys, out, done, self.size, room, self.limit)
            self.refused += refused
            if done == len(keys):
                return out
            self._rehash(2 * len(self._keys))

    def find(self, keys: Array) -> Array:
        """Slots of keys; -1 for a missing or unknown one."""
        return _find(self._keys, self._slots, keys)

    def _rehash(self, capacity: int) -> None:
        keys, slots = self._keys, self._slots
        self._keys = np.full(capacity, EMPTY, dtype=np.int64)
        self._slots = np.full(capacity, -1, dtype=np.int32)
        _place(self._keys, self._slots, keys, slots)

    def arrays(self) -> dict[str, Array]:
        """What a snapshot keeps."""
        return {"size": np.array([self.size, self.refused, self.limit]), "keys": self._keys, "slots": self._slots}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take a snapshot back."""
        self.size, self.refused, self.limit = (int(number) for number in arrays["size"])
        self._keys, self._slots = arrays["keys"], arrays["slots"]


@njit(cache=True, nogil=True, inline="always")
def _spot(key: int, capacity: int) -> np.int64:
    # Fibonacci hashing: spreads keys that differ in a few low bits. capacity is a power of two.
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(capacity - 1))


@njit(cache=True, nogil=True)
def _insert(
    table: Array, table_slots: Array, keys: Array, out: Array, start: int, size: int, room: int, limit: int
) -> tuple[int, int, int]:
    capacity, refused = len(table), 0
    for i in range(start, len(keys)):
        key = keys[i]
        out[i] = -1
        if key < 0:
            continue
        spot = _spot(key, capacity)
        while table[spot] != EMPTY and table[spot] != key:
            spot = (spot + 1) & (capacity - 1)
        if table[spot] == EMPTY:
            if size >= limit:
                refused += 1
                continue
            if size >= room:
                return i, size, refused  # the table must grow first
            table[spot] = key
            table_slots[spot] = size
            size += 1
        out[i] = table_slots[spot]
    return len(keys), size, refused


@njit(cache=True, nogil=True)
def _find(table: Array, table_slots: Array, keys: Array) -> Array:
    capacity = len(table)
    out = np.empty(len(keys), dtype=np.int64)
    for i in range(len(keys)):
        out[i] = -1
        if keys[i] < 0:
            continue
        spot = _spot(keys[i], capacity)
        while table[spot] != EMPTY and table[spot] != keys[i]:
            spot = (spot + 1) & (capacity - 1)
        if table[spot] == keys[i]:
            out[i] = table_slots[spot]
    return out


@njit(cache=True, nogil=True)
def _place(table: Array, table_slots: Array, keys: Array, slots: Array) -> None:
    capacity = len(table)
    for i in range(len(keys)):
        if keys[i] == EMPTY:
            continue
        spot = _spot(keys[i], capacity)
        while table[spot] != EMPTY:
            spot = (spot + 1) & (capacity - 1)
        table[spot] = keys[i]
        table_slots[spot] = slots[i]
