"""The best k of every row of scores: exact, in one pass, ties broken by item code, under what each request may be shown.

Rows are scanned in blocks that are skipped when nothing in them beats the k-th best so far; candidates go, as keys of score and
item (`keys`), into a buffer that is cut back to k whenever it is full, so that the cost stays linear however the scores are arranged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.contracts import Mask
from shortlist.index.keys import SLACK, bits_of, cut, finish, item_of, pack

BLOCK = 64
NO_ITEMS = np.zeros(0, dtype=np.int32)
NO_BOOLS = np.zeros(0, dtype=np.bool_)


def top(
    scores: Array, k: int, allowed: Mask | None = None, floor: float = -np.inf, n: int | None = None
) -> tuple[Array, Array]:
    """The best k items of each of n requests: (n, k) int32 items, -1 where there are fewer; (n, k) float32 scores, NaN there.

    scores: (n, items) float32, or (1, items) when all n requests share a row (n: how many; by default as many as `allowed` bans
    for, else one per row). Only finite scores above `floor` are returned. Equal scores go by item code.
    """
    scores = np.ascontiguousarray(scores, dtype=np.float32)
    rows, size = scores.shape
    shared, offsets, banned = parts(allowed)
    if n is None:
        n = len(offsets) - 1 if rows == 1 and len(offsets) else rows
    wanted = max(k, 0)
    if rows == n:
        items, found = _top(scores, scores.view(np.uint32), min(wanted, size), shared, offsets, banned, floor)
        return padded(items, found, wanted)
    # One row for everybody: its longer top once, then each request strikes out what it bans.
    most = int(np.diff(offsets).max(initial=0)) if len(offsets) else 0
    longer = min(wanted + most, size)
    items, found = _top(scores, scores.view(np.uint32), longer, shared, np.zeros(0, dtype=np.int64), NO_ITEMS, floor)
    if not len(offsets):
        items, found = np.repeat(items, n, axis=0), np.repeat(found, n, axis=0)
        return padded(items, found, wanted)
    items, found = _strike(items[0], found[0], min(wanted, size), n, size, offsets, banned)
    return padded(items, found, wanted)


def struck(longer: tuple[Array, Array], k: int, n: int, size: int, allowed: Mask | None) -> tuple[Array, Array]:
    """The best k of each of n requests from one longer list ((1, more) items and scores, as `top` gives them) of which each strikes out what it
    bans: the same as `top`, if the list is longer by as many as any request bans. size: item codes are below it."""
    _, offsets, banned = parts(allowed)
    items, scores = longer
    if not len(offsets):
        return np.repeat(items[:, :k], n, axis=0), np.repeat(scores[:, :k], n, axis=0)
    return _strike(items[0], scores[0], k, n, size, offsets, banned)


def top_ragged(
    offsets: Array, items: Array, scores: Array, k: int, size: int, allowed: Mask | None = None, floor: float = -np.inf
) -> tuple[Array, Array]:
    """The same for ragged candidates: request i owns distinct `items[offsets[i]:offsets[i + 1]]`, all below `size`."""
    shared, ban_offsets, banned = parts(allowed)
    scores = np.ascontiguousarray(scores, dtype=np.float32)
    found = _top_ragged(
        offsets, items, scores, scores.view(np.uint32), max(k, 0), size, shared, ban_offsets, banned, floor
    )
    return found[0], found[1]


def top_among(
    among: Array, scores: Array, k: int, allowed: Mask | None = None, floor: float = -np.inf
) -> tuple[Array, Array]:
    """The same where only some items have a score: scores (n, len(among)) of the items `among`, ascending codes."""
    if allowed is not None:
        allowed = _renumbered(among, allowed)
    places, found = top(scores, k, allowed, floor)
    return np.where(places >= 0, among[places] if len(among) else places, np.int32(-1)).astype(np.int32), found


def _renumbered(among: Array, allowed: Mask) -> Mask:
    """A mask over the places in `among`."""
    shared, offsets, banned = allowed.shared, allowed.offsets, allowed.items
    if shared is not None:
        shared = np.append(shared, False)[np.minimum(among, len(shared))]
    if banned is not None and len(among):
        place = np.minimum(np.searchsorted(among, banned), len(among) - 1)
        banned = np.where(among[place] == banned, place, -1).astype(np.int32)  # a place of -1 bans nothing
    return Mask(shared, offsets, banned)


def parts(allowed: Mask | None) -> tuple[Array | None, Array, Array]:
    """A mask as what the kernels take: shared bool or None, ban offsets (empty = nobody bans), banned items."""
    empty = np.zeros(0, dtype=np.int64)
    if allowed is None:
        return None, empty, NO_ITEMS
    shared = None if allowed.shared is None else np.ascontiguousarray(allowed.shared, dtype=np.bool_)
    if allowed.offsets is None or allowed.items is None:
        return shared, empty, NO_ITEMS
    offsets = np.ascontiguousarray(allowed.offsets, dtype=np.int64)
    return shared, offsets, np.ascontiguousarray(allowed.items, dtype=np.int32)


def padded(items: Array, scores: Array, k: int) -> tuple[Array, Array]:
    """(n, fewer) answers widened to k columns."""
    missing = k - items.shape[1]
    if missing == 0:
        return items, scores
    n = len(items)
    wide_items = np.concatenate([items, np.full((n, missing), -1, dtype=np.int32)], axis=1)
    return wide_items, np.concatenate([scores, np.full((n, missing), np.nan, dtype=np.float32)], axis=1)


@njit(cache=True, nogil=True)
def mark(flags: Array, items: Array, start: int, stop: int, value: bool) -> None:
    for j in range(start, stop):
        if 0 <= items[j] < len(flags):
            flags[items[j]] = value


@njit(cache=True, nogil=True, inline="always")
def _beats(block: Array, threshold: Any) -> Any:
    """Is any of BLOCK scores above the threshold? The number of them is fixed, so that it becomes vector code: seven times as quick."""
    above = np.int32(0)
    for j in range(BLOCK):
        above += np.int32(1) if block[j] > threshold else np.int32(0)
    return above > 0


@njit(cache=True, nogil=True)
def _top(
    scores: Array, bits: Array, k: int, shared: Array | None, offsets: Array, banned: Array, floor: float
) -> tuple[Array, Array]:
    n, size = scores.shape
    out_items = np.full((n, k), -1, dtype=np.int32)
    out_scores = np.full((n, k), np.nan, dtype=np.float32)
    if k == 0 or size == 0:
        return out_items, out_scores
    room = min(2 * k + SLACK, size)
    keys = np.empty(room + 1, dtype=np.uint64)
    has_bans = len(offsets) > 0
    flags = np.zeros(size if has_bans else 0, dtype=np.bool_)
    start_threshold = np.float32(floor)
    for i in range(n):
        if has_bans:
            mark(flags, banned, offsets[i], offsets[i + 1], True)
        row = scores[i]
        threshold = start_threshold
        count = 0
        for start in range(0, size, BLOCK):
            stop = min(start + BLOCK, size)
            if stop - start == BLOCK and not _beats(row[start:stop], threshold):
                continue
            for j in range(start, stop):
                score = row[j]
                # NaN compares false. A later item with the k-th best score loses the tie, so > is enough.
                if not (score > threshold and score < np.inf):
                    continue
                if shared is not None and (j >= len(shared) or not shared[j]):
                    continue
                if has_bans and flags[j]:
                    continue
                keys[count] = pack(bits[i, j], score, j)
                count += 1
                if count > room:
                    threshold = row[item_of(cut(keys, count, k))]
                    count = k
        count = finish(keys, count, k)
        for c in range(count):
            item = item_of(keys[count - 1 - c])
            out_items[i, c] = item
            out_scores[i, c] = row[item]
        if has_bans:
            mark(flags, banned, offsets[i], offsets[i + 1], False)
    return out_items, out_scores


@njit(cache=True, nogil=True)
def _strike(
    items: Array, scores: Array, k: int, n: int, size: int, offsets: Array, banned: Array
) -> tuple[Array, Array]:
    out_items = np.full((n, k), -1, dtype=np.int32)
    out_scores = np.full((n, k), np.nan, dtype=np.float32)
    flags = np.zeros(size, dtype=np.bool_)
    for i in range(n):
        mark(flags, banned, offsets[i], offsets[i + 1], True)
        count = 0
        for c in range(len(items)):
            if count == k or items[c] < 0:
                break
            if not flags[items[c]]:
                out_items[i, count] = items[c]
                out_scores[i, count] = scores[c]
                count += 1
        mark(flags, banned, offsets[i], offsets[i + 1], False)
    return out_items, out_scores


@njit(cache=True, nogil=True)
def _top_ragged(
    offsets: Array, items: Array, scores: Array, bits: Array, k: int, size: int,
    shared: Array | None, ban_offsets: Array, banned: Array, floor: float,
) -> tuple[Array, Array]:  # fmt: skip
    n = len(offsets) - 1
    out_items = np.full((n, k), -1, dtype=np.int32)
    out_scores = np.full((n, k), np.nan, dtype=np.float32)
    if k == 0:
        return out_items, out_scores
    longest = 0
    for i in range(n):
        longest = max(longest, offsets[i + 1] - offsets[i])
    keys = np.empty(longest, dtype=np.uint64)
    out_bits = out_scores.view(np.uint32)
    has_bans = len(ban_offsets) > 0
    flags = np.zeros(size if has_bans else 0, dtype=np.bool_)
    least = np.float32(floor)
    for i in range(n):
        if has_bans:
            mark(flags, banned, ban_offsets[i], ban_offsets[i + 1], True)
        count = 0
        for j in range(offsets[i], offsets[i + 1]):
            item, score = items[j], scores[j]
            if not (score > least and score < np.inf):
                continue
            if shared is not None and (item >= len(shared) or not shared[item]):
                continue
            if has_bans and flags[item]:
                continue
            keys[count] = pack(bits[j], score, item)
            count += 1
        kept = finish(keys, count, k)
        for c in range(kept):
            key = keys[kept - 1 - c]
            out_items[i, c], out_bits[i, c] = item_of(key), bits_of(key)
        if has_bans:
            mark(flags, banned, ban_offsets[i], ban_offsets[i + 1], False)
    return out_items, out_scores
