"""Value: what the newest event of a key was worth: the last price paid, the last rating given."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.state.slotted import Filled, slots


@dataclass
class Value(Filled):
    """Definition: the value of the latest of the key's events that have one, by their time and then by log order; NaN if there is
    none. A late event changes nothing."""

    latest: Array = slots("value and time of the latest event", np.float64, np.nan)

    def width(self) -> int:
        """Two numbers per slot."""
        return 2

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, `time` and `value`."""
        _update(self.latest, slots, events["time"], events["value"])

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """(1, r) values; NaN for a key never met."""
        _read(self.latest, slots, out)


@njit(cache=True, nogil=True)
def _update(latest: Array, slots: Array, times: Array, values: Array) -> None:
    for i in range(len(slots)):
        # The comparison is false, and its negation true, for a slot that is still NaN.
        if slots[i] >= 0 and not np.isnan(values[i]) and not latest[slots[i], 1] > times[i]:
            latest[slots[i], 0], latest[slots[i], 1] = values[i], times[i]


@njit(cache=True, nogil=True)
def _read(latest: Array, slots: Array, out: Array) -> None:
    for i in range(len(slots)):
        slot = slots[i]
        out[0, i] = latest[slot, 0] if 0 <= slot < len(latest) else np.nan
