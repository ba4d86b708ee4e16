"""A score and its item as one 64-bit key: the score's bits in an order-preserving form, then the item's complement. So one integer
comparison is the whole order: score descending, then item code ascending. All keys of a list differ, since its items do."""

from __future__ import annotations

import numpy as np
from numba import njit

from shortlist.core.batch import Array

SLACK = 32  # entries of a buffer of keys beyond 2 k: how many candidates come in between two cuts
LOW = 0xFFFFFFFF
SIGN = 0x80000000


@njit(cache=True, nogil=True, inline="always")
def pack(bits: int, score: float, item: int) -> np.uint64:
    """The key of a score, whose bits are given as well, and an item; the larger is the better. NaN has none."""
    # Positive floats order as their bits with the sign set, negative ones as the complement; -0.0 is 0.0.
    word = np.uint64(bits)
    if score == 0.0:
        word = np.uint64(SIGN)
    elif score < 0.0:
        word = np.uint64(LOW) - word
    else:
        word = word | np.uint64(SIGN)
    return (word << np.uint64(32)) | (np.uint64(LOW) - np.uint64(item))


@njit(cache=True, nogil=True, inline="always")
def item_of(key: np.uint64) -> np.int64:
    """The item of a key."""
    return np.int64(np.uint64(LOW) - (key & np.uint64(LOW)))


@njit(cache=True, nogil=True, inline="always")
def bits_of(key: np.uint64) -> np.uint32:
    """The bits of a key's score."""
    word = key >> np.uint64(32)
    positive = (word & np.uint64(SIGN)) != 0
    return np.uint32(word & np.uint64(LOW - SIGN)) if positive else np.uint32(np.uint64(LOW) - word)


@njit(cache=True, nogil=True)
def select(keys: Array, count: int, k: int) -> None:
    """Move the k largest of keys[:count] to the front (quickselect, median of three). All keys differ."""
    left, right = 0, count - 1
    while left < right:
        middle = (left + right) // 2
        if keys[middle] > keys[left]:
            keys[middle], keys[left] = keys[left], keys[middle]
        if keys[right] > keys[left]:
            keys[right], keys[left] = keys[left], keys[right]
        if keys[right] > keys[middle]:
            keys[right], keys[middle] = keys[middle], keys[right]
        pivot = keys[middle]
        i, j = left, right
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            right = j
        elif k - 1 >= i:
            left = i
        else:
            return


@njit(cache=True, nogil=True)
def cut(keys: Array, count: int, k: int) -> np.uint64:
    """Move the k largest of keys[:count] to the front, k < count; returns the smallest of them, the one to beat from now on."""
    select(keys, count, k)
    worst: np.uint64 = keys[0]
    for c in range(1, k):
        worst = min(worst, keys[c])
    return worst


@njit(cache=True, nogil=True)
def finish(keys: Array, count: int, k: int) -> int:
    """Sort the best min(count, k) keys to the front, ascending in place (best last); returns how many."""
    if count > k:
        select(keys, count, k)
        count = k
    keys[:count].sort()
    return count
