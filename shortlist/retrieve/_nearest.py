"""The best partners of every item along paths item - user - item: a sparse product, row by row, on all cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from scipy import sparse

from shortlist.core.batch import Array
from shortlist.index.keys import SLACK, bits_of, cut, finish, item_of, pack
from shortlist.retrieve._threads import in_pieces


def nearest(
    columns: sparse.csc_array, rows: sparse.csr_array, left: Array, right: Array, shrink: float, k: int,
    progress: Callable[..., Any], title: str, union: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """CSR (indptr int64, indices int32, values float32) of the k best b != a of every item a, best first, equal ones by item
    code, by

        sum over users u of columns[u, a] * rows[u, b] / (left[a] * right[b] + shrink),

    or, with `union`, that sum s / (left[a] + right[b] - s + shrink): Jaccard's likeness where all weights are 1.

    columns, rows: (users, items) with the same entries; all weights above 0. left, right: (items,). No item x item matrix is ever
    held: memory is k partners per item.
    """
    size = len(columns.indptr) - 1
    lengths = np.diff(rows.indptr)
    work = np.bincount(rows.indices, np.repeat(lengths, lengths), minlength=size) if size else np.zeros(0)

    def piece(start: int, stop: int) -> tuple[Array, Array, Array]:
        found: tuple[Array, Array, Array] = _nearest(
            rows.indptr, rows.indices, rows.data, columns.indptr, columns.indices, columns.data,
            left, right, shrink, k, start, stop, union,
        )  # fmt: skip
        return found

    pieces = in_pieces(piece, work, progress, title)
    indptr = np.zeros(size + 1, dtype=np.int64)
    if not pieces:
        return indptr, np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
    np.cumsum(np.concatenate([found[0] for found in pieces]), out=indptr[1:])
    return indptr, np.concatenate([found[1] for found in pieces]), np.concatenate([found[2] for found in pieces])


@njit(cache=True, nogil=True)
def _nearest(
    row_ptr: Array, row_items: Array, row_data: Array, col_ptr: Array, col_users: Array, col_data: Array,
    left: Array, right: Array, shrink: float, k: int, start: int, stop: int, union: bool,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Items start..stop: how many partners each has, partners, values."""
    size = len(col_ptr) - 1
    counts = np.zeros(stop - start, dtype=np.int64)
    indices = np.empty((stop - start) * min(k, size), dtype=np.int32)
    values = np.empty((stop - start) * min(k, size), dtype=np.float32)
    sums = np.zeros(size)
    touched = np.empty(size + 1, dtype=np.int32)
    keys = np.empty(2 * k + SLACK, dtype=np.uint64)
    bits = np.zeros(1, dtype=np.uint32)  # and its float32 view, for a value's bits
    value = bits.view(np.float32)
    used = 0
    for a in range(start, stop):
        reach = 0
        for e in range(col_ptr[a], col_ptr[a + 1]):
            reach += row_ptr[col_users[e] + 1] - row_ptr[col_users[e]]
        if reach >= size:  # to look through all items afterwards costs less than to note them
            count = size
            _add(row_ptr, row_items, row_data, col_users, col_data, col_ptr[a], col_ptr[a + 1], sums)
        else:
            count = _note(row_ptr, row_items, row_data, col_users, col_data, col_ptr[a], col_ptr[a + 1], sums, touched)
        sums[a] = 0.0
        kept, worst = 0, np.float32(0.0)
        for c in range(count):
            b: Any = np.int64(touched[c]) if reach < size else c
            if sums[b] == 0.0:
                continue
            whole = left[a] + right[b] - sums[b] if union else left[a] * right[b]
            value[0] = sums[b] / (whole + shrink)
            sums[b] = 0.0
            # They come in no order, so one with the k-th best value may still win its tie.
            if value[0] < worst:
                continue
            keys[kept] = pack(bits[0], value[0], b)
            kept += 1
            if kept == len(keys):
                bits[0] = bits_of(cut(keys, kept, k))
                kept, worst = k, value[0]
        kept = finish(keys, kept, k)
        for c in range(kept):
            key = keys[kept - 1 - c]
            bits[0] = bits_of(key)
            indices[used], values[used] = item_of(key), value[0]
            used += 1
        counts[a - start] = kept
    return counts, indices[:used].copy(), values[:used].copy()


def turned(indptr: Array, indices: Array, values: Array) -> tuple[Array, Array, Array]:
    """The same square CSR table by columns: who has each item among its partners, in item order."""
    size = len(indptr) - 1
    table = sparse.csr_array((values, indices, indptr), shape=(size, size)).tocsc()
    return table.indptr.astype(np.int64), table.indices.astype(np.int32), table.data


def largest(owners: Array, values: Array, k: int) -> Array:
    """Positions, ascending, of the k largest values of every owner; of equal ones the first stay."""
    order = np.lexsort((np.arange(len(owners)), -values, owners))
    ranked = owners[order]
    found: Array = np.sort(order[np.arange(len(order)) - np.searchsorted(ranked, ranked) < k])
    return found


@njit(cache=True, nogil=True)
def _add(
    row_ptr: Array, row_items: Array, row_data: Array, users: Array, weights: Array, start: int, stop: int, sums: Array
) -> None:  # fmt: skip
    """The rows of the users start..stop of a column, each times the column's weight, into sums."""
    for e in range(start, stop):
        weight = np.float64(weights[e])
        for f in range(row_ptr[users[e]], row_ptr[users[e] + 1]):
            sums[np.uint32(row_items[f])] += weight * row_data[f]


@njit(cache=True, nogil=True)
def _note(
    row_ptr: Array, row_items: Array, row_data: Array, users: Array, weights: Array, start: int, stop: int, sums: Array,
    touched: Array,
) -> int:  # fmt: skip
    """The same, with the items that were touched, each once; how many. touched has room for one more, that does not count."""
    count = 0
    for e in range(start, stop):
        weight = np.float64(weights[e])
        for f in range(row_ptr[users[e]], row_ptr[users[e] + 1]):
            b = np.uint32(row_items[f])
            touched[count] = b
            count += sums[b] == 0.0
            sums[b] += weight * row_data[f]
    return count


@njit(cache=True, nogil=True)
def doubled(array: Array) -> Array:
    """The array with twice the room, for kernels that cannot know how much they will find."""
    grown = np.empty(2 * len(array), dtype=array.dtype)
    grown[: len(array)] = array
    return grown
