"""Inverted file (Jegou, Douze & Schmid, PAMI 2011): vectors in lists around k-means centres; a search looks into the most promising
lists only.

Which lists are promising: the inner products of a query with a list's vectors have mean q c and variance sum_i q_i^2 s_i^2 (s_i: the
list's spread in column i), and what counts is their upper end, so lists are ranked by mean + 2 standard deviations. Against the mean
alone this looks at a third fewer vectors for the same recall.

The lists hold int8 codes side by side and are scanned with the bounds of `scan`, so that within what is looked at the answer is exact.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.errors import BundleError
from shortlist.index.approximate import Approximate
from shortlist.index.dot import fetch
from shortlist.index.exact import aligned
from shortlist.index.kmeans import centres, nearest
from shortlist.index.scan import AHEAD, Real, Whole, finish, padded, scan_ids, scan_run, step_and_slack
from shortlist.index.top import LOW, _select

FIRST = 0.005  # of all vectors looked at with effort 1
TOGETHER = 8  # queries from which on the cores share the work


class Ivf(Approximate):
    """See the module. lists: how many; 0 = four times the square root of the number of vectors."""

    kind = "ivf"

    def __init__(self, d: int, seed: int = 0, lists: int = 0) -> None:
        super().__init__(d, seed)
        self.lists = lists
        self.centres = np.zeros((0, d), dtype=np.float32)
        self.spreads = np.zeros((0, d), dtype=np.float32)  # variances
        self.offsets = np.zeros(1, dtype=np.int64)  # list l holds the positions offsets[l]:offsets[l + 1]
        self.codes = aligned((0, padded(d)), np.int8)  # by position
        self.scales = aligned((0,), np.float32)

    def _arrays(self) -> dict[str, Array]:
        return {
            "centres": self.centres, "spreads": self.spreads, "offsets": self.offsets, "codes": self.codes, "scales": self.scales
        }  # fmt: skip

    def _learn(self, vectors: Array) -> None:
        count = min(self.lists or round(4 * len(vectors) ** 0.5), len(vectors))
        self.centres = centres(vectors, count, self.seed) if count else np.zeros((0, self.d), dtype=np.float32)
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
        self.codes = aligned((len(self.place), padded(self.d)), np.int8)
        np.take(self.exact.codes, self.place, axis=0, out=self.codes)
        self.scales = self.exact.scales[self.place]
        self.where[self.place] = np.arange(len(self.place), dtype=np.int32)
        self.spreads = np.zeros_like(self.centres)
        _spread(self.exact.vectors, self.place, self.offsets, self.centres, self.spreads)

    def _near(self, queries: Array, k: int, words: Array, effort: float, filtered: bool) -> tuple[Array, Array]:
        found = np.empty((len(queries), k), dtype=np.int32), np.empty((len(queries), k), dtype=np.float32)
        # A share of the vectors; not of fewer than there were when it was tuned, for k is then a larger part of them.
        budget = int(np.ceil(FIRST * self.effort * effort * max(len(self.place), self.recall.get("count", 1))))

        def part(rows: slice) -> None:
            _near(
                queries[rows], self.exact.vectors, self.centres, self.spreads, self.offsets, self.codes, self.scales, self.place,
                self.where, words, self.outside, self.exact.codes, self.exact.scales, budget, found[0][rows], found[1][rows],
            )  # fmt: skip

        workers = min(os.cpu_count() or 1, len(queries)) if len(queries) >= TOGETHER else 1
        cuts = np.linspace(0, len(queries), workers + 1).astype(int).tolist()
        pieces = [slice(start, stop) for start, stop in itertools.pairwise(cuts)]
        if workers == 1:
            part(pieces[0])
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(part, pieces))
        return found

    def _check(self, folder: Path) -> None:
        super()._check(folder)
        lists, rows = len(self.centres), len(self.place)
        right = self.centres.shape == self.spreads.shape == (lists, self.d) and self.offsets.shape == (lists + 1,)
        right = right and self.codes.shape == (rows, padded(self.d)) and self.scales.shape == (rows,)
        if not right or self.offsets[0] != 0 or self.offsets[-1] != rows or (np.diff(self.offsets) < 0).any():
            raise BundleError(f"{folder}: the arrays of its lists do not belong together")


@njit(cache=True, nogil=True)
def _spread(vectors: Array, place: Array, offsets: Array, centres: Array, out: Array) -> None:
    """Mean squared deviation from the centre, of every list and column."""
    for at in range(len(centres)):
        for p in range(offsets[at], offsets[at + 1]):
            for c in range(centres.shape[1]):
                out[at, c] += (vectors[place[p], c] - centres[at, c]) ** 2
        out[at] /= max(offsets[at + 1] - offsets[at], 1)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def _promise(query: Array, centres: Array, spreads: Array, keys: Array) -> None:
    """A key of every list, whose order is that of mean + 2 standard deviations."""
    word = np.zeros(1, dtype=np.float32)
    bits = word.view(np.uint32)
    for at in range(len(centres)):
        mean, variance = np.float32(0.0), np.float32(0.0)
        for c in range(len(query)):
            mean += query[c] * centres[at, c]
            variance += query[c] * query[c] * spreads[at, c]
        word[0] = mean + np.float32(2.0) * np.sqrt(variance)
        high = np.uint64(bits[0])
        high = np.uint64(LOW) - high if high & np.uint64(0x80000000) else high | np.uint64(0x80000000)
        keys[at] = (high << np.uint64(32)) | np.uint64(at)


@njit(cache=True, nogil=True)
def _near(
    queries: Array, vectors: Array, centres: Array, spreads: Array, offsets: Array, codes: Array, scales: Array, place: Array,
    where: Array, words: Array, outside: Array, all_codes: Array, all_scales: Array, budget: int, out_ids: Array,
    out_scores: Array,
) -> None:  # fmt: skip
    """The best among the lists first in promise, until `budget` vectors are looked at, and among the ids outside."""
    lists, k = len(centres), out_ids.shape[1]
    keys = np.empty(lists, dtype=np.uint64)
    small = np.zeros(codes.shape[1], dtype=np.int16)
    totals, uppers = np.empty(64, dtype=np.int32), np.empty(64, dtype=np.float32)
    room = len(place) + len(outside)
    noted, noted_uppers = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.float32)
    lows, heap = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.uint64)
    met = np.zeros(2, dtype=np.int64)
    for i in range(len(queries)):
        query = queries[i]
        step, slack = step_and_slack(query, small)
        threshold: Real = np.float32(-np.inf)
        met[:] = 0
        _promise(query, centres, spreads, keys)
        # Lists differ in length, so more of them are put in order than are needed on average.
        ranked: Whole = min(lists, 4 * np.int64(np.ceil(budget * lists / max(len(place), 1))) + 8)
        _select(keys, lists, ranked)
        keys[:ranked].sort()
        seen = 0
        for c in range(ranked - 1, -1, -1):
            if seen >= budget:
                break
            at = np.int64(keys[c] & np.uint64(LOW))
            if c:  # the next list is far away in memory: its first rows come while this one is scanned
                after = offsets[np.int64(keys[c - 1] & np.uint64(LOW))]
                for row in range(after, after + AHEAD):
                    fetch(codes, row, 0)
            seen += offsets[at + 1] - offsets[at]
            threshold = scan_run(
                small, step, slack, codes, scales, offsets[at], offsets[at + 1], place, where, 0, words, threshold, totals,
                uppers, met, noted, noted_uppers, lows,
            )  # fmt: skip
        threshold = scan_ids(
            small, step, slack, all_codes, all_scales, outside, words, threshold, totals, uppers, met, noted, noted_uppers,
            lows,
        )  # fmt: skip
        finish(query, vectors, threshold, met, noted, noted_uppers, heap, out_ids[i], out_scores[i])
