"""Distinct: how many different items (or users) a key has met: a user's breadth, an item's reach."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.core.component import fitted, param
from shortlist.state.fold.count import counted
from shortlist.state.slotted import SMALLEST, Filled, slots

EMPTY = -1
SHARE = 16  # one pair in so many goes when the table is full
MIXER = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: Fibonacci hashing


@dataclass
class Distinct(Filled):
    """Definition: the number of different codes of column `of` among the key's events, exact as long as the pairs (key, code) fit
    into a table of `pairs`. When a new pair finds it full, the sixteenth part that was longest without an event goes, and is
    counted in `evicted`; such a pair is counted once more should it come again.

    Memory besides the slots': 32 to 64 bytes a pair."""

    of: str = param("item", "what is counted", options=("item", "user"))
    pairs: int = param(1 << 23, "pairs remembered", low=16)
    counts: Array = slots("distinct codes per slot", np.int64, 0.0)
    table: Array = fitted("(places, 2) int64: slot << 32 | code, and when the pair last came; at most half full")
    about: Array = fitted("(3,) int64: pairs in the table, events handed so far, pairs evicted")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.table = np.full((SMALLEST, 2), EMPTY, dtype=np.int64)
        self.about = np.zeros(3, dtype=np.int64)

    @property
    def evicted(self) -> int:
        """Pairs that had to go."""
        return int(self.about[2])

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, the column `of`."""
        codes, done = events[self.of], 0
        while True:
            room = min(len(self.table) // 2, self.pairs)
            done = _update(self.counts, self.table, self.about, slots, codes, done, room)
            if done == len(slots):
                break
            if room < self.pairs:
                self.table = _rebuilt(self.table, self.table[:, 0] != EMPTY, 2 * len(self.table))
            else:
                self._evict()

    def _evict(self) -> None:
        order = np.sort(self.table[self.table[:, 0] != EMPTY, 1])
        oldest = order[self.pairs // SHARE - 1]  # no two pairs came at once
        self.table = _rebuilt(self.table, self.table[:, 1] > oldest, len(self.table))
        self.about[0] -= self.pairs // SHARE
        self.about[2] += self.pairs // SHARE

    def clear(self, slots: Array) -> None:
        """Make slots new again, and forget their pairs."""
        super().clear(slots)
        gone = np.zeros(len(self.counts), dtype=bool)
        gone[slots[slots < len(gone)]] = True
        stay = self.table[:, 0] != EMPTY
        stay[stay] = ~gone[self.table[stay, 0] >> 32]
        self.table = _rebuilt(self.table, stay, len(self.table))
        self.about[0] = int(stay.sum())

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """(1, r) counts; 0 for a key never met."""
        counted(self.counts, slots, out)


@njit(cache=True, nogil=True, inline="always")
def _spot(table: Array, key: int) -> np.int64:
    """Where a key is, or the empty place where it would be."""
    mixed = np.uint64(key) * np.uint64(MIXER)
    spot = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(len(table) - 1))
    while table[spot, 0] != EMPTY and table[spot, 0] != key:
        spot = (spot + 1) & (len(table) - 1)
    return spot


@njit(cache=True, nogil=True)
def _update(counts: Array, table: Array, about: Array, slots: Array, codes: Array, first: int, room: int) -> int:
    """Events from `first` on: how far it came before the table was full."""
    for i in range(first, len(slots)):
        if slots[i] < 0:
            continue
        key = (slots[i] << 32) | np.int64(codes[i])
        spot = _spot(table, key)
        if table[spot, 0] == EMPTY:
            if about[0] >= room:
                return i
            about[0] += 1
            counts[slots[i]] += 1
            table[spot, 0] = key
        table[spot, 1] = about[1]
        about[1] += 1
    return len(slots)


def _rebuilt(table: Array, stay: Array, capacity: int) -> Array:
    """A table with some of the pairs of another."""
    made = np.full((capacity, 2), EMPTY, dtype=np.int64)
    _place(made, table[stay])
    return made


@njit(cache=True, nogil=True)
def _place(table: Array, entries: Array) -> None:
    for i in range(len(entries)):
        spot = _spot(table, entries[i, 0])
        table[spot, 0], table[spot, 1] = entries[i, 0], entries[i, 1]
