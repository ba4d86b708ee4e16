"""Follow: live co-visitation. For every item the newest items that somebody met just before or after it, so that what goes together
now is known a second later, without a fit."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.core.component import fitted, param
from shortlist.core.errors import ConfigError
from shortlist.core.units import seconds
from shortlist.state.fold.count import counted
from shortlist.state.slotted import SMALLEST, Filled, longer, slots

FIRST = 4
FAR = 2**31 - 1
UNSET = -(2**62)


@dataclass
class Follow(Filled):
    """Definition: the memory of a key (a user) is its newest `last` distinct items, each with its newest time in log order. An event
    of item b at time t, unless b is the newest item of the memory already, puts (b, t) into the ring of every item a of the memory
    that is not b and at most `within` apart from t, newest first, and with `both` also (a, t) into the ring of b. A ring keeps
    its newest `room` entries. Then b becomes the newest item of the memory.

    The count of x beside a at T: c(a, x) = sum over the entries (x, t) in the ring of a of 2^(-(T - t) / half_life), T not before the
    latest event folded in. See `weights` and `neighbours`. As a fold it reads how many events the key has had. An evicted key loses
    its memory; the rings, which belong to items, stay.

    Memory besides the slots': 24 bytes an item, and 8 an entry in blocks that grow four-fold up to `room`; what an item outgrows goes to the
    next that needs as much. Times are kept as seconds since the first event, at most 68 years off."""

    by: tuple[str, ...] = param(("user",), "whose events follow each other: user, mostly")
    event: tuple[str, ...] = param((), "event kinds to fold")
    last: int = param(3, "newest distinct items of a user that an event is paired with", low=1, high=64)
    room: int = param(64, "newest neighbours kept per item", low=1, high=4096)
    within: str = param("12h", "how far apart in time two events may be", duration=True)
    both: bool = param(True, "an event also enters its own item's ring what was there before")
    seen: Array = slots("events per slot", np.int64, 0.0)
    memory: Array = slots("newest distinct items, newest first: code and seconds since the origin", np.int32, -1.0)
    rings: Array = fitted("(items, 3) int64: where the item's block begins in the pool, its length, entries ever made")
    pool: Array = fitted("(entries, 2) int32: item and seconds since the origin")
    about: Array = fitted("(2,) int64: the origin, the time of the first event; how much of the pool is given out")
    # Per size of block (4, 16, 64 ...). Each holds the next one's beginning as its first item.
    outgrown: Array = fitted("(16,) int64: where an outgrown block of each size begins, -1 = none")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rings = np.zeros((SMALLEST, 3), dtype=np.int64)
        self.pool = np.zeros((SMALLEST, 2), dtype=np.int32)
        self.about = np.array([UNSET, 0], dtype=np.int64)
        self.outgrown = np.full(16, -1, dtype=np.int64)
        if seconds(self.within) > FAR:
            raise ConfigError(f"follow: within {self.within!r} is longer than 68 years")

    def readings(self) -> tuple[str, ...]:
        """Events of the key."""
        return ("events",)

    def width(self) -> int:
        """Code and time of each remembered item."""
        return 2 * self.last

    def is_wide(self, name: str) -> bool:
        """Only the memory has a second dimension."""
        return name == "memory"

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, `item` and `time`."""
        items = events["item"]
        highest = int(np.where(slots < 0, -1, items).max(initial=-1))
        self.rings = longer(self.rings, highest + 1)
        done, within = 0, seconds(self.within)
        while True:
            done = _update(
                self.seen, self.memory, self.rings, self.pool, self.about, self.outgrown, slots, items, events["time"], done,
                self.room, within, self.both,
            )  # fmt: skip
            if done == len(slots):
                return
            self.pool = longer(self.pool, int(self.about[1]) + 2 * self.last * self.room)

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """(1, r) events of the key; 0 for a key never met."""
        counted(self.seen, slots, out)

    def weights(
        self,
        anchors: Array,
        anchor_weights: Array,
        past: Array,
        owners: Array,
        items: Array,
        times: Array,
        half_life: float,
        out: Array | None = None,
    ) -> Array:
        """How well candidates go with what their request's user just did: (3, m) float64, or what is given as `out`.

        anchors, anchor_weights: items and their weights w, newest last; request i owns past[i]:past[i + 1]. items: (m,) candidates;
        request i owns owners[i]:owners[i + 1]. times: (n,) unix seconds, T of each request; half_life: seconds.
        Rows: sum over the anchors a of w c(a, x); the largest w c(a, x); c(a, x) of the newest anchor. 0 without a neighbour.
        """
        out = np.empty((3, len(items))) if out is None else out
        _weights(
            self.rings, self.pool, self.about, _scratch(len(self.rings)), self.room, np.ascontiguousarray(anchors, dtype=np.int32),
            np.ascontiguousarray(anchor_weights, dtype=np.float64), past, owners, np.ascontiguousarray(items, dtype=np.int32),
            np.ascontiguousarray(times, dtype=np.int64), half_life, out,
        )  # fmt: skip
        return out

    def neighbours(self, anchors: Array, anchor_weights: Array, time: int, half_life: float, size: int) -> Array:
        """(size,) float32: for every item x below `size`, the sum over (a,) anchors of weight * c(a, x) at one moment."""
        return _neighbours(
            self.rings, self.pool, self.about, _scratch(len(self.rings)), np.ascontiguousarray(anchors, dtype=np.int32),
            np.ascontiguousarray(anchor_weights, dtype=np.float64), time, half_life, size, self.room,
        )  # fmt: skip


_local = threading.local()


def _scratch(size: int) -> Array:
    """(size or more,) int32 zeros, one per thread. Kernels leave it as they found it: to clear it costs more than a request."""
    scratch: Any = getattr(_local, "scratch", None)
    if scratch is None or len(scratch) < size:
        scratch = _local.scratch = np.zeros(size, dtype=np.int32)
    made: Array = scratch
    return made


@njit(cache=True, nogil=True)
def _push(
    rings: Array, pool: Array, about: Array, outgrown: Array, item: int, other: int, when: int, room: int
) -> None:
    """Put an entry into the ring of an item. The pool has the room that the ring may need."""
    ring = rings[item]
    if ring[2] == ring[1] and ring[1] < room:  # the block is full, and may still grow
        want, size = min(FIRST, room), 0
        while want <= ring[1]:
            want, size = min(want * 4, room), size + 1
        start = outgrown[size]
        if start >= 0:
            outgrown[size] = pool[start, 0]
        else:
            start = about[1]
            about[1] += want
        for j in range(ring[1]):
            pool[start + j, 0] = pool[ring[0] + j, 0]
            pool[start + j, 1] = pool[ring[0] + j, 1]
        if ring[1] > 0:
            pool[ring[0], 0] = outgrown[size - 1]
            outgrown[size - 1] = ring[0]
        ring[0], ring[1] = start, want
    place = ring[0] + ring[2] % ring[1]
    pool[place, 0], pool[place, 1] = other, when
    ring[2] += 1


@njit(cache=True, nogil=True)
def _update(
    seen: Array, memory: Array, rings: Array, pool: Array, about: Array, outgrown: Array, slots: Array, items: Array, times: Array,
    first: int, room: int, within: float, both: bool,
) -> int:  # fmt: skip
    """Events from `first` on: how far it came before the pool had to grow."""
    last = memory.shape[1] // 2
    for i in range(first, len(slots)):
        slot = slots[i]
        if slot < 0:
            continue
        if about[1] + 2 * last * room > len(pool):
            return i
        if about[0] == UNSET:
            about[0] = times[i]
        item, when = items[i], min(max(times[i] - about[0], -FAR), FAR)
        row = memory[slot]
        seen[slot] += 1
        place = last - 1  # where the item stands in the memory, or the oldest, which it drives out
        for j in range(last):
            if row[2 * j] == item or row[2 * j] < 0:
                place = j
                break
        if row[0] != item:
            for j in range(last):
                other = row[2 * j]
                if other < 0:
                    break
                if other == item or abs(when - row[2 * j + 1]) > within:
                    continue
                _push(rings, pool, about, outgrown, other, item, when, room)
                if both:
                    _push(rings, pool, about, outgrown, item, other, when, room)
        for j in range(place, 0, -1):
            row[2 * j], row[2 * j + 1] = row[2 * j - 2], row[2 * j - 1]
        row[0], row[1] = item, when
    return len(slots)


@njit(cache=True, nogil=True)
def _collect(
    rings: Array, pool: Array, about: Array, scratch: Array, found: Array, cells: Array, anchors: Array, weights: Array,
    first: int, stop: int, time: int, half_life: float,
) -> int:  # fmt: skip
    """Neighbours of a request's anchors: their codes into `found`, sum, maximum and last into `cells`, and for each its place + 1 into
    `scratch`. How many there are."""
    size = 0
    for j in range(first, stop):
        anchor = anchors[j]
        if anchor < 0 or anchor >= len(rings):
            continue
        start, have = rings[anchor, 0], min(rings[anchor, 1], rings[anchor, 2])
        for e in range(start, start + have):
            x = pool[e, 0]
            if scratch[x] == 0:
                found[size] = x
                cells[size, :] = 0.0
                size += 1
                scratch[x] = size
            cells[scratch[x] - 1, 3] += np.exp2((pool[e, 1] + about[0] - time) / half_life)
        for e in range(start, start + have):
            cell = cells[scratch[pool[e, 0]] - 1]
            count = cell[3]
            if count == 0.0:
                continue  # of this anchor, taken already
            cell[0] += weights[j] * count
            cell[1] = max(cell[1], weights[j] * count)
            if j == stop - 1:
                cell[2] = count
            cell[3] = 0.0
    return size


@njit(cache=True, nogil=True)
def _weights(
    rings: Array, pool: Array, about: Array, scratch: Array, room: int, anchors: Array, weights: Array, past: Array,
    owners: Array, items: Array, times: Array, half_life: float, out: Array,
) -> None:  # fmt: skip
    out[:] = 0.0
    most = 0
    for i in range(len(past) - 1):
        most = max(most, (past[i + 1] - past[i]) * room)
    found, cells = np.empty(most, dtype=np.int32), np.empty((most, 4))
    for i in range(len(owners) - 1):
        if owners[i] == owners[i + 1]:
            continue
        size = _collect(
            rings, pool, about, scratch, found, cells, anchors, weights, past[i], past[i + 1], times[i], half_life
        )
        for row in range(owners[i], owners[i + 1]):
            item = items[row]
            if 0 <= item < len(scratch) and scratch[item] > 0:
                cell = cells[scratch[item] - 1]
                out[0, row], out[1, row], out[2, row] = cell[0], cell[1], cell[2]
        for j in range(size):
            scratch[found[j]] = 0


@njit(cache=True, nogil=True)
def _neighbours(
    rings: Array, pool: Array, about: Array, scratch: Array, anchors: Array, weights: Array, time: int, half_life: float,
    size: int, room: int,
) -> Array:  # fmt: skip
    out = np.zeros(size, dtype=np.float32)
    most = len(anchors) * room
    found, cells = np.empty(most, dtype=np.int32), np.empty((most, 4))
    count = _collect(rings, pool, about, scratch, found, cells, anchors, weights, 0, len(anchors), time, half_life)
    for j in range(count):
        if found[j] < size:
            out[found[j]] = cells[j, 0]
        scratch[found[j]] = 0
    return out
