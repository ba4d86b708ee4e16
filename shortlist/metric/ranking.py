"""Ranked lists against target sets: hit rate, precision, recall, MRR, MAP, NDCG at k, one value per request.

Relevance is binary. Lists and targets are ragged: request i was shown `items[offsets[i]:offsets[i + 1]]`, best first, and
took the set `target_items[target_offsets[i]:target_offsets[i + 1]]`. With rel(r) = 1 when the item at rank r = 1, 2, ... is
a target, and T distinct targets:

    hitrate    1 when any rel(r) = 1, r <= k
    precision  sum of rel(r) / k, also where fewer than k were shown
    recall     sum of rel(r) / T; with `capped`, / min(k, T)
    mrr        1 / (the first r <= k with rel(r) = 1), 0 without one
    map        sum of rel(r) * precision@r / min(k, T); with `whole`, / T
    ndcg       sum of rel(r) / log2(r + 1), over the same sum for r = 1 .. min(k, T)  (Jarvelin & Kekalainen 2002)

These conventions decide the fourth digit; docs/metrics.md says who else uses which.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError, DataError, choices

NAMES = ("ndcg", "hitrate", "mrr", "recall", "precision", "map")


def ranking(
    offsets: Array,
    items: Array,
    target_offsets: Array,
    target_items: Array,
    k: int,
    *,
    capped: bool = False,
    whole: bool = False,
) -> dict[str, Array]:
    """Every metric of `NAMES` at k: (n,) float64 each, from one pass over the lists.

    offsets, target_offsets: (n + 1,); items, target_items: item codes. An item shown twice is judged once, where it is first
    shown; it still takes up both ranks. A negative item is an empty place, never a hit. Targets named twice are one target;
    a negative target is something outside the catalogue: it cannot be hit and counts in T. capped: see recall above; whole: see map.
    DataError for a request without targets, because a mean over it would mean nothing.
    """
    verified(offsets, items, target_offsets, target_items, k)
    hits, first, precisions, gains, targets = _judge(
        np.ascontiguousarray(offsets, dtype=np.int64),
        np.ascontiguousarray(items, dtype=np.int64),
        np.ascontiguousarray(target_offsets, dtype=np.int64),
        np.ascontiguousarray(target_items, dtype=np.int64),
        k,
        _discounts(k),
    )
    reachable = np.minimum(targets, k)
    ideal = np.concatenate([[0.0], np.cumsum(_discounts(k))])
    return {
        "ndcg": gains / ideal[reachable],
        "hitrate": (hits > 0).astype(np.float64),
        "mrr": np.where(first > 0, 1.0 / np.maximum(first, 1), 0.0),
        "recall": hits / (reachable if capped else targets),
        "precision": hits / k,
        "map": precisions / (targets if whole else reachable),
    }


def named(
    metrics: Sequence[str], offsets: Array, items: Array, target_offsets: Array, target_items: Array
) -> dict[str, Array]:
    """The metrics that a report asks for by name, `"ndcg@10"`: (n,) float64 each. One pass per distinct k."""
    parsed = [parse(metric) for metric in metrics]
    by_k = {k: ranking(offsets, items, target_offsets, target_items, k) for k in dict.fromkeys(k for _, k in parsed)}
    return {f"{name}@{k}": by_k[k][name] for name, k in parsed}


def parse(metric: str) -> tuple[str, int]:
    """`"ndcg@10"` as ("ndcg", 10), or a ConfigError with the choices."""
    name, _, k = metric.partition("@")
    if name not in NAMES or not k.isascii() or not k.isdigit() or int(k) < 1:
        raise ConfigError(f"unknown metric {metric!r}; write one of {choices(NAMES)} with its k, for example 'ndcg@10'")
    return name, int(k)


def _discounts(k: int) -> Array:
    """(k,) what a hit at rank 1 .. k is worth: 1 / log2(rank + 1)."""
    discounts: Array = 1.0 / np.log2(np.arange(2, k + 2))
    return discounts


def verified(offsets: Array, items: Array, target_offsets: Array, target_items: Array, k: int) -> None:
    """One line about whatever cannot be judged."""
    if k < 1:
        raise DataError(f"k must be at least 1, not {k}")
    if len(offsets) != len(target_offsets):
        raise DataError(f"lists of {len(offsets) - 1} requests, but targets of {len(target_offsets) - 1}")
    for title, starts, entries in (("list", offsets, items), ("target", target_offsets, target_items)):
        if len(starts) < 1 or starts[0] != 0 or starts[-1] != len(entries) or (np.diff(starts) < 0).any():
            raise DataError(f"{title} offsets must rise from 0 to {len(entries)}, the number of {title} items")
    empty = np.flatnonzero(np.diff(target_offsets) == 0)
    if len(empty):
        raise DataError(f"{len(empty)} of {len(offsets) - 1} requests have no targets; the first is request {empty[0]}")


@njit(cache=True, nogil=True)
def _judge(
    offsets: Array, items: Array, target_offsets: Array, target_items: Array, k: int, discounts: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Per request: hits within k, rank of the first (0 = none), sum of precision at the hits, discounted gain, targets."""
    n = len(offsets) - 1
    hits, first, targets = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    precisions, gains = np.zeros(n), np.zeros(n)
    for i in range(n):
        wanted = np.sort(target_items[target_offsets[i] : target_offsets[i + 1]])
        taken = np.zeros(len(wanted), np.bool_)
        for j in range(len(wanted)):
            if j == 0 or wanted[j] < 0 or wanted[j] != wanted[j - 1]:
                targets[i] += 1
        for place in range(min(k, offsets[i + 1] - offsets[i])):
            item = items[offsets[i] + place]
            at = np.searchsorted(wanted, item)  # the first of equal targets, so one mark is enough
            if item < 0 or at == len(wanted) or wanted[at] != item or taken[at]:
                continue
            taken[at] = True
            hits[i] += 1
            if first[i] == 0:
                first[i] = place + 1
            precisions[i] += hits[i] / (place + 1)
            gains[i] += discounts[place]
    return hits, first, precisions, gains, targets
