"""Ranked lists against targets with values (ratings): gain from what was liked, loss from what was not, at k, one value per request.

With value v(r) of the target at rank r, `good` the lowest value that was liked, and discount(r) = 1 / log2(r + 1):

    ndcg  sum over liked targets shown, r <= k, of (2 ^ v(r) - 1) * discount(r)                          (Burges et al., ICML 2005)
    ndcl  sum over the other targets shown, r <= k, of (1 - 2 ^ (v(r) - good)) * discount(r), lower is better
          (Frolov & Oseledets, "Fifty Shades of Ratings", RecSys 2016, section 6)

each over the same sum for the list of all targets, highest value first, cut at k. A request with nothing to gain (lose) has no ndcg
(ndcl): NaN.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.metric.ranking import verified


def graded(
    offsets: Array, items: Array, target_offsets: Array, target_items: Array, values: Array, k: int, good: float
) -> dict[str, Array]:
    """ndcg and ndcl at k: (n,) float64 each, NaN where undefined.

    offsets, items, target_offsets, target_items: as in `metric.ranking`; values: (targets,) of each. A request's targets are distinct.
    """
    verified(offsets, items, target_offsets, target_items, k)
    gain, loss = _judge(
        np.ascontiguousarray(offsets, dtype=np.int64),
        np.ascontiguousarray(items, dtype=np.int64),
        np.ascontiguousarray(target_offsets, dtype=np.int64),
        np.ascontiguousarray(target_items, dtype=np.int64),
        np.ascontiguousarray(values, dtype=np.float64),
        k,
        good,
    )
    return {"ndcg": gain, "ndcl": loss}


@njit(cache=True, nogil=True)
def _judge(
    offsets: Array, items: Array, target_offsets: Array, target_items: Array, values: Array, k: int, good: float
) -> tuple[Array, Array]:
    n = len(offsets) - 1
    out = np.full((2, n), np.nan)
    for i in range(n):
        own = slice(target_offsets[i], target_offsets[i + 1])
        targets, side = target_items[own], np.where(values[own] >= good, 0, 1)
        worth = np.where(side == 0, 2.0 ** values[own] - 1.0, 1.0 - 2.0 ** (values[own] - good))
        sums, ideal = np.zeros(2), np.zeros(2)
        order = np.argsort(-values[own], kind="mergesort")
        for place in range(min(k, len(order))):
            ideal[side[order[place]]] += worth[order[place]] / np.log2(place + 2.0)
        for place in range(min(k, offsets[i + 1] - offsets[i])):
            for t in range(len(targets)):
                if targets[t] == items[offsets[i] + place]:
                    sums[side[t]] += worth[t] / np.log2(place + 2.0)
        for s in range(2):
            if ideal[s] > 0:
                out[s, i] = sums[s] / ideal[s]
    return out[0], out[1]
