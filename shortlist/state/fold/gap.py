"""Gap: how far apart a key's events are, and how long it has been quiet by that measure: is the next one due?"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.state.slotted import Filled, slots


@dataclass
class Gap(Filled):
    """Definition: the gap before an event is the time since the newest of the key's events before it in log order, at least 0, so a
    late event has a gap of 0. Readings:
    mean: over all events but the first, in seconds, NaN with less than two events;
    quiet: (T - newest time) / mean, T = the later of the reading time and the latest event folded in; NaN without a mean above 0."""

    runs: Array = slots("events, time of the first in log order, newest time", np.int64, 0.0)

    def readings(self) -> tuple[str, ...]:
        """See the definition."""
        return ("mean", "quiet")

    def width(self) -> int:
        """Three numbers per slot."""
        return 3

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, `time`."""
        _update(self.runs, slots, events["time"])

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """(2, r) at times (r,) or (1,)."""
        _read(self.runs, slots, times, now, out)


@njit(cache=True, nogil=True)
def _update(runs: Array, slots: Array, times: Array) -> None:
    for i in range(len(slots)):
        if slots[i] < 0:
            continue
        row, time = runs[slots[i]], times[i]
        if row[0] == 0:
            row[1] = row[2] = time
        row[0], row[2] = row[0] + 1, max(row[2], time)


@njit(cache=True, nogil=True)
def _read(runs: Array, slots: Array, times: Array, now: int, out: Array) -> None:
    one = len(times) == 1
    for i in range(len(slots)):
        slot = slots[i]
        out[0, i] = out[1, i] = np.nan
        if slot < 0 or slot >= len(runs) or runs[slot, 0] < 2:
            continue
        row = runs[slot]
        mean = (row[2] - row[1]) / (row[0] - 1)  # the gaps add up to the newest time less the first
        out[0, i] = mean
        if row[2] > row[1]:
            out[1, i] = (max(times[0] if one else times[i], now) - row[2]) / mean
