"""Inverted file (Jegou, Douze & Schmid, PAMI 2011): vectors in lists around k-means centres; a search looks into the most promising
lists only.

Which lists are promising: the inner products of a query with a list's vectors have mean q c and variance sum_i q_i^2 s_i^2 (s_i: the
list's spread in column i), and what counts is their upper end, so lists are ranked by mean + 2 standard deviations. Against the mean
alone this looks at a third fewer vectors for the same recall.

The lists hold int8 codes side by side and are scanned with the bounds of `scan`, so that within what is looked at the answer is exact.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.errors import BundleError
from shortlist.index.approximate import Approximate
from shortlist.index.exact import BEYOND, aligned, coded, shared_out
from shortlist.index.keys import LOW, select
from shortlist.index.kmeans import centres, nearest
from shortlist.index.scan import (
    Real,
    Whole,
    able,
    finish,
    padded,
    products,
    quantised,
    scan_ids,
    scan_run,
    step_and_slack,
    unpack,
)

FIRST = 0.005  # of all vectors looked at with effort 1
LISTS = 8  # times the root of the count: with half as many, three times the vectors are looked at where topics are many
NOWHERE = np.zeros(0, dtype=np.int32)
TOGETHER = 8  # queries from which on the cores share the work


class Ivf(Approximate):
    """See the module. lists: how many; 0 = eight times the square root of the number of vectors."""

    kind = "ivf"

    def __init__(self, d: int, seed: int = 0, lists: int = 0) -> None:
        super().__init__(d, seed)
        self.lists = lists
        self.centres = np.zeros((0, d), dtype=np.float32)
        self.spreads = np.zeros((0, d), dtype=np.float32)  # variances
        self.offsets = np.zeros(1, dtype=np.int64)  # list l holds the positions offsets[l]:offsets[l + 1]
        self.codes, self.scales = coded(self.exact.codes, self.exact.scales, self.place)  # by position
        self._coarse = _codes(self.centres), _codes(self.spreads)

    def _arrays(self) -> dict[str, Array]:
        return {
            "centres": self.centres, "spreads": self.spreads, "offsets": self.offsets, "codes": self.codes, "scales": self.scales
        }  # fmt: skip

    def _learn(self, vectors: Array) -> None:
        count = min(self.lists or round(LISTS * len(vectors) ** 0.5), len(vectors))
        found = centres(vectors, count, self.seed) if count else np.zeros((0, self.d), dtype=np.float32)
        # Long centres first: the lists that most queries look into then lie side by side, and stay in the cache.
        self.centres = found[np.argsort(-np.square(found, dtype=np.float64).sum(axis=1), kind="stable")]
        self.offsets = np.zeros(count + 1, dtype=np.int64)

    def _take(self, ids: Array) -> None:
        if not len(self.centres):
            self._learn(self.exact.vectors[ids])
        lists = np.repeat(np.arange(len(self.centres), dtype=np.int32), np.diff(self.offsets))
        live = self.where[self.place] == np.arange(len(self.place))
        lists = np.concatenate([lists[live], nearest(self.exact.vectors[ids], self.centres)])
        everybody = np.concatenate([self.place[live], ids]).astype(np.int32)
        order = np.argsort(lists, kind="stable")
        self.place = everybody[order]
        self.offsets = np.concatenate([[0], np.cumsum(np.bincount(lists, minlength=len(self.centres)))])
        self.codes, self.scales = coded(self.exact.codes, self.exact.scales, self.place)
        self.where[self.place] = np.arange(len(self.place), dtype=np.int32)
        self.spreads = np.zeros_like(self.centres)
        _spread(self.exact.vectors, self.place, self.offsets, self.centres, self.spreads)
        self._coarse = _codes(self.centres), _codes(self.spreads)

    def _load_native(self, folder: Path) -> None:
        self._coarse = _codes(self.centres), _codes(self.spreads)

    def _near(
        self, queries: Array, k: int, words: Array, effort: float, filtered: bool, ids: Array, scores: Array
    ) -> None:
        # A share of the vectors; not of fewer than there were when it was tuned, for k is then a larger part of them.
        budget = int(np.ceil(FIRST * self.effort * effort * max(len(self.place), self.recall.get("count", 1))))
        means, spreads = self._coarse
        # Asking an id for its position is a walk through memory, needless where no position was left behind.
        where = self.where if len(self.place) > self.count - len(self.outside) else NOWHERE

        def part(rows: slice) -> None:
            _near(
                queries[rows], self.exact.vectors, *means, *spreads, self.offsets, self.codes, self.scales, self.place, where,
                words, self.outside, self.exact.codes, self.exact.scales, budget, k, ids[rows], scores[rows],
            )  # fmt: skip

        shared_out(part, len(queries), len(queries) >= TOGETHER)

    def _check(self, folder: Path) -> None:
        super()._check(folder)
        lists, rows = len(self.centres), len(self.place)
        right = self.centres.shape == self.spreads.shape == (lists, self.d) and self.offsets.shape == (lists + 1,)
        right = right and self.codes.shape == (rows + BEYOND, padded(self.d)) and len(self.scales) == rows + BEYOND
        if not right or self.offsets[0] != 0 or self.offsets[-1] != rows or (np.diff(self.offsets) < 0).any():
            raise BundleError(f"{folder}: the arrays of its lists do not belong together")


def _codes(vectors: Array) -> tuple[Array, Array]:
    """int8 codes (rows, padded d), and scales."""
    codes = aligned((len(vectors) + BEYOND, padded(vectors.shape[1])), np.int8)
    scales = aligned((len(vectors),), np.float32)
    quantised(vectors, codes, scales)
    return codes, scales


@njit(cache=True, nogil=True)
def _spread(vectors: Array, place: Array, offsets: Array, centres: Array, out: Array) -> None:
    """Mean squared deviation from the centre, of every list and column."""
    for at in range(len(centres)):
        for p in range(offsets[at], offsets[at + 1]):
            for c in range(centres.shape[1]):
                out[at, c] += (vectors[place[p], c] - centres[at, c]) ** 2
        out[at] /= max(offsets[at + 1] - offsets[at], 1)


@njit(cache=True, nogil=True)
def _promise(
    query: Array, small: Array, step: Real, squares: Array, means: Array, mean_scales: Array, spreads: Array, spread_scales: Array,
    totals: Array, keys: Array,
) -> None:  # fmt: skip
    """A key of every list, whose order is that of mean + 2 standard deviations, from int8 codes of centres and spreads: which lists are
    looked at is a guess anyway, and this reads a quarter of the memory. squares: room for int16 codes of the query's squares."""
    most = np.float32(0.0)
    for c in range(len(query)):
        most = max(most, query[c] * query[c])
    square_step = np.float32(max(most / np.float32(16383.0), np.float32(1e-30)))
    for c in range(len(query)):
        squares[c] = np.int16(query[c] * query[c] / square_step)
    ends = np.empty(64, dtype=np.float32)
    bits = ends.view(np.int32)
    for first in range(0, len(keys), 64):
        count = min(64, len(keys) - first)
        products(small, means, first, count, totals[0], 0, 0)
        products(squares, spreads, first, count, totals[1], 0, 0)
        here, wide, own = (
            mean_scales[first : first + count],
            spread_scales[first : first + count],
            keys[first : first + count],
        )
        for j in range(count):
            variance = square_step * wide[j] * np.float32(totals[1, j])
            ends[j] = step * here[j] * np.float32(totals[0, j]) + np.float32(2.0) * np.sqrt(variance)
        for j in range(count):
            # Negative numbers are ordered by the complement of their bits; no branch, so that it becomes vector code.
            ordered = bits[j] ^ ((bits[j] >> np.int32(31)) & np.int32(0x7FFFFFFF))
            high = np.uint64(np.int64(ordered) + np.int64(0x80000000))
            own[j] = (high << np.uint64(32)) | np.uint64(first + j)


@njit(cache=True, nogil=True)
def _front(keys: Array, some: Whole) -> None:
    """Move the `some` largest keys to the front. Quickselect, whose first pivot is taken from a sample: nearly all keys are then below it,
    which the processor foresees."""
    step = max(len(keys) // 512, 1)
    sample = keys[::step].copy()
    place = min(some * 5 // (4 * step) + 2, len(sample))
    select(sample, len(sample), place)
    pivot = sample[:place].min()
    met = 0
    for c in range(len(keys)):
        if keys[c] >= pivot:
            keys[c], keys[met] = keys[met], keys[c]
            met += 1
    if met >= some:
        select(keys, met, some)
    else:
        select(keys[met:], len(keys) - met, some - met)


@njit(cache=True, nogil=True)
def _near(
    queries: Array, vectors: Array, means: Array, mean_scales: Array, spreads: Array, spread_scales: Array, offsets: Array,
    codes: Array, scales: Array, place: Array, where: Array, words: Array, outside: Array, all_codes: Array, all_scales: Array,
    budget: int, k: int, out_ids: Array, out_scores: Array,
) -> None:  # fmt: skip
    """The best k among the lists first in promise, until `budget` vectors are looked at, and among the ids outside."""
    lists = len(mean_scales)
    keys = np.empty(lists, dtype=np.uint64)
    small, squares = np.zeros(codes.shape[1], dtype=np.int16), np.zeros(codes.shape[1], dtype=np.int16)
    sums = np.empty((2, 64), dtype=np.int32)
    totals, uppers = sums[0], np.empty(64, dtype=np.float32)
    room = len(place) + len(outside)
    noted, noted_uppers = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.float32)
    lows, heap = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.uint64)
    met = np.zeros(2, dtype=np.int64)
    # Putting lists in order is dear, so as many are as the budget takes when they are of the usual length, and then more.
    usual: Whole = min(lists, np.int64(budget * lists / max(len(place), 1)) + 8)
    for i in range(len(queries)):
        query = queries[i]
        met[:] = 0
        if not able(query):
            unpack(heap, 0, out_ids[i], out_scores[i])
            continue
        step, slack = step_and_slack(query, small)
        threshold: Real = np.float32(-np.inf)
        _promise(query, small, step, squares, means, mean_scales, spreads, spread_scales, sums, keys)
        seen: Whole = 0
        ranked: Whole = 0
        while seen < budget and ranked < lists:
            rest = keys[ranked:]
            some: Whole = min(usual, len(rest))
            _front(rest, some)
            rest[:some].sort()
            ranked += some
            for c in range(some - 1, -1, -1):
                if seen >= budget:
                    break
                at = np.int64(rest[c] & np.uint64(LOW))
                after = np.int64(rest[max(c - 1, 0)] & np.uint64(LOW))
                seen += offsets[at + 1] - offsets[at]
                threshold = scan_run(
                    small, step, slack, codes, scales, offsets[at], offsets[at + 1], place, where, 0, words, threshold, totals,
                    uppers, met, noted, noted_uppers, lows, offsets[after], offsets[after + 1],
                )  # fmt: skip
        threshold = scan_ids(
            small, step, slack, all_codes, all_scales, outside, words, threshold, totals, uppers, met, noted, noted_uppers,
            lows,
        )  # fmt: skip
        finish(query, vectors, threshold, met, noted, noted_uppers, heap, out_ids[i], out_scores[i])
