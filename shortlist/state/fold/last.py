"""Last: when a key last had an event."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.state.compiled import Entry, block, moments, numbers, wider
from shortlist.state.slotted import Filled, slots

NEVER = 2**62  # no event: a slot holds it, or its negative, whichever every event moves


@dataclass
class Last(Filled):
    """Definition: seconds between the reading time and the latest time of the key's events, at least 0; NaN if there is none.
    A late event does not move the latest time back."""

    times: Array = slots("latest event time per slot, unix seconds", np.int64, -float(NEVER))

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, `time`."""
        _update(self.times, slots, events["time"])

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """(1, r) seconds since the last event, at times (r,) or (1,); NaN for a key never met."""
        since(self.times, slots, times, out)

    def entry(self) -> tuple[Entry, tuple[str, ...]]:
        """See `compiled`."""
        return entry, ("times",)


def entry(about: int, slots: int, size: int, time: int, now: int, out: int, wide: int) -> None:
    """The compiled reading of what holds a moment per slot: see `compiled`."""
    if wide:
        _entered(about, slots, size, time, now, wider(out, 1, size))
    else:
        _entered(about, slots, size, time, now, block(out, 1, size))


@njit(cache=True, nogil=True)
def _entered(about: int, slots: int, size: int, time: int, now: int, out: Array) -> None:
    since(moments(about, 0), numbers(slots, size), numbers(time, 1), out)


@njit(cache=True, nogil=True)
def _update(last: Array, slots: Array, times: Array) -> None:
    for i in range(len(slots)):
        slot = slots[i]
        if slot >= 0 and times[i] > last[slot]:
            last[slot] = times[i]


@njit(cache=True, nogil=True)
def since(moments: Array, slots: Array, times: Array, out: Array) -> None:
    """Seconds from what slots hold to the reading times, at least 0, into `out` (1, r); NaN for those without an event."""
    one = len(times) == 1
    for i in range(len(slots)):
        slot = slots[i]
        if 0 <= slot < len(moments) and -NEVER < moments[slot] < NEVER:
            out[0, i] = max((times[0] if one else times[i]) - moments[slot], 0)
        else:
            out[0, i] = np.nan
