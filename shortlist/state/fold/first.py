"""First: when a key first had an event."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.state.compiled import Entry
from shortlist.state.fold.last import NEVER, entry, since
from shortlist.state.slotted import Filled, slots


@dataclass
class First(Filled):
    """Definition: seconds between the earliest time of the key's events and the reading time, at least 0; NaN if there is none. A
    late event moves the earliest time back."""

    times: Array = slots("earliest event time per slot, unix seconds", np.int64, float(NEVER))

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, `time`."""
        _update(self.times, slots, events["time"])

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """(1, r) seconds since the first event, at times (r,) or (1,); NaN for a key never met."""
        since(self.times, slots, times, out)

    def entry(self) -> tuple[Entry, tuple[str, ...]]:
        """See `compiled`."""
        return entry, ("times",)


@njit(cache=True, nogil=True)
def _update(first: Array, slots: Array, times: Array) -> None:
    for i in range(len(slots)):
        slot = slots[i]
        if slot >= 0 and times[i] < first[slot]:
            first[slot] = times[i]
