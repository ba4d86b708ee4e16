"""Clock: when the request is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from shortlist.core.batch import Batch, Columns
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
        local = batch.time + int(seconds(self.offset))
        hour = (local % 86400 / 3600).astype(np.float32)
        weekday = ((local // 86400 + 3) % 7).astype(np.float32)  # 1 January 1970 was a Thursday
        return {"clock.hour": batch.spread(hour), "clock.weekday": batch.spread(weekday)}
