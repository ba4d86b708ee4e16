"""Session: where a key (a user, mostly) stands in its running session."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Columns
from shortlist.core.component import param
from shortlist.core.units import seconds
from shortlist.state.compiled import Entry, block, numbers, vector, whole, wider
from shortlist.state.slotted import Filled, slots


@dataclass
class Session(Filled):
    """Definition: a key's events in log order are cut where one comes more than `gap` after the newest time until then; a late event
    belongs to the session that runs. The newest session is over when T, the later of the reading time and the latest event folded in,
    is more than `gap` after its newest time. Readings:
    position: events in the session, 0 when it is over; length: seconds from its earliest time to T, 0 when it is over;
    pace: mean seconds between its events, (newest time - earliest time) / (position - 1), NaN with less than two and when it is over;
    sessions: how many so far, the running one too; since: seconds from the newest time of all to T, NaN for a key never met."""

    by: tuple[str, ...] = param(("user",), "its key: user, mostly, or any other that a fold may have")
    event: tuple[str, ...] = param((), "event kinds to fold")
    gap: str = param("30m", "quiet time that ends a session", duration=True)
    runs: Array = slots("events of the session, sessions, newest time, earliest time of the session", np.int64, 0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.quiet = seconds(self.gap)
        self.numbers = np.array([self.quiet])

    def readings(self) -> tuple[str, ...]:
        """See the definition."""
        return ("position", "length", "pace", "sessions", "since")

    def width(self) -> int:
        """Four numbers per slot."""
        return 4

    def update(self, slots: Array, events: Columns) -> None:
        """Fold events in. slots (e,) int64, -1 = no key; of the events, `time`."""
        _update(self.runs, slots, events["time"], self.quiet)

    def fill(self, slots: Array, times: Array, now: int, out: Array) -> None:
        """(5, r) at times (r,) or (1,)."""
        _read(self.runs, slots, times, now, self.quiet, out)

    def entry(self) -> tuple[Entry, tuple[str, ...]]:
        """See `compiled`."""
        return _entry, ("runs", "numbers")


def _entry(about: int, slots: int, size: int, time: int, now: int, out: int, wide: int) -> None:
    if wide:
        _entered(about, slots, size, time, now, wider(out, 5, size))
    else:
        _entered(about, slots, size, time, now, block(out, 5, size))


@njit(cache=True, nogil=True)
def _entered(about: int, slots: int, size: int, time: int, now: int, out: Array) -> None:
    _read(whole(about, 0), numbers(slots, size), numbers(time, 1), now, vector(about, 1)[0], out)


@njit(cache=True, nogil=True)
def _update(runs: Array, slots: Array, times: Array, gap: float) -> None:
    for i in range(len(slots)):
        if slots[i] < 0:
            continue
        row, time = runs[slots[i]], times[i]
        if row[1] == 0 or time - row[2] > gap:
            row[0], row[1], row[2], row[3] = 1, row[1] + 1, time, time
        else:
            row[0], row[2], row[3] = row[0] + 1, max(row[2], time), min(row[3], time)


@njit(cache=True, nogil=True)
def _read(runs: Array, slots: Array, times: Array, now: int, gap: float, out: Array) -> None:
    one = len(times) == 1
    for i in range(len(slots)):
        slot = slots[i]
        out[0, i] = out[1, i] = out[3, i] = 0.0
        out[2, i] = out[4, i] = np.nan
        if slot < 0 or slot >= len(runs) or runs[slot, 1] == 0:
            continue
        row = runs[slot]
        time = max(times[0] if one else times[i], now)
        out[3, i] = row[1]
        out[4, i] = time - row[2]
        if time - row[2] > gap:
            continue
        out[0, i] = row[0]
        out[1, i] = time - row[3]
        if row[0] > 1:
            out[2, i] = (row[2] - row[3]) / (row[0] - 1)
