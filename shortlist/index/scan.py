"""The exact scan: the best k rows under a set of ids, and never a wrong one.

The score of a query and a row is defined once, by `score`: products and sum in float64, in a fixed order, rounded to float32. So
its bits depend on nothing but the two vectors. A scan does not compute it for every row: a quick pair of bounds (from int8 codes, or from a
float32 sum in any order) rules out every row whose upper bound is below the k-th best lower bound, and the few that are left (about
1.4 k) are scored in full. The bounds hold for every rounding, so the answer is the exact one, to the last bit and the last tie.

int8 codes: x = scale * c + e, with every |e_i| <= scale / 2; the query in the same way with step, in int16. Then

    |q x - step * scale * q' c| <= |q| |e| + |q - step q'| |scale c|
                                <= scale * (|q| sqrt(d) / 2 + step * (sqrt(d) / 2) * 127 sqrt(d)),

which is the row's scale times one number per query: the bounds need no other memory than the codes and the scale.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.index.dot import CHUNK, TOGETHER, add16, bound16, dot64, fetch
from shortlist.index.keys import bits_of, item_of, pack

# Numbers inside kernels: numba types them by itself, and the type checker does not take numpy's for Python's.
Real: TypeAlias = Any
Whole: TypeAlias = Any

LEAST = 1e-30  # smallest scale: nothing underflows
MOST = 1e15  # largest value of a vector: nothing overflows
LINE = 16  # float32 numbers of a cache line
DENSE = 10  # of 64 rows: from here on all 64 are computed, which is quicker than picking


def padded(d: int) -> int:
    """Columns of the codes: d rounded up to whole chunks of vector code."""
    return max(-(-d // CHUNK), 1) * CHUNK


def valid(vectors: Array) -> Array:
    """(rows,) bool: is every value a number that can be scored (finite, and not beyond 1e15)?"""
    # A NaN compares false.
    found: Array = np.all(np.abs(vectors) <= MOST, axis=1)
    return found


@njit(cache=True, nogil=True)
def able(query: Array) -> Any:
    """`valid` of one query."""
    good = True
    for value in query:
        good &= abs(value) <= MOST  # false for a NaN
    return good


def quantised(vectors: Array, codes: Array, scales: Array) -> None:
    """Write the int8 codes (rows, padded d) and scales (rows,) of float32 vectors (rows, d)."""
    _quantise(vectors, codes, scales)


@njit(cache=True, nogil=True)
def _quantise(vectors: Array, codes: Array, scales: Array) -> None:
    rows, d = vectors.shape
    for j in range(rows):
        most = 0.0
        for c in range(d):
            most = max(most, abs(np.float64(vectors[j, c])))
        scale = np.float32(max(most / 127.0, LEAST))
        scales[j] = scale
        for c in range(d):
            level = np.rint(np.float64(vectors[j, c]) / np.float64(scale))
            codes[j, c] = np.int8(min(max(level, -127.0), 127.0))
        codes[j, d:] = 0


@njit(cache=True, nogil=True)
def score(query: Array, vector: Array) -> Real:
    """The score: four running sums in float64 (column c goes to sum c % 4), added as (s0 + s1) + (s2 + s3), then rounded. Products
    of two float32 are exact in float64, so it is the same whether or not a processor fuses them with the sum."""
    d = len(query)
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    whole = d - d % 4
    for c in range(0, whole, 4):
        s0 += np.float64(query[c]) * np.float64(vector[c])
        s1 += np.float64(query[c + 1]) * np.float64(vector[c + 1])
        s2 += np.float64(query[c + 2]) * np.float64(vector[c + 2])
        s3 += np.float64(query[c + 3]) * np.float64(vector[c + 3])
    if d > whole:
        s0 += np.float64(query[whole]) * np.float64(vector[whole])
    if d > whole + 1:
        s1 += np.float64(query[whole + 1]) * np.float64(vector[whole + 1])
    if d > whole + 2:
        s2 += np.float64(query[whole + 2]) * np.float64(vector[whole + 2])
    return np.float32((s0 + s1) + (s2 + s3))


@njit(cache=True, nogil=True)
def _rise(heap: Array, at: Whole, value: Real) -> None:
    """Put a value at the free end `at` of a heap whose smallest is first, and let it rise to its place."""
    while at > 0 and heap[(at - 1) >> 1] > value:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = value


@njit(cache=True, nogil=True)
def _sink(heap: Array, value: Real) -> None:
    """Put a value in place of the smallest of a full heap, and let it sink to its place."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= len(heap):
            break
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = value


@njit(cache=True, nogil=True)
def offer(heap: Array, count: Whole, bits: Array, found: Real, item: Whole) -> Whole:
    """Offer one scored item to a heap of keys whose worst is first; returns how many it holds. bits: one uint32 and its float32
    view, for the score's bits."""
    bits.view(np.float32)[0] = found
    key = pack(bits[0], found, item)
    k = len(heap)
    if count < k:
        _rise(heap, count, key)
        return count + 1
    if key > heap[0]:
        _sink(heap, key)
    return count


@njit(cache=True, nogil=True)
def unpack(heap: Array, count: Whole, ids: Array, scores: Array) -> None:
    """Write a heap's keys, best first, as ids and scores; -1 and NaN behind them. The heap is sorted in place."""
    heap[:count].sort()
    words = scores.view(np.uint32)
    for c in range(count):
        key = heap[count - 1 - c]
        ids[c], words[c] = item_of(key), bits_of(key)
    ids[count:] = -1
    scores[count:] = np.nan


@njit(cache=True, nogil=True)
def take(row: Whole, upper: Real, low: Real, met: Array, rows: Array, uppers: Array, lows: Array) -> Real:
    """Note one row that may be among the best; returns the threshold: the k-th best lower bound so far, -inf before k rows.

    met (2,) int64: how many lower bounds the heap `lows` (k,) holds, worst first, and how many rows are noted in rows and uppers.
    """
    rows[met[1]], uppers[met[1]] = row, upper
    met[1] += 1
    k = len(lows)
    if met[0] < k:
        _rise(lows, met[0], low)
        met[0] += 1
        return lows[0] if met[0] == k else np.float32(-np.inf)
    if low > lows[0]:
        _sink(lows, low)
    return lows[0]


@njit(cache=True, nogil=True)
def finish(
    query: Array, vectors: Array, threshold: Real, met: Array, rows: Array, uppers: Array, heap: Array, ids: Array,
    scores: Array,
) -> None:  # fmt: skip
    """Score the noted rows that are still in question, and write the best."""
    bits = np.zeros(1, dtype=np.uint32)
    left, count = 0, 0
    for c in range(met[1]):
        # A row whose upper bound is the threshold itself may still win its tie.
        if uppers[c] >= threshold:
            rows[left] = rows[c]
            for start in range(0, len(query), LINE):
                fetch(vectors, rows[left], start)
            left += 1
    for c in range(left):
        count = offer(heap, count, bits, score(query, vectors[rows[c]]), rows[c])
    unpack(heap, count, ids, scores)


@njit(cache=True, nogil=True)
def _bits(word: np.uint64) -> Whole:
    """How many bits are set: pairs, then fours, then bytes, then all bytes at once by a product."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def _listed(word: Any, start: Whole, rows: Array, count: Whole) -> Whole:
    """The ids of one word's bits, into rows from `count` on; returns how many there are then."""
    while word:
        low = word & (~word + np.uint64(1))
        rows[count] = start + _bits(low - np.uint64(1))
        count += 1
        word ^= low
    return count


@njit(cache=True, nogil=True)
def step_and_slack(query: Array, small: Array) -> tuple[Real, Real]:
    """The query in int16, into small (padded d,), its step, and what makes `step * (small c) + slack`, times the row's scale, an upper
    bound."""
    d = len(query)
    levels = min(32767.0, np.floor(2.0**31 / (128.0 * len(small))))  # the int32 sum cannot overflow
    most, square = 0.0, 0.0
    for c in range(d):
        most = max(most, abs(np.float64(query[c])))
        square += np.float64(query[c]) ** 2
    step = np.float32(max(most / levels, LEAST))
    for c in range(d):
        level = np.rint(np.float64(query[c]) / np.float64(step))
        small[c] = np.int16(min(max(level, -levels), levels))
    # 1e-6: rounding of the bound itself in float32, a few units in the last place of |q| |x|.
    slack: Real = np.sqrt(square) * np.sqrt(np.float64(d)) * (0.5 + 127.0 * 1e-6) + np.float64(step) * 0.5 * 127.0 * d
    return step, np.float32(slack * 1.0001)


@njit(cache=True, nogil=True, inline="always")
def products(small: Array, codes: Array, start: Whole, met: Whole, totals: Array, coming: Whole, count: Whole) -> None:
    """totals[j] = small' codes[start + j] for j < met. Rows are taken in sixteens, so up to 15 more must be there (see `exact.coded`), and in
    totals room for them. coming, count: rows that memory is asked for on the way, at most 64 (by themselves processors look ahead
    only within a page, which is 64 rows)."""
    wide = codes.shape[1]
    totals[: met + TOGETHER - 1] = 0
    for j in range(0, met, TOGETHER):
        for row in range(coming + j, coming + min(j + TOGETHER, count)):
            fetch(codes, row, 0)
        for c in range(0, wide, CHUNK):
            add16(small, codes, start + j, c, totals, j)
    for row in range(coming + met, coming + count):
        fetch(codes, row, 0)


@njit(cache=True, nogil=True, inline="always")
def bounds(
    small: Array,
    codes: Array,
    scales: Array,
    start: Whole,
    met: Whole,
    step: Real,
    slack: Real,
    totals: Array,
    uppers: Array,
    coming: Whole,
    count: Whole,
) -> Real:
    """Upper bounds of `met` rows one after another, and the largest; coming, count: see `products`."""
    products(small, codes, start, met, totals, coming, count)
    best = np.float32(-np.inf)
    for j in range(0, met, TOGETHER):
        # Of up to 15 rows too many; a larger bound than there is only means a closer look.
        best = max(best, bound16(totals, j, scales, start + j, step, slack, uppers))
    return best


@njit(cache=True, nogil=True)
def bounds_of(
    small: Array,
    codes: Array,
    scales: Array,
    rows: Array,
    met: Whole,
    step: Real,
    slack: Real,
    totals: Array,
    uppers: Array,
) -> Real:
    """The same of the first `met` listed rows."""
    wide = codes.shape[1]
    best = np.float32(-np.inf)
    for j in range(met):
        fetch(codes, rows[j], 0)
    for j in range(met):
        total = np.int32(0)
        for c in range(0, wide, 64):
            total = np.int32(total + dot64(small, codes, rows[j], c))
        totals[j] = total
        upper = scales[rows[j]] * (step * np.float32(total) + slack)
        uppers[j] = upper
        best = upper if upper > best else best
    return best


@njit(cache=True, nogil=True)
def has(words: Array, row: Whole) -> Any:
    """Is the id in the set?"""
    return (words[row >> 6] >> np.uint64(row & 63)) & np.uint64(1) != 0


@njit(cache=True, nogil=True)
def scan_codes(
    queries: Array, vectors: Array, codes: Array, scales: Array, words: Array, k: int, out_ids: Array, out_scores: Array
) -> None:
    """The best k of the rows in `words` for each query, by int8 bounds. queries (n, d), vectors (rows, d) float32, rows a multiple
    of 64; codes (rows, padded d) int8; out_ids int32 and out_scores float32, both (n, at least k)."""
    small = np.zeros(codes.shape[1], dtype=np.int16)
    totals, uppers = np.empty(64, dtype=np.int32), np.empty(64, dtype=np.float32)
    listed = np.empty(64 + DENSE, dtype=np.int64)
    noted, noted_uppers = np.empty(len(codes), dtype=np.int64), np.empty(len(codes), dtype=np.float32)
    lows, heap = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.uint64)
    met = np.zeros(2, dtype=np.int64)
    for i in range(len(queries)):
        if k == 0 or not able(queries[i]):
            unpack(heap, 0, out_ids[i], out_scores[i])
            continue
        step, slack = step_and_slack(queries[i], small)
        threshold: Real = np.float32(-np.inf)
        met[:] = 0
        waiting: Whole = 0
        for w in range(len(words)):
            word = words[w]
            if word == 0:
                continue
            start = w * 64
            if _bits(word) < DENSE:
                # Rows far apart wait for each other, so that memory is asked for many at a time.
                waiting = _listed(word, start, listed, waiting)
                if waiting >= 64:
                    threshold = scan_ids(
                        small, step, slack, codes, scales, listed[:waiting], words, threshold, totals, uppers, met, noted,
                        noted_uppers, lows,
                    )  # fmt: skip
                    waiting = 0
                continue
            # One comparison settles most blocks; which rows are allowed is asked of the few others.
            if bounds(small, codes, scales, start, 64, step, slack, totals, uppers, 0, 0) < threshold:
                continue
            for j in range(64):
                if uppers[j] >= threshold and (word >> np.uint64(j)) & np.uint64(1):
                    low = scales[start + j] * (step * np.float32(totals[j]) - slack)
                    threshold = take(start + j, uppers[j], low, met, noted, noted_uppers, lows)
        threshold = scan_ids(
            small, step, slack, codes, scales, listed[:waiting], words, threshold, totals, uppers, met, noted, noted_uppers,
            lows,
        )  # fmt: skip
        finish(queries[i], vectors, threshold, met, noted, noted_uppers, heap, out_ids[i], out_scores[i])


@njit(cache=True, nogil=True, inline="always")
def scan_run(
    small: Array, step: Real, slack: Real, codes: Array, scales: Array, start: Whole, stop: Whole, place: Array, where: Array,
    fixed: Whole, words: Array, threshold: Real, totals: Array, uppers: Array, met: Array, noted: Array, noted_uppers: Array,
    lows: Array, after: Whole, after_stop: Whole,
) -> Real:  # fmt: skip
    """Go on with positions start to stop, whose ids are `place`; returns the threshold. A position counts when its id is in `words`,
    and where[id] leads back: to the position itself, or to the number `fixed` when that is not 0; or `where` is empty. after, after_stop: the positions that are
    looked at next, for memory to be asked for them."""
    for first in range(start, stop, 64):
        count = min(64, stop - first)
        coming, end = (first + 64, stop) if first + 64 < stop else (after, after_stop)
        best = bounds(
            small, codes, scales, first, count, step, slack, totals, uppers, coming, min(max(end - coming, 0), 64)
        )
        if best < threshold:
            continue
        for j in range(count):
            if uppers[j] < threshold:
                continue
            row = np.int64(place[first + j])
            if has(words, row) and (len(where) == 0 or where[row] == (fixed if fixed else first + j)):
                low = scales[first + j] * (step * np.float32(totals[j]) - slack)
                threshold = take(row, uppers[j], low, met, noted, noted_uppers, lows)
    return threshold


@njit(cache=True, nogil=True)
def scan_ids(
    small: Array, step: Real, slack: Real, codes: Array, scales: Array, ids: Array, words: Array, threshold: Real,
    totals: Array, uppers: Array, met: Array, noted: Array, noted_uppers: Array, lows: Array,
) -> Real:  # fmt: skip
    """The same with these ids, whose codes are rows of `codes`."""
    for first in range(0, len(ids), 64):
        some = ids[first : first + 64]
        best = bounds_of(small, codes, scales, some, len(some), step, slack, totals, uppers)
        if best < threshold:
            continue
        for j in range(len(some)):
            if uppers[j] >= threshold and has(words, some[j]):
                low = scales[some[j]] * (step * np.float32(totals[j]) - slack)
                threshold = take(some[j], uppers[j], low, met, noted, noted_uppers, lows)
    return threshold


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _quick(query: Array, vectors: Array, row: Whole) -> Real:
    """The inner product in float32, summed in whatever order is quickest: only ever used inside bounds."""
    total = np.float32(0.0)
    for c in range(len(query)):
        total += query[c] * vectors[row, c]
    return total


@njit(cache=True, nogil=True)
def scan_floats(
    queries: Array, vectors: Array, norms: Array, words: Array, k: int, out_ids: Array, out_scores: Array
) -> None:
    """What scan_codes does, from the float32 vectors alone; norms (rows,) float32 lengths of the vectors, rounded up."""
    d = queries.shape[1]
    listed = np.empty(64, dtype=np.int64)
    noted, noted_uppers = np.empty(len(vectors), dtype=np.int64), np.empty(len(vectors), dtype=np.float32)
    lows, heap = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.uint64)
    met = np.zeros(2, dtype=np.int64)
    least = np.float32(d * 3e-38)
    for i in range(len(queries)):
        if k == 0 or not able(queries[i]):
            unpack(heap, 0, out_ids[i], out_scores[i])
            continue
        square = 0.0
        for c in range(d):
            square += np.float64(queries[i, c]) ** 2
        # A float32 sum of d products in any order is off by at most d roundings of |q| |x|, plus what may underflow.
        slack = np.float32(np.sqrt(square) * (d + 4) * 2.0**-24 * 1.001)
        threshold: Real = np.float32(-np.inf)
        met[:] = 0
        for w in range(len(words)):
            word = words[w]
            if word == 0:
                continue
            start = w * 64
            dense = _bits(word) == 64
            count = 64 if dense else _listed(word, start, listed, 0)
            for j in range(count):
                row = start + j if dense else listed[j]
                value = _quick(queries[i], vectors, row)
                off = slack * norms[row] + least
                if value + off >= threshold:
                    threshold = take(row, value + off, value - off, met, noted, noted_uppers, lows)
        finish(queries[i], vectors, threshold, met, noted, noted_uppers, heap, out_ids[i], out_scores[i])
