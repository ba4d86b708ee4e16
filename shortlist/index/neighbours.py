"""Scores from sparse neighbour rows: for each request, the sum over its history of weight x the item's row."""

from __future__ import annotations

import numpy as np
from numba import njit

from shortlist.core.batch import Array


def accumulate(
    offsets: Array, items: Array, weights: Array, indptr: Array, indices: Array, values: Array, size: int
) -> Array:
    """(n, size) float32: `out[i, b] = sum over history entries a of weight * values[a, b]`, added in history order, so that the
    bits of a request do not depend on the batch. 0 = no evidence.

    offsets, items, weights: request i's history is the entries `offsets[i]:offsets[i + 1]`. indptr, indices, values: CSR rows of
    neighbours; an item beyond the fitted rows has none, a neighbour beyond `size` is ignored.
    """
    out = np.zeros((len(offsets) - 1, size), dtype=np.float32)
    _accumulate(offsets, items, weights, indptr, indices, values, out)
    return out


@njit(cache=True, nogil=True)
def _accumulate(
    offsets: Array, items: Array, weights: Array, indptr: Array, indices: Array, values: Array, out: Array
) -> None:
    size = out.shape[1]
    for i in range(len(offsets) - 1):
        row = out[i]
        for j in range(offsets[i], offsets[i + 1]):
            item = items[j]
            if not 0 <= item < len(indptr) - 1:
                continue
            weight = np.float32(weights[j])
            for e in range(indptr[item], indptr[item + 1]):
                if indices[e] < size:
                    row[indices[e]] += weight * values[e]
