"""Breakers: parts that fail are left out for a while, and a part that hangs is not asked again until it has returned.

Source: Nygard, Release It! (2nd edition, 2018), chapter 5: circuit breaker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LONGEST = 32  # times the first pause: how long a part is left out at most


@dataclass
class Trouble:
    """A part that has failed lately. failures: in a row; until: it is left out before this moment (of the clock); hanging: calls
    that were given up and have not returned."""

    failures: int = 0
    opened: int = 0
    until: float = 0.0
    hanging: int = 0
    error: str = ""


class Breakers:
    """One per part that is in trouble. Safe for many threads; a part without trouble costs a look into an empty dict.

    failures: in a row, before a part is left out; retry: seconds, for the first time; it doubles. clock: seconds, for tests.
    """

    def __init__(self, failures: int, retry: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures, self.retry, self.clock = failures, retry, clock
        self.troubled: dict[str, Trouble] = {}
        self._lock = threading.Lock()

    def may(self, place: str) -> bool:
        """Is the part to be asked? A part whose pause is over is asked once: the pause begins anew with that."""
        if place not in self.troubled:
            return True
        with self._lock:
            found = self.troubled.get(place)
            if found is None:
                return True
            if found.hanging:
                return False
            if found.failures < self.failures:
                return True
            if self.clock() < found.until:
                return False
            self._pause(found)
            return True

    def failed(self, place: str, error: str) -> None:
        """It raised, or came back too late."""
        with self._lock:
            self._failed(place, error)

    def hangs(self, place: str) -> None:
        """A call was given up and is still running."""
        with self._lock:
            self._failed(place, "took too long").hanging += 1

    def returned(self, place: str) -> None:
        """A call that was given up has come back after all."""
        with self._lock:
            found = self.troubled.get(place)
            if found is not None and found.hanging:
                found.hanging -= 1

    def fine(self, place: str) -> None:
        """It worked: what was is forgotten."""
        if place in self.troubled:
            with self._lock:
                found = self.troubled.get(place)
                if found is not None and not found.hanging:
                    del self.troubled[place]

    def out(self) -> dict[str, str]:
        """The parts that are left out now, with their last error."""
        with self._lock:
            now = self.clock()
            return {
                place: found.error
                for place, found in self.troubled.items()
                if found.hanging or (found.failures >= self.failures and now < found.until)
            }

    def _failed(self, place: str, error: str) -> Trouble:
        found = self.troubled.setdefault(place, Trouble())
        found.failures += 1
        found.error = error
        if found.failures == self.failures:
            self._pause(found)
        return found

    def _pause(self, found: Trouble) -> None:
        found.until = self.clock() + self.retry * min(2**found.opened, LONGEST)
        found.opened += 1
