"""Cap: not too many items of one category near the top."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch
from shortlist.core.component import param
from shortlist.core.contracts import FitContext, Rule, State
from shortlist.core.errors import ConfigError, choices


@dataclass
class Cap(Rule):
    """Fills the first `within` places of every request from the top, passing over a row when `most` rows of its category are
    placed already. Rows passed over follow behind those places, or are dropped; all other rows keep their order.

    Items without a category are never passed over. When too few rows remain to fill the places, rows passed over come to
    stand within them, behind the others: a short list is worse than a crowded one (use `drop` if it is not).
    """

    by: str = param("category", "item category column to count by")
    most: int = param(3, "rows of one category at most", low=1)
    within: int = param(0, "places that the cap covers; 0 = the whole list", low=0)
    drop: bool = param(False, "drop the rows passed over instead of moving them behind")

    def fit(self, log: Any, ctx: FitContext) -> None:
        """Check the column; nothing is learned."""
        _check(self.by, ctx.catalogue, ctx.place or "cap")

    def rows(self, batch: Batch, state: State, rng: Callable[[int], np.random.Generator]) -> Array:
        """(rows,) int64 row indices, grouped by request."""
        _check(self.by, state.catalogue, "cap")
        category = state.catalogue.items.values(self.by, batch.item)
        return _rows(batch.offsets, category, self.most, self.within, self.drop)


def _check(by: str, catalogue: Any, place: str) -> None:
    items = catalogue.items
    kind = items.column(by, place).kind
    if kind != "category":
        raise ConfigError(
            f"{place}: item column {by!r} is a {kind} column; category columns: {choices(items.of_kind('category'))}"
        )


@njit(cache=True, nogil=True)
def _rows(offsets: Array, category: Array, most: int, within: int, drop: bool) -> Array:
    out = np.empty(len(category), dtype=np.int64)
    passed = np.empty(len(category), dtype=np.int64)
    placed = np.zeros(category.max() + 1 if len(category) else 0, dtype=np.int64)  # per category, zero between requests
    size = 0
    for request in range(len(offsets) - 1):
        first, last = offsets[request], offsets[request + 1]
        places = last - first if within == 0 else min(within, last - first)
        row, filled, over = first, 0, 0
        while row < last and filled < places:
            group = category[row]
            if group >= 0 and placed[group] >= most:
                passed[over] = row
                over += 1
            else:
                if group >= 0:
                    placed[group] += 1
                out[size] = row
                size += 1
                filled += 1
            row += 1
        if not drop:
            for i in range(over):
                out[size] = passed[i]
                size += 1
        for rest in range(row, last):
            out[size] = rest
            size += 1
        for i in range(first, last):
            if category[i] >= 0:
                placed[category[i]] = 0
    return out[:size]
