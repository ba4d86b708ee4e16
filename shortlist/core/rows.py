"""Row arithmetic on ragged candidates: order, top, place in run. Ties are broken by item code, non-finite scores sink."""

import numpy as np

from shortlist.core.batch import Array, Batch

KINDS = 128  # event kinds are int8 codes


def sink(scores: Array) -> Array:
    """Scores as float with every NaN or infinity replaced by -inf, so that they come last in every order."""
    return np.where(np.isfinite(scores), scores, -np.inf)


def order(batch: Batch, scores: Array) -> Array:
    """(m,) row indices that sort every request by score descending, then by item code: a total order, so it is stable
    under any order of the input rows."""
    if batch.n == 1:
        return np.lexsort((batch.item, -sink(scores)))
    return np.lexsort((batch.item, -sink(scores), batch.owner))


def top(batch: Batch, scores: Array, k: int) -> Array:
    """Row indices of the best k rows of every request, grouped by request, best first."""
    rows: Array = order(batch, scores)
    if batch.n == 1:
        return rows[:k]
    best: Array = rows[run_place(batch.offsets) < k]
    return best


def run_place(offsets: Array) -> Array:
    """(m,) place of each row within its own run: 0, 1, 2, ... restarting at every offset."""
    places: Array = np.arange(offsets[-1], dtype=np.int64) - np.repeat(offsets[:-1], np.diff(offsets))
    return places


def place(batch: Batch, scores: Array) -> Array:
    """(m,) int64 place of each row in its request when sorted by score: 0 = best."""
    rows = order(batch, scores)
    places = np.empty(batch.m, dtype=np.int64)
    places[rows] = run_place(batch.offsets)
    return places


def offsets_of(counts: Array) -> Array:
    """Offsets (length n + 1) of runs with these lengths."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def member(batch: Batch, offsets: Array, items: Array) -> Array:
    """(m,) bool: is the row's item in its request's set? The sets are ragged: request i owns `items[offsets[i]:offsets[i + 1]]`."""
    if batch.n == 1:
        return np.isin(batch.item, items)
    owner = np.repeat(np.arange(batch.n, dtype=np.int64), np.diff(offsets))
    return np.isin((batch.owner << 32) | batch.item, (owner << 32) | items)


def locate(wanted: Batch, among: Batch) -> Array:
    """(wanted.m,) row of each of its items in another batch of the same requests; -1 where it is not there."""
    if not among.m or not wanted.m:
        return np.full(wanted.m, -1, dtype=np.int64)
    keys = (among.owner << 32) | among.item
    order_of = np.argsort(keys)
    asked = (wanted.owner << 32) | wanted.item
    spot = np.minimum(np.searchsorted(keys[order_of], asked), len(keys) - 1)
    row: Array = np.where(keys[order_of][spot] == asked, order_of[spot], -1)
    return row


def kind_table(kinds: Array) -> Array:
    """(KINDS,) bool: which event kinds are these codes? A table is far quicker than a set operation on every event."""
    table = np.zeros(KINDS, dtype=bool)
    table[kinds] = True
    return table
