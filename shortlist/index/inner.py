"""Inner products of user and item vectors whose bits per (request, item) pair do not depend on how many requests there are.

A matrix product from a linear-algebra library picks another summation order for n = 1 than for n = 1000; here one loop serves
both. Items are taken in blocks that stay in cache while every request reads them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from shortlist.core.batch import Array

BLOCK = 512


def inner(users: Array, items: Array, size: int) -> Array:
    """(n, size) float32 inner products of (n, d) and (fitted, d) vectors; NaN for items beyond the fitted ones, and wherever a
    vector holds a NaN."""
    out = np.empty((len(users), size), dtype=np.float32)
    out[:, len(items) :] = np.nan
    users = np.ascontiguousarray(users, dtype=np.float32)
    _inner(users, np.ascontiguousarray(items, dtype=np.float32), out, min(size, len(items)))
    return out


# Only reassociation and contraction: full fast-math would let the compiler assume that there are no NaNs.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def _inner(users: Array, items: Array, out: Array, size: int) -> None:
    d = users.shape[1]
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        for i in range(len(users)):
            for j in range(start, stop):
                total = np.float32(0.0)
                for c in range(d):
                    total += users[i, c] * items[j, c]
                out[i, j] = total
