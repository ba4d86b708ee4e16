"""The clock of a service. With fresh data it is the wall's. With data of years ago the wall's clock would find every decayed count at
nothing, so time goes on from where the data end, as fast as on the wall."""

from __future__ import annotations

import time

from shortlist.serve.eventlog.contract import EventLog

STALE = 7 * 86_400  # seconds: data that end longer ago than this are history, not a service that was down over a week


class Clock:
    """shift: seconds that it is behind the wall. Kept in the log: all workers, also after a restart, have the same."""

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift

    @classmethod
    def of(cls, mode: str, log: EventLog, newest: int) -> Clock:
        """mode: wall, log (goes on from `newest`, the latest event of the bundle when the log was new), or auto: `wall` unless the data
        ended more than a week ago."""
        if mode == "wall":
            return cls()
        behind = int(time.time()) - newest
        if mode == "auto" and behind <= STALE:
            behind = 0
        return cls(int(log.meta("clock.shift", lambda: str(max(behind, 0)))))

    def __call__(self) -> float:
        """Unix seconds."""
        return time.time() - self.shift

    def given(self, at: int) -> int:
        """A time that a client gave. On a shifted clock, one by the wall's clock is moved along: it was meant as now."""
        if self.shift and abs(at - time.time()) < abs(at - self()):
            return at - self.shift
        return at
