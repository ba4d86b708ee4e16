"""Scores from sparse neighbour rows: for each request, the sum over its history of weight x the item's row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.contracts import Mask
from shortlist.index.keys import SLACK, cut, finish, item_of, pack
from shortlist.index.top import mark, padded, parts


@dataclass(frozen=True)
class Sums:
    """The score of item b for request i: sum over history entries a of weight * values[a, b], added in history order, so that its
    bits do not depend on the batch. 0 = no evidence.

    offsets, items, weights: request i's history is the entries `offsets[i]:offsets[i + 1]`. indptr, indices, values: CSR rows of
    neighbours; an item beyond the fitted rows has none, a neighbour beyond `size` is ignored. No row of all items is kept: one
    is filled for the request in hand, and cleared by what was touched.
    """

    offsets: Array
    items: Array
    weights: Array
    indptr: Array
    indices: Array
    values: Array
    size: int

    def top(self, k: int, allowed: Mask | None = None) -> tuple[Array, Array]:
        """(n, k) int32 items with a score above 0, best first, equal ones by item code, -1 where there are fewer; (n, k) float32
        scores, NaN there."""
        shared, ban_offsets, banned = parts(allowed)
        wanted = max(k, 0)
        found = _top_sums(*self._arrays(), self.size, min(wanted, self.size), shared, ban_offsets, banned)
        return padded(found[0], found[1], wanted)

    def of(self, owner: Array, item: Array) -> Array:
        """(r,) float32 scores of (request, item) pairs, grouped by request."""
        out = np.zeros(len(item), dtype=np.float32)
        _of(*self._arrays(), self.size, np.ascontiguousarray(owner), np.ascontiguousarray(item), out)
        return out

    def _arrays(self) -> tuple[Array, Array, Array, Array, Array, Array]:
        return self.offsets, self.items, self.weights, self.indptr, self.indices, self.values


@njit(cache=True, nogil=True)
def _add(
    start: int, stop: int, items: Array, weights: Array, indptr: Array, indices: Array, values: Array,
    row: Array, met: Array, touched: Array,
) -> int:  # fmt: skip
    """One request's sums into `row`, zero before; which items were touched, each once; how many they are. met: flags, all false
    before."""
    size, count = len(row), 0
    for j in range(start, stop):
        item = items[j]
        if not 0 <= item < len(indptr) - 1:
            continue
        weight = np.float32(weights[j])
        for e in range(indptr[item], indptr[item + 1]):
            b = indices[e]
            if b >= size:
                continue
            if not met[b]:
                met[b] = True
                touched[count] = b
                count += 1
            row[b] += weight * values[e]
    return count


@njit(cache=True, nogil=True)
def _clear(row: Array, met: Array, touched: Array, count: int) -> None:
    for c in range(count):
        row[touched[c]] = 0.0
        met[touched[c]] = False


@njit(cache=True, nogil=True)
def _top_sums(
    offsets: Array, items: Array, weights: Array, indptr: Array, indices: Array, values: Array, size: int, k: int,
    shared: Array | None, ban_offsets: Array, banned: Array,
) -> tuple[Array, Array]:  # fmt: skip
    n = len(offsets) - 1
    out_items = np.full((n, k), -1, dtype=np.int32)
    out_scores = np.full((n, k), np.nan, dtype=np.float32)
    if k == 0:
        return out_items, out_scores
    row, met = np.zeros(size, dtype=np.float32), np.zeros(size, dtype=np.bool_)
    bits = row.view(np.uint32)
    touched = np.empty(size, dtype=np.int32)
    has_bans = len(ban_offsets) > 0
    flags = np.zeros(size if has_bans else 0, dtype=np.bool_)
    room = min(2 * k + SLACK, size)
    keys = np.empty(room + 1, dtype=np.uint64)
    for i in range(n):
        seen = _add(offsets[i], offsets[i + 1], items, weights, indptr, indices, values, row, met, touched)
        if has_bans and seen:
            mark(flags, banned, ban_offsets[i], ban_offsets[i + 1], True)
        count = 0
        threshold = np.float32(0.0)
        for c in range(seen):
            item = touched[c]
            score = row[item]
            # Items come in no order, so one with the k-th best score may still win its tie.
            if not (score >= threshold and score > 0.0 and score < np.inf):
                continue
            if shared is not None and (item >= len(shared) or not shared[item]):
                continue
            if has_bans and flags[item]:
                continue
            keys[count] = pack(bits[item], score, item)
            count += 1
            if count > room:
                threshold = row[item_of(cut(keys, count, k))]
                count = k
        count = finish(keys, count, k)
        for c in range(count):
            item = item_of(keys[count - 1 - c])
            out_items[i, c] = item
            out_scores[i, c] = row[item]
        if has_bans and seen:
            mark(flags, banned, ban_offsets[i], ban_offsets[i + 1], False)
        _clear(row, met, touched, seen)
    return out_items, out_scores


@njit(cache=True, nogil=True)
def _of(
    offsets: Array, items: Array, weights: Array, indptr: Array, indices: Array, values: Array, size: int,
    owner: Array, item: Array, out: Array,
) -> None:  # fmt: skip
    row, met = np.zeros(size, dtype=np.float32), np.zeros(size, dtype=np.bool_)
    touched = np.empty(size, dtype=np.int32)
    first = 0
    while first < len(owner):
        i = owner[first]
        seen = _add(offsets[i], offsets[i + 1], items, weights, indptr, indices, values, row, met, touched)
        while first < len(owner) and owner[first] == i:
            out[first] = row[item[first]]
            first += 1
        _clear(row, met, touched, seen)
