"""Count: how many events of these kinds a key has had, or the sum of their values."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.core.component import param
from shortlist.state.compiled import Entry, block, numbers, vector, wider
from shortlist.state.slotted import Filled, slots


@dataclass
class Count(Filled):
    """Definition: sum over the key's events of 1, or of the event's value (a missing value adds nothing)."""

    weigh: bool = param(False, "add up event values instead of ones")
    sums: Array = slots("running sum per slot", np.float64, 0.0)

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, `value`."""
        _update(self.sums, slots, events["value"], self.weigh)

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """(1, r) counts; 0 for a key never met."""
        counted(self.sums, slots, out)

    def entry(self) -> tuple[Entry, tuple[str, ...]]:
        """See `compiled`."""
        return _entry, ("sums",)


def _entry(about: int, slots: int, size: int, time: int, now: int, out: int, wide: int) -> None:
    if wide:
        _entered(about, slots, size, time, now, wider(out, 1, size))
    else:
        _entered(about, slots, size, time, now, block(out, 1, size))


@njit(cache=True, nogil=True)
def _entered(about: int, slots: int, size: int, time: int, now: int, out: Array) -> None:
    counted(vector(about, 0), numbers(slots, size), out)


@njit(cache=True, nogil=True)
def _update(sums: Array, slots: Array, values: Array, weigh: bool) -> None:
    for i in range(len(slots)):
        slot = slots[i]
        if slot < 0:
            continue
        if not weigh:
            sums[slot] += 1.0
        elif not np.isnan(values[i]):
            sums[slot] += values[i]


@njit(cache=True, nogil=True)
def counted(sums: Array, slots: Array, out: Array) -> None:
    """What slots hold into `out` (1, r); 0 for a slot that is not there."""
    for i in range(len(slots)):
        slot = slots[i]
        out[0, i] = sums[slot] if 0 <= slot < len(sums) else 0.0
