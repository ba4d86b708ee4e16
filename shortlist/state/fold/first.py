"""First: when a key first had an event."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.state.compiled import Entry, block, moments, numbers, wider
from shortlist.state.fold.last import since
from shortlist.state.slotted import Filled, slots

NEVER = 2**62


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
        since(self.times, NEVER, slots, times, out)

    def entry(self) -> tuple[Entry, tuple[str, ...]]:
        """See `compiled`."""
        return _entry, ("times",)


def _entry(about: int, slots: int, size: int, time: int, now: int, out: int, wide: int) -> None:
    if wide:
        _entered(about, slots, size, time, now, wider(out, 1, size))
    else:
        _entered(about, slots, size, time, now, block(out, 1, size))


@njit(cache=True, nogil=True)
def _entered(about: int, slots: int, size: int, time: int, now: int, out: Array) -> None:
    since(moments(about, 0), NEVER, numbers(slots, size), numbers(time, 1), out)


@njit(cache=True, nogil=True)
def _update(first: Array, slots: Array, times: Array) -> None:
    for i in range(len(slots)):
        slot = slots[i]
        if slot >= 0 and times[i] < first[slot]:
            first[slot] = times[i]
