"""Window: the count of a recent window, kept on fixed tiles: a ring of them per key, so memory and time are bounded."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.core.component import param
from shortlist.core.units import seconds
from shortlist.state.slotted import Filled, slots


@dataclass
class Window(Filled):
    """Definition: with tile(t) = floor(t * tiles / length) and T = the later of the reading time and the latest event folded
    in, the number of the key's events with tile(T) - tiles < tile(t) <= tile(T). So the window is between
    length * (1 - 1 / tiles) and length long, and moves once per tile."""

    length: str = param("1h", "length of the window", duration=True)
    tiles: int = param(6, "how many tiles make the window", low=1, high=1024)
    counts: Array = slots("ring of tile counts per slot", np.float32, 0.0)
    newest: Array = slots("newest tile number per slot", np.int64, -(2.0**62))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.span = seconds(self.length)

    def width(self) -> int:
        """Tiles per slot."""
        return self.tiles

    def is_wide(self, name: str) -> bool:
        """Only the tile counts have a second dimension."""
        return name == "counts"

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, `time`."""
        _update(self.counts, self.newest, slots, events["time"], self.span)

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """(1, r) windowed count at times (r,) or (1,); 0 for a key never met."""
        _read(self.counts, self.newest, slots, times, now, self.span, out)


@njit(cache=True, nogil=True)
def _tile(time: int, tiles: int, length: float) -> int:
    # One rounding only: dividing by a rounded length / tiles would put whole hours into the wrong tile.
    return int(np.floor(time * tiles / length))


@njit(cache=True, nogil=True)
def _update(counts: Array, newest: Array, slots: Array, times: Array, length: float) -> None:
    tiles = counts.shape[1]
    for i in range(len(slots)):
        slot = slots[i]
        if slot < 0:
            continue
        tile = _tile(times[i], tiles, length)
        head = newest[slot]
        if tile > head:
            for step in range(min(tile - head, tiles)):
                counts[slot, (tile - step) % tiles] = 0.0
            newest[slot] = tile
        elif head - tile >= tiles:
            continue  # a late event, older than anything the ring still holds
        counts[slot, tile % tiles] += 1.0


@njit(cache=True, nogil=True)
def _read(counts: Array, newest: Array, slots: Array, times: Array, now: int, length: float, out: Array) -> None:
    tiles = counts.shape[1]
    one = len(times) == 1
    for i in range(len(slots)):
        slot, total = slots[i], 0.0
        if slot < 0 or slot >= len(newest):
            out[0, i] = 0.0
            continue
        time = max(times[0] if one else times[i], now)
        oldest = _tile(time, tiles, length) - tiles + 1
        for tile in range(max(oldest, newest[slot] - tiles + 1), newest[slot] + 1):
            total += counts[slot, tile % tiles]
        out[0, i] = total
