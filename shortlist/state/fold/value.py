"""Value: what the newest event of a key was worth: the last price paid, the last rating given."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.state.slotted import Slotted, slots


@dataclass
class Value(Slotted):
    """Definition: the value of the latest of the key's events that have one, by their time and then by log order; NaN if there is
    none. A late event changes nothing."""

    latest: Array = slots("value and time of the latest event", np.float64, np.nan)

    def width(self) -> int:
        """Two numbers per slot."""
        return 2

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, `time` and `value`."""
        _update(self.latest, slots, events["time"], events["value"])

    def read(self, slots: Array, times: Array, now: int) -> Array:
        """(1, r) float64; NaN for a key never met."""
        known = (slots >= 0) & (slots < len(self.latest))
        return np.where(known, self.latest[np.where(known, slots, 0), 0], np.nan)[None, :]


@njit(cache=True, nogil=True)
def _update(latest: Array, slots: Array, times: Array, values: Array) -> None:
    for i in range(len(slots)):
        # The comparison is false, and its negation true, for a slot that is still NaN.
        if slots[i] >= 0 and not np.isnan(values[i]) and not latest[slots[i], 1] > times[i]:
            latest[slots[i], 0], latest[slots[i], 1] = values[i], times[i]
