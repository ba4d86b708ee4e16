"""Decay: an exponentially decayed count. Forward decay (Cormode et al., ICDE 2009): each event adds 2^((t - origin) / h) to
its key's sum once, and reading divides by the same of the reading time. So the order of keys needs no exponential at all,
a tie in time costs one, and late events weigh what they should."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.component import fitted, param
from shortlist.core.units import seconds
from shortlist.state.slotted import Slotted, slots

RANGE = 512.0  # half-lives after which all sums are scaled down by 2^-512, an exact operation


@dataclass
class Decay(Slotted):
    """Definition: sum over the key's events of w * 2^(-(T - t) / half_life), with T = the later of the reading time and the
    latest event folded in (time never runs backwards), w = 1 or the event's value."""

    half_life: str = param("1d", "time after which an event weighs half", duration=True)
    weigh: bool = param(False, "weigh events by their value")
    sums: Array = slots("sum of 2^((t - origin) / h - shift)", np.float64, 0.0)
    origin: Array = fitted("(2,) float64: time of the first event, and half-lives shifted since")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.origin = np.array([np.nan, 0.0])

    def update(self, slots: Array, times: Array, values: Array) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; times (e,) int64; values (e,) float32."""
        _update(self.sums, self.origin, slots, times, values, seconds(self.half_life), self.weigh)

    def read(self, slots: Array, times: Array, now: int) -> Array:
        """(r,) float64 decayed count at times (r,) or (1,); 0 for a key never met."""
        return _read(self.sums, self.origin, slots, times, now, seconds(self.half_life))

    def scan(self, size: int, time: int, now: int) -> Array:
        """(size,) float32 decayed counts of slots 0 to size - 1 at one moment: what `read` gives, without a look-up per slot."""
        return _scan(self.sums, self.origin, size, max(time, now), seconds(self.half_life))


@njit(cache=True, nogil=True)
def _scan(sums: Array, origin: Array, size: int, time: int, half_life: float) -> Array:
    out = np.zeros(size, dtype=np.float32)
    scale = 2.0 ** (origin[1] - (time - origin[0]) / half_life)
    for i in range(min(size, len(sums))):
        if sums[i] != 0.0:
            out[i] = sums[i] * scale
    return out


@njit(cache=True, nogil=True)
def _update(
    sums: Array, origin: Array, slots: Array, times: Array, values: Array, half_life: float, weigh: bool
) -> None:
    last_time, weight = np.int64(-(2**62)), 0.0
    for i in range(len(slots)):
        if slots[i] < 0:
            continue
        if np.isnan(origin[0]):
            origin[0] = times[i]
        if times[i] != last_time:
            last_time = times[i]
            exponent = (last_time - origin[0]) / half_life - origin[1]
            if exponent > RANGE:
                steps = np.floor(exponent / RANGE)
                origin[1] += steps * RANGE
                scale = 2.0 ** (-RANGE)
                for _ in range(min(steps, 5)):  # five steps take any float to zero
                    for j in range(len(sums)):
                        sums[j] *= scale
                exponent = (last_time - origin[0]) / half_life - origin[1]
            weight = 2.0**exponent
        if not weigh:
            sums[slots[i]] += weight
        elif not np.isnan(values[i]):
            sums[slots[i]] += weight * values[i]


@njit(cache=True, nogil=True)
def _read(sums: Array, origin: Array, slots: Array, times: Array, now: int, half_life: float) -> Array:
    out = np.zeros(len(slots))
    last_time, scale = np.int64(-(2**62)), 0.0
    one = len(times) == 1
    for i in range(len(slots)):
        slot = slots[i]
        if slot < 0 or slot >= len(sums) or sums[slot] == 0.0:
            continue
        time = max(times[0] if one else times[i], now)
        if time != last_time:
            last_time = time
            scale = 2.0 ** (origin[1] - (time - origin[0]) / half_life)
        out[i] = sums[slot] * scale
    return out
