"""How much of the right answer an index finds."""

from __future__ import annotations

import numpy as np

from shortlist.core.batch import Array


def overlap(found: Array, wanted: Array) -> float:
    """Mean share of each row of `wanted` (n, k) ids, -1 = none, that is in the same row of `found`; rows that want nothing do not
    count, and 1 when no row wants anything."""
    shares = []
    for got, right in zip(found, wanted, strict=True):
        right = right[right >= 0]
        if len(right):
            shares.append(float(np.isin(right, got).mean()))
    return float(np.mean(shares)) if shares else 1.0
