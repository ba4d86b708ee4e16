"""Digests: one number per column of all that the last ranker scored, so that an answer's features can be compared to the bit long after
they were computed, for 8 bytes a column instead of 4 a value."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch

NAN = 0x7FC00000  # all NaN are one


def digests(batch: Batch) -> tuple[tuple[str, ...], Array]:
    """Names of the columns, and (columns, n) uint64: over the rows of each request the sum of (bits + 1) * h(item) modulo 2^64, h being
    a fixed hash to odd numbers (a linear hash, Carter & Wegman 1979). It depends on no order of rows; one changed bit always
    changes it, and several cancel out with a chance of about 2^-64. NaN equals NaN. Columns are of 4 bytes, as rankers have them;
    others are taken as float32."""
    names = tuple(batch.cand)
    bits = np.empty((len(names), batch.m), dtype=np.uint32)
    for row, name in zip(bits, names, strict=True):
        column = batch.cand[name]
        plain = column if column.dtype.itemsize == 4 else column.astype(np.float32)
        row[:] = plain.view(np.uint32)
    floats = np.array([batch.cand[name].dtype.kind == "f" for name in names])
    out = np.zeros((len(names), batch.n), dtype=np.uint64)
    _sums(batch.offsets, np.ascontiguousarray(batch.item), bits, floats, out)
    return names, out


@lru_cache(maxsize=64)
def of_names(names: tuple[str, ...]) -> int:
    """A check sum of the columns' names and their order."""
    return zlib.crc32("\n".join(names).encode())


@njit(cache=True, nogil=True)
def _sums(offsets: Array, item: Array, bits: Array, floats: Array, out: Array) -> None:
    factor = np.empty(len(item), dtype=np.uint64)
    for row in range(len(item)):
        # The finaliser of splitmix64 (Steele et al., 2014), made odd.
        x = np.uint64(item[row]) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        factor[row] = (x ^ (x >> np.uint64(31))) | np.uint64(1)
    for c in range(len(bits)):
        for i in range(len(offsets) - 1):
            total = np.uint64(0)
            for row in range(offsets[i], offsets[i + 1]):
                word = bits[c, row]
                if floats[c] and (word & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000):
                    word = np.uint32(NAN)
                total += (np.uint64(word) + np.uint64(1)) * factor[row]
            out[c, i] = total
