"""Clock: when the request is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import param
from shortlist.core.contracts import Feature, State
from shortlist.core.units import seconds


@dataclass
class Clock(Feature):
    """`clock.hour` (0 to 24, with the fraction) and `clock.weekday` (0 = Monday)."""

    reads_state: ClassVar[bool] = False

    offset: str = param("0s", "what to add to UTC for the users' clock", duration=True)

    def compute(self, batch: Batch, state: State) -> Columns:
        """float32 columns of length m."""
        made = np.empty((2, batch.m), dtype=np.float32)
        _told(batch.time, int(seconds(self.offset)), batch.offsets, made)
        return {"clock.hour": made[0], "clock.weekday": made[1]}


@njit(cache=True, nogil=True)
def _told(times: Array, offset: int, owners: Array, out: Array) -> None:
    for i in range(len(times)):
        local = times[i] + offset
        out[0, owners[i] : owners[i + 1]] = local % 86400 / 3600
        out[1, owners[i] : owners[i + 1]] = (local // 86400 + 3) % 7  # 1 January 1970 was a Thursday
