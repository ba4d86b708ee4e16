"""Top: the first k rows of every request, and no more."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.component import param
from shortlist.core.contracts import Rule, State
from shortlist.core.rows import run_place


@dataclass
class Top(Rule):
    """Keeps rows in the first `k` places of their request, in their order."""

    only_cuts: ClassVar[bool] = True  # what is left stands as it stood: it may follow a rule that draws
    k: int = param(10, "rows to keep per request", low=1)

    def rows(self, batch: Batch, state: State, rng: Callable[[int], np.random.Generator]) -> Array:
        """(rows,) int64 row indices, at most k per request; a shorter request keeps all that it has."""
        return np.flatnonzero(run_place(batch.offsets) < self.k)
