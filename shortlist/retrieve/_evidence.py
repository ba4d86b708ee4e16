"""What personal sources are asked with: the newest items of each request's history, with weights. Never a user id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import History, State

SPREAD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Evidence:
    """Request i's items are the entries `offsets[i]:offsets[i + 1]`: distinct, newest first."""

    offsets: Array  # int64, n + 1
    items: Array  # int32
    weights: Array  # float32


def evidence(batch: Batch, state: State, kinds: Array, last: int, decay: float = 1.0) -> Evidence:
    """The newest `last` (0 = all kept) distinct items that each request's user met by events of these kinds. The newest weighs
    1, each older one `decay` times the one before it."""
    history = state.history(batch.user)
    offsets, items, weights = _distinct(history.offsets, history.items, history.kinds, flags(kinds), last, decay)
    return Evidence(offsets, items, weights)


def amounts(asked: Evidence, history: History, values: bool, half_life: float = 0.0, now: Array | None = None) -> Array:
    """(entries,) what each item of the evidence amounts to in its request's history: how many events it has, or the sum of their
    values (none below 0, no value is 0), each event times 0.5 ** (age / half_life) as of `now` ((n,) unix seconds) when half_life > 0
    seconds. history: only events of the kinds that the evidence was taken from.
    """
    n = len(asked.offsets) - 1
    owner = np.repeat(np.arange(n, dtype=np.int64), np.diff(history.offsets))
    wanted = np.repeat(np.arange(n, dtype=np.int64) << 32, np.diff(asked.offsets)) | asked.items
    pairs, place = np.unique(owner << 32 | history.items, return_inverse=True)
    worth = np.maximum(np.nan_to_num(history.values.astype(np.float64)), 0) if values else np.ones(len(owner))
    if half_life > 0 and now is not None:
        worth = worth * np.exp2(-np.maximum(now[owner] - history.times, 0) / half_life)
    found: Array = np.bincount(place, worth, len(pairs))[np.searchsorted(pairs, wanted)]
    return found


def flags(kinds: Array) -> Array:
    """(128,) bool over event-kind codes: what the kernels test a kind with."""
    table = np.zeros(128, dtype=np.bool_)
    table[kinds] = True
    return table


@njit(cache=True, nogil=True)
def _distinct(
    offsets: Array, items: Array, kinds: Array, wanted: Array, last: int, decay: float
) -> tuple[Array, Array, Array]:
    n = len(offsets) - 1
    longest = 0
    for i in range(n):
        longest = max(longest, offsets[i + 1] - offsets[i])
    capacity = 4
    while capacity < 2 * longest:
        capacity *= 2
    # A small hash set, stamped with the request so that it is never cleared.
    met = np.empty(capacity, dtype=np.int32)
    stamp = np.full(capacity, -1, dtype=np.int64)
    out_offsets = np.zeros(n + 1, dtype=np.int64)
    out_items = np.empty(len(items), dtype=np.int32)
    out_weights = np.empty(len(items), dtype=np.float32)
    count = 0
    for i in range(n):
        start = count
        weight = 1.0
        for j in range(offsets[i + 1] - 1, offsets[i] - 1, -1):
            if last > 0 and count - start == last:
                break
            if not wanted[kinds[j]]:
                continue
            spot = np.int64((np.uint64(items[j]) * SPREAD >> np.uint64(32)) & np.uint64(capacity - 1))
            while stamp[spot] == i and met[spot] != items[j]:
                spot = (spot + 1) & (capacity - 1)
            if stamp[spot] == i:
                continue
            stamp[spot], met[spot] = i, items[j]
            out_items[count] = items[j]
            out_weights[count] = weight
            weight *= decay
            count += 1
        out_offsets[i + 1] = count
    return out_offsets, out_items[:count].copy(), out_weights[:count].copy()
