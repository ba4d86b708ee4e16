"""Decay: exponentially decayed counts. Forward decay (Cormode et al., ICDE 2009): each event adds 2^((t - origin) / h) to
its key's sum once, and reading divides by the same of the reading time. So the order of keys needs no exponential at all,
a tie in time costs one, and late events weigh what they should. The sums of several half-lives lie side by side: a key costs
one cache line, however many there are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.core.component import fitted, param
from shortlist.state.compiled import Entry, block, floats, numbers, vector, wider
from shortlist.state.forward import lives_of, origin_of, rows_within, scale, weights
from shortlist.state.slotted import Filled, slots


@dataclass
class Decay(Filled):
    """Definition, for each half-life: sum over the key's events of w * 2^(-(T - t) / half_life), with T = the later of the
    reading time and the latest event folded in (time never runs backwards), w = 1 or the event's value."""

    half_life: tuple[str, ...] = param(("1d",), "times after which an event weighs half", duration=True)
    weigh: bool = param(False, "weigh events by their value")
    sums: Array = slots("sum of 2^((t - origin) / h - shift), a column per half-life", np.float64, 0.0)
    origin: Array = fitted(
        "(1 + h,) float64: time of the first event, and per half-life how many have been shifted since"
    )

    def __post_init__(self) -> None:
        self.half_life = (self.half_life,) if isinstance(self.half_life, str) else tuple(self.half_life)
        super().__post_init__()
        self.lives = lives_of(self.half_life, "decay")
        self.origin = origin_of(self.lives)

    def readings(self) -> tuple[str, ...]:
        """The half-lives."""
        return self.half_life

    def part_of(self, other: Any) -> list[int] | None:
        """The readings of another fold that are this one's: of one that only has more half-lives."""
        return rows_within(self, other)

    def width(self) -> int:
        """Half-lives per slot."""
        return len(self.half_life)

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, `time` and `value`."""
        _update(self.sums, self.origin, slots, events["time"], events["value"], self.lives, self.weigh)

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """(h, r) decayed counts at times (r,) or (1,); 0 for a key never met."""
        _read(self.sums, self.origin, slots, times, now, self.lives, out)

    def entry(self) -> tuple[Entry, tuple[str, ...]]:
        """See `compiled`."""
        return _entry, ("sums", "origin", "lives")

    def scan(self, size: int, time: int, now: int, row: int = 0) -> Array:
        """(size,) float32 decayed counts of slots 0 to size - 1 at one moment, by one of the half-lives: what `read` gives, without a
        look-up per slot."""
        return _scan(self.sums, self.origin, size, max(time, now), self.lives, row)


@njit(cache=True, nogil=True)
def _scan(sums: Array, origin: Array, size: int, time: int, lives: Array, row: int) -> Array:
    out = np.zeros(size, dtype=np.float32)
    factor = scale(origin, lives, row, time)
    for i in range(min(size, len(sums))):
        if sums[i, row] != 0.0:
            out[i] = sums[i, row] * factor
    return out


@njit(cache=True, nogil=True)
def _update(sums: Array, origin: Array, slots: Array, times: Array, values: Array, lives: Array, weigh: bool) -> None:
    last_time, weight = np.int64(-(2**62)), np.zeros(len(lives))
    totals = np.zeros(0)  # of all keys together: none
    for i in range(len(slots)):
        slot = slots[i]
        if slot < 0:
            continue
        if times[i] != last_time:
            last_time = times[i]
            weights(sums, 1, totals, origin, lives, last_time, weight)
        if not weigh:
            for j in range(len(lives)):
                sums[slot, j] += weight[j]
        elif not np.isnan(values[i]):
            for j in range(len(lives)):
                sums[slot, j] += weight[j] * values[i]


def _entry(about: int, slots: int, size: int, time: int, now: int, out: int, wide: int) -> None:
    if wide:
        _entered(about, slots, size, time, now, wider(out, len(vector(about, 2)), size))
    else:
        _entered(about, slots, size, time, now, block(out, len(vector(about, 2)), size))


@njit(cache=True, nogil=True)
def _entered(about: int, slots: int, size: int, time: int, now: int, out: Array) -> None:
    where, when = numbers(slots, size), numbers(time, 1)
    _read(floats(about, 0), vector(about, 1), where, when, now, vector(about, 2), out)


@njit(cache=True, nogil=True)
def _read(sums: Array, origin: Array, slots: Array, times: Array, now: int, lives: Array, out: Array) -> None:
    if len(times) == 1 and not np.isnan(origin[0]):
        factors, size = np.empty(len(lives)), np.uint64(len(sums))
        for j in range(len(lives)):
            factors[j] = scale(origin, lives, j, max(times[0], now))
        if np.isfinite(
            factors
        ).all():  # then no sum of 0 needs a look: which slots are empty or unknown is not to be foretold
            for i in range(len(slots)):
                place = np.uint64(slots[i])  # -1 becomes a number that no table is as long as
                known = place < size
                place = place if known else np.uint64(0)
                for j in range(len(lives)):
                    made = sums[place, np.uint64(j)] * factors[j]
                    out[j, i] = made if known else 0.0
            return
    last_time, scales = np.int64(-(2**62)), np.zeros(len(lives))
    one = len(times) == 1
    for i in range(len(slots)):
        slot = slots[i]
        if slot < 0 or slot >= len(sums):
            for j in range(len(lives)):
                out[j, i] = 0.0
            continue
        time = max(times[0] if one else times[i], now)
        if time != last_time:
            last_time = time
            for j in range(len(lives)):
                scales[j] = scale(origin, lives, j, time)
        for j in range(len(lives)):
            # Not 0 times what may be infinite before the first event.
            out[j, i] = sums[slot, j] * scales[j] if sums[slot, j] != 0.0 else 0.0
