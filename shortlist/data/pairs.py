"""Which items follow or accompany which within users' sequences, counted: the ground of co-visitation sources and features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.data.log import Log

NORMS = ("npmi", "lift", "conditional", "cosine", "count")
ROOM = 1 << 20  # pairs that the output has room for at first; it grows by half


class Pairs(NamedTuple):
    """A sparse item x item table by rows: item a's partners are `indices[indptr[a]:indptr[a + 1]]`, ascending."""

    indptr: Array  # int64, items + 1
    indices: Array  # int32
    values: Array  # float32: summed weights
    support: Array  # int32: how many times the pair was met, whatever it weighed


def by_user(log: Log) -> Log:
    """The log with each user's events together, in log order within a user."""
    return log.take(np.argsort(log.user, kind="stable"))


def pairs(
    log: Log,
    size: int,
    *,
    window: int = 10,
    within: float = 0.0,
    ordered: bool = False,
    distance: float = 0.0,
    half_life: float = 0.0,
    now: int = 0,
) -> Pairs:
    """Pairs (a, b), a != b, of events of one user at most `window` places apart; both directions, or, when `ordered`, only b
    after a. log: as `by_user` gives it; size: items, all codes below it.

    within: at most so many seconds apart, 0 = however far. A pair adds places ** -distance * 0.5 ** (age / half_life), with the
    age of its later event as of `now`; half_life 0 = no ageing. Memory: the log's columns and the distinct pairs, 12 bytes each:
    pairs are gathered item by item, so that none is ever stored twice.
    """
    users, items, times = (np.ascontiguousarray(column) for column in (log.user, log.item, log.time))
    places = np.argsort(items, kind="stable")
    starts = np.zeros(size + 1, dtype=np.int64)
    np.cumsum(np.bincount(items, minlength=size), out=starts[1:])
    ages = np.exp2(-(now - times) / half_life).astype(np.float32) if half_life > 0 else np.ones(1, dtype=np.float32)
    fade = np.arange(window + 1, dtype=np.float64)
    fade[1:] = fade[1:] ** -distance
    indptr = np.zeros(size + 1, dtype=np.int64)
    room = max(ROOM, size)
    columns = (np.empty(room, np.int32), np.empty(room, np.float32), np.empty(room, np.int32))
    item = used = 0
    while True:
        item, used = _gather(
            users, items, times, ages, places, starts, fade, within, ordered, item, used, indptr, *columns
        )
        if item == size:
            break
        room = max(room * 3 // 2, used + size)
        columns = (_longer(columns[0], used, room), _longer(columns[1], used, room), _longer(columns[2], used, room))
    return Pairs(indptr, columns[0][:used].copy(), columns[1][:used].copy(), columns[2][:used].copy())


def _longer(array: Array, used: int, room: int) -> Array:
    grown = np.empty(room, dtype=array.dtype)
    grown[:used] = array[:used]
    return grown


@njit(cache=True, nogil=True)
def _gather(
    users: Array, items: Array, times: Array, ages: Array, places: Array, starts: Array, fade: Array, within: float,
    ordered: bool, first: int, used: int, indptr: Array, indices: Array, values: Array, support: Array,
) -> tuple[int, int]:  # fmt: skip
    """Rows of items from `first` on, until the output cannot surely take another row: (next item, entries used)."""
    size, window = len(starts) - 1, len(fade) - 1
    aged = len(ages) == len(users)
    sums = np.zeros(size)
    counts = np.zeros(size, dtype=np.int32)
    touched = np.empty(size, dtype=np.int32)
    for a in range(first, size):
        if used + size > len(indices):
            return a, used
        met = 0
        for e in range(starts[a], starts[a + 1]):
            i = places[e]
            for j in range(i if ordered else max(i - window, 0), min(i + window + 1, len(users))):
                if users[j] != users[i] or items[j] == a:
                    continue
                if within > 0 and abs(times[j] - times[i]) > within:
                    continue
                weight = fade[abs(j - i)]
                if aged:
                    weight *= ages[j] if times[j] > times[i] else ages[i]
                b = items[j]
                if counts[b] == 0:
                    touched[met] = b
                    met += 1
                sums[b] += weight
                counts[b] += 1
        partners = np.sort(touched[:met])
        for b in partners:
            indices[used], values[used], support[used] = b, sums[b], counts[b]
            sums[b], counts[b] = 0.0, 0
            used += 1
        indptr[a + 1] = used
    return size, used


def normalised(counted: Pairs, norm: str) -> Array:
    """(pairs,) float32: the weights made into one of NORMS: see `retrieve/cooccurrence` for their definitions."""
    size = len(counted.indptr) - 1
    owner = np.repeat(np.arange(size), np.diff(counted.indptr))
    weight = counted.values.astype(np.float64)
    row = np.bincount(owner, weight, minlength=size)[owner]
    column = np.bincount(counted.indices, weight, minlength=size)[counted.indices]
    total = weight.sum()
    # Pairs that decayed to nothing divide 0 by 0: they become NaN and are dropped with what is not above 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        if norm == "conditional":
            weight = weight / row
        elif norm == "cosine":
            weight = weight / np.sqrt(row * column)
        elif norm == "lift":
            weight = weight * total / (row * column)
        elif norm == "npmi":
            share = weight / total
            # A pair that is all there is has share 1: ln(1) / -ln(1), in the limit 1.
            weight = np.where(share < 1, np.log(weight * total / (row * column)) / -np.log(share), 1.0)
    return weight.astype(np.float32)


@njit(cache=True, nogil=True)
def best(
    indptr: Array, indices: Array, values: Array, support: Array, least: int, k: int
) -> tuple[Array, Array, Array]:
    """Every row's k best pairs met at least `least` times, best first, equal ones by item code."""
    out_ptr = np.zeros_like(indptr)
    out_indices = np.empty(len(indices), dtype=np.int32)
    out_values = np.empty(len(indices), dtype=np.float32)
    used = 0
    for a in range(len(indptr) - 1):
        rows = np.arange(indptr[a], indptr[a + 1])
        rows = rows[(support[rows] >= least) & (values[rows] > 0)]
        for c in np.argsort(-values[rows], kind="mergesort")[:k]:
            out_indices[used] = indices[rows[c]]
            out_values[used] = values[rows[c]]
            used += 1
        out_ptr[a + 1] = used
    return out_ptr, out_indices[:used].copy(), out_values[:used].copy()
