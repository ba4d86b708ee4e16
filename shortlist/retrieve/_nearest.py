"""The best partners of every item along paths item - user - item: a sparse product, row by row, on all cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from scipy import sparse

from shortlist.core.batch import Array
from shortlist.retrieve._threads import in_pieces


def nearest(
    columns: sparse.csc_array, rows: sparse.csr_array, left: Array, right: Array, shrink: float, k: int,
    progress: Callable[..., Any], title: str,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """CSR (indptr int64, indices int32, values float32) of the k best b != a of every item a, best first, equal ones by item
    code, by

        sum over users u of columns[u, a] * rows[u, b] / (left[a] * right[b] + shrink).

    columns, rows: (users, items) with the same entries; all weights above 0. left, right: (items,). No item x item matrix is ever
    held: memory is k partners per item.
    """
    size = len(columns.indptr) - 1
    lengths = np.diff(rows.indptr)
    work = np.bincount(rows.indices, np.repeat(lengths, lengths), minlength=size) if size else np.zeros(0)

    def piece(start: int, stop: int) -> tuple[Array, Array, Array]:
        found: tuple[Array, Array, Array] = _nearest(
            rows.indptr, rows.indices, rows.data, columns.indptr, columns.indices, columns.data,
            left, right, shrink, k, start, stop,
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
    left: Array, right: Array, shrink: float, k: int, start: int, stop: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Items start..stop: how many partners each has, partners, values."""
    size = len(col_ptr) - 1
    counts = np.zeros(stop - start, dtype=np.int64)
    indices = np.empty((stop - start) * min(k, size), dtype=np.int32)
    values = np.empty((stop - start) * min(k, size), dtype=np.float32)
    sums = np.zeros(size)
    touched = np.empty(size, dtype=np.int64)
    used = 0
    for a in range(start, stop):
        count = 0
        for e in range(col_ptr[a], col_ptr[a + 1]):
            weight = np.float64(col_data[e])
            for f in range(row_ptr[col_users[e]], row_ptr[col_users[e] + 1]):
                b = row_items[f]
                if sums[b] == 0.0 and b != a:
                    touched[count] = b
                    count += 1
                sums[b] += weight * row_data[f]
        sums[a] = 0.0
        near = np.sort(touched[:count])
        score = np.empty(count, dtype=np.float32)
        for c in range(count):
            score[c] = sums[near[c]] / (left[a] * right[near[c]] + shrink)
            sums[near[c]] = 0.0
        kept = min(k, count)
        for c in np.argsort(-score, kind="mergesort")[:kept]:
            indices[used] = near[c]
            values[used] = score[c]
            used += 1
        counts[a - start] = kept
    return counts, indices[:used].copy(), values[:used].copy()


@njit(cache=True, nogil=True)
def doubled(array: Array) -> Array:
    """The array with twice the room, for kernels that cannot know how much they will find."""
    grown = np.empty(2 * len(array), dtype=array.dtype)
    grown[: len(array)] = array
    return grown
