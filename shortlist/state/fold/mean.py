"""Mean: mean and spread of the values of a key's events: the ratings of an item, the prices that a user pays."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.core.component import fitted, param
from shortlist.state.compiled import Entry, block, floats, numbers, vector, wider
from shortlist.state.forward import lives_of, origin_of, scale, weights
from shortlist.state.slotted import Filled, slots


@dataclass
class Mean(Filled):
    """Definition, over the key's events that have a value v, each of weight w = 2^(-(T - t) / half_life), or 1 without a half-life,
    with T = the later of the reading time and the latest event folded in:
    mean = sum of w v / sum of w; std = root of (sum of w (v - mean)^2 / sum of w); count = sum of w.
    Mean and std of a key without such an event, or whose weights have all left the range of floats, are NaN, its count is 0.

    By the weighted recurrence of Welford (West, CACM 1979), which keeps its digits where sums of squares would lose theirs."""

    half_life: str = param("", "time after which an event weighs half; '' = never forgets", duration=True)
    sums: Array = slots("sum of weights, sum of squared deviations, mean", np.float64, 0.0)
    origin: Array = fitted("(2,) float64: time of the first event, and how many half-lives have been shifted since")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lives = lives_of((self.half_life,), "mean")
        self.origin = origin_of(self.lives)

    def readings(self) -> tuple[str, ...]:
        """Mean, population standard deviation, count."""
        return ("mean", "std", "count")

    def width(self) -> int:
        """Three numbers per slot."""
        return 3

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, `time` and `value`."""
        _update(self.sums, self.origin, slots, events["time"], events["value"], self.lives)

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """(3, r) mean, std and count at times (r,) or (1,)."""
        _read(self.sums, self.origin, slots, times, now, self.lives, out)

    def entry(self) -> tuple[Entry, tuple[str, ...]]:
        """See `compiled`."""
        return _entry, ("sums", "origin", "lives")


def _entry(about: int, slots: int, size: int, time: int, now: int, out: int, wide: int) -> None:
    if wide:
        _entered(about, slots, size, time, now, wider(out, 3, size))
    else:
        _entered(about, slots, size, time, now, block(out, 3, size))


@njit(cache=True, nogil=True)
def _entered(about: int, slots: int, size: int, time: int, now: int, out: Array) -> None:
    where, when = numbers(slots, size), numbers(time, 1)
    _read(floats(about, 0), vector(about, 1), where, when, now, vector(about, 2), out)


@njit(cache=True, nogil=True)
def _update(sums: Array, origin: Array, slots: Array, times: Array, values: Array, lives: Array) -> None:
    last_time, weight, totals = np.int64(-(2**62)), np.zeros(1), np.zeros(0)
    for i in range(len(slots)):
        slot = slots[i]
        if slot < 0 or np.isnan(values[i]):
            continue
        if times[i] != last_time:
            last_time = times[i]
            weights(sums, 2, totals, origin, lives, last_time, weight)
        row, value = sums[slot], np.float64(values[i])
        row[0] += weight[0]
        if row[0] > 0.0:  # a late event may weigh nothing at all
            far = value - row[2]
            row[2] += far * (weight[0] / row[0])
            row[1] += weight[0] * far * (value - row[2])


@njit(cache=True, nogil=True)
def _read(sums: Array, origin: Array, slots: Array, times: Array, now: int, lives: Array, out: Array) -> None:
    one = len(times) == 1
    for i in range(len(slots)):
        slot = slots[i]
        out[0, i] = out[1, i] = np.nan
        out[2, i] = 0.0
        if slot < 0 or slot >= len(sums) or sums[slot, 0] == 0.0:
            continue
        time = max(times[0] if one else times[i], now)
        out[0, i] = sums[slot, 2]
        out[1, i] = np.sqrt(max(sums[slot, 1] / sums[slot, 0], 0.0))
        out[2, i] = sums[slot, 0] * scale(origin, lives, 0, time)
