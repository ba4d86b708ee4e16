"""Sets of ids as bits: id i is bit i % 64 of word i // 64. A million ids are 125 kB, and 64 of them are ruled out at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.errors import ShortlistError

WORD = 64


def words_for(size: int) -> int:
    """How many 64-bit words hold `size` ids."""
    return -(-size // WORD)


def packed(allowed: Array, size: int) -> Array:
    """(words,) uint64 of a set of ids below `size`. allowed: (any length,) bool, one per id; or the same packed, least bit first:
    uint8 (`np.packbits(flags, bitorder="little")`) or uint64. Ids beyond its end are not in the set."""
    allowed = np.asarray(allowed)
    if allowed.ndim != 1 or allowed.dtype not in (np.bool_, np.uint8, np.uint64):
        raise ShortlistError(
            f"allowed: expected one row of bool, or packed as uint8 or uint64, not {allowed.dtype} of shape {allowed.shape}"
        )
    if allowed.dtype == np.uint64 and len(allowed) == words_for(size) and size % WORD == 0:
        return np.ascontiguousarray(allowed)
    data = np.packbits(allowed[:size], bitorder="little") if allowed.dtype == np.bool_ else allowed.view(np.uint8)
    out = np.zeros(words_for(size) * 8, dtype=np.uint8)
    count = min(len(data), -(-size // 8))
    out[:count] = data[:count]
    if size % 8 and count == -(-size // 8):
        out[count - 1] &= (1 << (size % 8)) - 1
    return out.view(np.uint64)


def flags(words: Array, size: int) -> Array:
    """(size,) bool: the set unpacked."""
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")[:size]
    out = np.zeros(size, dtype=np.bool_)
    out[: len(bits)] = bits
    return out


def members(words: Array) -> Array:
    """(count,) int64 ids in the set, ascending."""
    out = np.empty(count(words), dtype=np.int64)
    _members(words, out)
    return out


def count(words: Array) -> int:
    """How many ids are in the set."""
    return int(np.bitwise_count(words).sum())


def put(words: Array, ids: Array, value: bool) -> None:
    """Add ids to the set, or take them out, in place."""
    _put(words, ids, value)


@njit(cache=True, nogil=True)
def _put(words: Array, ids: Array, value: bool) -> None:
    for i in ids:
        bit = np.uint64(1) << np.uint64(i & 63)
        if value:
            words[i >> 6] |= bit
        else:
            words[i >> 6] &= ~bit


@njit(cache=True, nogil=True)
def _members(words: Array, out: Array) -> None:
    at = 0
    for w in range(len(words)):
        word = words[w]
        if word == 0:
            continue
        for bit in range(64):
            if (word >> np.uint64(bit)) & np.uint64(1):
                out[at] = w * 64 + bit
                at += 1


@njit(cache=True, nogil=True)
def gather(words: Array, places: Array, out: Array) -> None:
    """out, a set over positions: position p is in it when it was before and `places[p]` is in `words`."""
    size = len(words) * 64
    for w in range(len(out)):
        word = out[w]
        if word == 0:
            continue
        kept = np.uint64(0)
        for bit in range(min(64, len(places) - w * 64)):
            i = places[w * 64 + bit]
            if i < size:
                kept |= ((words[i >> 6] >> np.uint64(i & 63)) & np.uint64(1)) << np.uint64(bit)
        out[w] = word & kept
