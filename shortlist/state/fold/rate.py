"""Rate: how often one thing follows from another (clicks per impression, purchases per click, revenue per visit), smoothed towards
the rate of all keys together. Numerators and denominators of all half-lives lie side by side: a key costs one or two cache lines."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.core.component import fitted, param
from shortlist.core.errors import ConfigError
from shortlist.core.units import seconds
from shortlist.state.compiled import Entry, block, floats, numbers, vector, wider
from shortlist.state.forward import lives_of, origin_of, rows_within, scale, weights
from shortlist.state.slotted import Filled, slots

ABOVE, BELOW = 1, 2  # an event counts in the numerator, in the denominator
AT_ONCE, QUIET, TILE = 0, 1, 2  # when an event begins to count


@dataclass
class Rate(Filled):
    """Definition, for each half-life h: (num + prior * base) / (den + prior), where
    num = sum over the key's events of kind `event` of w * 2^(-(T - t) / h), w = 1 or the event's value (a missing one adds nothing),
    den = sum over the key's events of kind `over` of 2^(-(T - t) / h), T = the later of the reading time and the latest event,
    base = num / den over the events of all keys together, 0 while there is no denominator.
    An event whose kind is in both counts in both. A key never met, or one without a denominator and a prior of 0, reads base.

    hold: an event counts once its session is over, that is, when an event or a reading comes more than `hold` after the newest time
    of the key's events (of both kinds) until then. So a user's own session says nothing about itself.
    lag: an event counts once T lies in a later tile, floor(T / lag) > floor(t / lag).
    base counts every event at once, whatever is held back, and keeps what evicted keys have brought. An event with several keys (a
    list) counts once for each in it, and one without a key does not."""

    over: tuple[str, ...] = param((), "event kinds of the denominator; all when empty")
    half_life: tuple[str, ...] = param(("1d",), "times after which an event weighs half; '' = never forgets")
    prior: float = param(20.0, "how many denominators the rate of all keys together is worth", low=0.0)
    weigh: bool = param(False, "weigh numerators by the event's value")
    hold: str = param(
        "", "leave a running session out: how long a key must be quiet; '' = count at once", duration=True
    )
    lag: str = param(
        "", "count only what came before the running tile of this length; '' = count at once", duration=True
    )
    sums: Array = slots(
        "per half-life: numerator, denominator; with hold or lag also both of what is held back, and its time",
        np.float64,
        0.0,
    )
    totals: Array = fitted("(2h,) numerator and denominator of all keys together, per half-life")
    origin: Array = fitted(
        "(1 + h,) float64: time of the first event, and per half-life how many have been shifted since"
    )

    def __post_init__(self) -> None:
        self.over = tuple(self.over)
        self.half_life = (self.half_life,) if isinstance(self.half_life, str) else tuple(self.half_life)
        self.lives = lives_of(self.half_life, "rate")
        if self.hold and self.lag:
            raise ConfigError(f"rate: hold {self.hold!r} and lag {self.lag!r} exclude each other; give one of them")
        self.wait = seconds(self.hold or self.lag) if self.hold or self.lag else 0.0
        self.when = QUIET if self.hold else TILE if self.lag else AT_ONCE
        if self.when and self.wait == 0.0:
            raise ConfigError(f"rate: {'hold' if self.hold else 'lag'} must be longer than nothing, got '0s'")
        super().__post_init__()
        self.totals = np.zeros(2 * len(self.lives))
        self.origin = origin_of(self.lives)
        self.sides = np.zeros(128, dtype=np.uint8)
        self.numbers = np.array([self.prior, self.when, self.wait])

    @property
    def kinds(self) -> tuple[str, ...]:
        """Numerators and denominators; all kinds when either says all."""
        return tuple(dict.fromkeys(self.event + self.over)) if self.event and self.over else ()

    def readings(self) -> tuple[str, ...]:
        """The half-lives."""
        return self.half_life

    def part_of(self, other: Any) -> list[int] | None:
        """The readings of another fold that are this one's: of one that only has more half-lives."""
        return rows_within(self, other)

    def bind(self, catalogue: Any) -> None:
        """Learn the codes of the kinds."""
        self.sides = np.zeros(128, dtype=np.uint8)
        for names, side in ((self.event, ABOVE), (self.over, BELOW)):
            self.sides[catalogue.kind_codes(names, self.name) if names else slice(None)] |= side

    def width(self) -> int:
        """Two per half-life; two more, and a time, where events are held back."""
        return 4 * len(self.lives) + 1 if self.when else 2 * len(self.lives)

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, `time`, `kind` and `value`."""
        _update(
            self.sums, self.totals, self.origin, slots, events["time"], events["kind"], events["value"], self.lives, self.sides,
            self.weigh, self.when, self.wait,
        )  # fmt: skip

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """(h, r) rates at times (r,) or (1,); the base for a key never met."""
        _read(self.sums, self.totals, self.origin, slots, times, now, self.lives, self.prior, self.when, self.wait, out)

    def entry(self) -> tuple[Entry, tuple[str, ...]]:
        """See `compiled`."""
        return _entry, ("sums", "totals", "origin", "lives", "numbers")


@njit(cache=True, nogil=True, inline="always")
def _moment(time: Any, when: int, wait: float) -> float:
    """What is remembered of an event that is held back. Never 0, which a new slot holds: no time is as far as 2^50 seconds."""
    moment: float = 2.0**50 + (np.floor(time / wait) if when == TILE else time)
    return moment


@njit(cache=True, nogil=True, inline="always")
def _over(held: Any, moment: Any, when: int, wait: float) -> bool:
    """Does what was held back since one moment count at another?"""
    over: bool = moment > held if when == TILE else moment > held + wait
    return over


@njit(cache=True, nogil=True)
def _update(
    sums: Array, totals: Array, origin: Array, slots: Array, times: Array, kinds: Array, values: Array, lives: Array, sides: Array,
    weigh: bool, when: int, wait: float,
) -> None:  # fmt: skip
    last_time, weight = np.int64(-(2**62)), np.zeros(len(lives))
    stride = 4 if when else 2
    for i in range(len(slots)):
        slot, side = slots[i], sides[kinds[i]]
        if slot < 0 or side == 0:
            continue
        if times[i] != last_time:
            last_time = times[i]
            weights(sums, stride, totals, origin, lives, last_time, weight)
        above = 0.0
        if side & ABOVE:
            above = 1.0 if not weigh else (0.0 if np.isnan(values[i]) else np.float64(values[i]))
        below = 1.0 if side & BELOW else 0.0
        first = 0
        if when:
            first = _place(sums[slot], _moment(last_time, when, wait), when, wait)
        for j in range(len(lives)):
            sums[slot, j * stride + first] += above * weight[j]
            sums[slot, j * stride + first + 1] += below * weight[j]
            totals[2 * j] += above * weight[j]
            totals[2 * j + 1] += below * weight[j]


@njit(cache=True, nogil=True)
def _place(row: Array, moment: float, when: int, wait: float) -> int:
    """Where an event goes in its slot: 2 = held back, 0 = counted at once (late by a tile). What its coming frees is counted."""
    held = row[-1]
    if held == 0.0:
        row[-1] = moment
    elif _over(held, moment, when, wait):
        for first in range(0, len(row) - 1, 4):
            row[first] += row[first + 2]
            row[first + 1] += row[first + 3]
            row[first + 2] = row[first + 3] = 0.0
        row[-1] = moment
    elif when == TILE:
        return 2 if moment == held else 0
    else:
        row[-1] = max(held, moment)
    return 2


def _entry(about: int, slots: int, size: int, time: int, now: int, out: int, wide: int) -> None:
    if wide:
        _entered(about, slots, size, time, now, wider(out, len(vector(about, 3)), size))
    else:
        _entered(about, slots, size, time, now, block(out, len(vector(about, 3)), size))


@njit(cache=True, nogil=True)
def _entered(about: int, slots: int, size: int, time: int, now: int, out: Array) -> None:
    where, when, told = numbers(slots, size), numbers(time, 1), vector(about, 4)
    _read(
        floats(about, 0), vector(about, 1), vector(about, 2), where, when, now, vector(about, 3), told[0], int(told[1]), told[2], out,
    )  # fmt: skip


# Division as the hardware does it: the check for a zero that cannot be, a denominator without a prior is looked at beforehand,
# would cost as much as the division.
@njit(cache=True, nogil=True, error_model="numpy")
def _read(
    sums: Array, totals: Array, origin: Array, slots: Array, times: Array, now: int, lives: Array, prior: float, when: int,
    wait: float, out: Array,
) -> None:  # fmt: skip
    base, own, scales = np.zeros(len(lives)), np.zeros(len(lives)), np.zeros(len(lives))
    for j in range(len(lives)):
        if totals[2 * j + 1] > 0.0:
            base[j] = totals[2 * j] / totals[2 * j + 1]
        own[j] = prior * base[j]
    last_time, moment = np.int64(-(2**62)), 0.0
    stride, held, nothing = 4 if when else 2, sums.shape[1] - 1, np.isnan(origin[0])
    if len(times) == 1 and prior > 0.0 and not nothing:
        # Half-life by half-life: the memory answers many keys at once, and the processor takes several in a step.
        time = max(times[0], now)
        moment = _moment(time, when, wait) if when else 0.0
        for j in range(len(lives)):
            factor, mean, rest, row = scale(origin, lives, j, time), base[j], own[j], out[j]
            first = np.uint64(j * stride)
            for i in range(len(slots)):
                slot = slots[i]
                known = (slot >= 0) & (slot < len(sums))
                place = np.uint64(slot if known else 0)
                above, below = sums[place, first], sums[place, first + np.uint64(1)]
                if when and _over(sums[place, held], moment, when, wait):
                    above += sums[place, first + np.uint64(2)]
                    below += sums[place, first + np.uint64(3)]
                made = (above * factor + rest) / (below * factor + prior)
                row[i] = made if known else mean
        return
    one = len(times) == 1
    for i in range(len(slots)):
        slot = slots[i]
        if slot < 0 or slot >= len(sums) or nothing:
            for j in range(len(lives)):
                out[j, i] = base[j]
            continue
        time = max(times[0] if one else times[i], now)
        if time != last_time:
            last_time = time
            if when:
                moment = _moment(time, when, wait)
            for j in range(len(lives)):
                scales[j] = scale(origin, lives, j, time)
        free = when != AT_ONCE and _over(sums[slot, held], moment, when, wait)
        for j in range(len(lives)):
            above, below = sums[slot, j * stride], sums[slot, j * stride + 1]
            if free:
                above += sums[slot, j * stride + 2]
                below += sums[slot, j * stride + 3]
            if prior > 0.0:
                out[j, i] = (above * scales[j] + own[j]) / (below * scales[j] + prior)
            else:
                out[j, i] = above / below if below > 0.0 else base[j]  # both fade alike
