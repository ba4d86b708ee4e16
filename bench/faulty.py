"""A source that behaves until a file appears, and then raises or hangs: what bench/load.py puts into a bundle."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shortlist.core.batch import Batch
from shortlist.core.component import param
from shortlist.core.contracts import Hits, Mask, Source, State


@dataclass
class Faulty(Source):
    """Finds nothing. While the file `trigger` exists, a call raises (if the file says `raise`) or does not return (if it says `hang`)."""

    trigger: str = param("", "the file")

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        path = Path(self.trigger)
        while path.exists():
            if path.read_text() == "raise":
                raise RuntimeError("this source raises")
            time.sleep(0.01)
        return Hits(np.full((batch.n, 0), -1, dtype=np.int32), np.zeros((batch.n, 0), dtype=np.float32))
