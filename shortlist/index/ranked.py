"""The k best by inner product for many requests at once: vectors in order of falling length, so that most are never looked at.

|q x| <= |q| |x|: once the k-th best score of a request lies above |q| times the length of all vectors that are left, none of them can
be among its best (Teflioudi, Gemulla & Mykytiuk, "LEMP: Fast Retrieval of Large Entries in a Matrix Product", SIGMOD 2015). What
is looked at is a product in tiles of float32 (see data/tile), which is only a bound: the few rows that it leaves are scored by
`scan.score`. So a score's bits depend on its two vectors alone, and one request is answered as in a batch of many, in any order of the vectors.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.contracts import Mask
from shortlist.data.tile import ROWS, WIDE, strip, tile
from shortlist.index.scan import finish, score, take, valid
from shortlist.index.top import mark, padded, parts

PANEL = 64  # vectors that are looked at together


class Ranked:
    """Vectors by row, as they are and once more in panels: memory is twice theirs. Rows with NaN are not there."""

    def __init__(self, vectors: Array) -> None:
        """vectors: (rows, d) float32."""
        self.source = vectors
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        rows = np.flatnonzero(valid(self.vectors))
        lengths = np.sqrt(np.einsum("ij,ij->i", self.vectors[rows], self.vectors[rows], dtype=np.float64))
        order = np.argsort(-lengths, kind="stable")
        panels = -(-len(rows) // PANEL)
        self.ids = np.full(panels * PANEL, -1, dtype=np.int32)
        self.ids[: len(rows)] = rows[order]
        # Rounded up, so that it bounds the true length.
        self.longest = (lengths[order][::PANEL] * (1 + 1e-6)).astype(np.float32)
        self.panels = np.zeros((panels, self.vectors.shape[1], PANEL), dtype=np.float32)
        for p in range(panels):
            members = self.ids[p * PANEL : (p + 1) * PANEL]
            self.panels[p, :, : (members >= 0).sum()] = self.vectors[members[members >= 0]].T

    def search(self, queries: Array, k: int, size: int, allowed: Mask | None = None) -> tuple[Array, Array]:
        """(n, k) int32 rows below `size`, best first, equal ones by number, -1 where there are fewer; (n, k) float32 scores, NaN there.
        queries: (n, d) float32; one with a NaN finds nothing."""
        shared, offsets, banned = parts(allowed)
        wanted = max(k, 0)
        fewer = min(wanted, len(self.vectors), size)
        items = np.full((len(queries), fewer), -1, dtype=np.int32)
        scores = np.full((len(queries), fewer), np.nan, dtype=np.float32)
        if fewer:
            queries = np.ascontiguousarray(queries, dtype=np.float32)
            _search(
                queries, self.vectors, self.ids, self.longest, self.panels, size, shared, offsets, banned, items, scores
            )
        return padded(items, scores, wanted)


def scores_of(queries: Array, vectors: Array, owner: Array, item: Array) -> Array:
    """(r,) float32 scores of (query, row) pairs; NaN for a row that is not there, and for a query with a NaN."""
    out = np.empty(len(item), dtype=np.float32)
    _of(np.ascontiguousarray(queries, dtype=np.float32), vectors, owner, item, out)
    return out


@njit(cache=True, nogil=True)
def _of(queries: Array, vectors: Array, owner: Array, item: Array, out: Array) -> None:
    for r in range(len(item)):
        out[r] = score(queries[owner[r]], vectors[item[r]]) if 0 <= item[r] < len(vectors) else np.float32(np.nan)


@njit(cache=True, nogil=True)
def _search(
    queries: Array, vectors: Array, ids: Array, longest: Array, panels: Array, size: int,
    shared: Array | None, ban_offsets: Array, banned: Array, out_ids: Array, out_scores: Array,
) -> None:  # fmt: skip
    n, d = queries.shape
    k = out_ids.shape[1]
    group = ROWS if n > 1 else 1
    has_bans = len(ban_offsets) > 0
    flags = np.zeros((group, size if has_bans else 0), dtype=np.bool_)
    left = np.zeros((d, ROWS), dtype=np.float32)
    product = np.empty((ROWS, PANEL), dtype=np.float32)
    noted, uppers = np.empty((group, len(ids)), dtype=np.int64), np.empty((group, len(ids)), dtype=np.float32)
    lows, heap = np.empty((group, k), dtype=np.float32), np.empty(k, dtype=np.uint64)
    met = np.zeros((group, 2), dtype=np.int64)
    length, thresholds = np.zeros(group, dtype=np.float32), np.zeros(group, dtype=np.float32)
    open_ = np.zeros(group, dtype=np.bool_)
    least = np.float32(d * 3e-38)  # what may underflow
    rounding = np.float32((d + 4) * 2.0**-24 * 1.001)  # of a float32 sum of d products, in |q| |x|
    for first in range(0, n, group):
        count = min(group, n - first)
        left[:] = 0.0
        waiting = 0
        for r in range(count):
            query = queries[first + r]
            square = 0.0
            for c in range(d):
                square += np.float64(query[c]) ** 2
            open_[r] = square <= 1e30  # NaN compares false
            if not open_[r]:
                continue
            waiting += 1
            length[r] = np.float32(np.sqrt(square) * (1 + 1e-6))
            thresholds[r] = -np.inf
            left[:, r] = query
            if has_bans:
                mark(flags[r], banned, ban_offsets[first + r], ban_offsets[first + r + 1], True)
        met[:] = 0
        for p in range(len(panels)):
            for r in range(count):
                if open_[r] and length[r] * longest[p] * np.float32(1 + 1e-6) + least < thresholds[r]:
                    open_[r] = False
                    waiting -= 1
            if waiting == 0:
                break
            if group == 1:
                strip(left, 0, panels[p], 0, d, product, 0, 0)
            else:
                for c in range(0, PANEL, WIDE):
                    tile(left, 0, panels[p], c, d, product, 0, c)
            for r in range(count):
                if not open_[r]:
                    continue
                off = rounding * length[r] * longest[p] + least
                cut = thresholds[r] - off
                row = product[r]
                above = np.int32(0)
                for j in range(PANEL):
                    above += np.int32(1) if row[j] >= cut else np.int32(0)
                if not above:
                    continue
                for j in range(PANEL):
                    item = ids[p * PANEL + j]
                    if not (row[j] >= thresholds[r] - off and 0 <= item < size):
                        continue
                    if shared is not None and (item >= len(shared) or not shared[item]):
                        continue
                    if has_bans and flags[r, item]:
                        continue
                    thresholds[r] = take(item, row[j] + off, row[j] - off, met[r], noted[r], uppers[r], lows[r])
        for r in range(count):
            if has_bans:
                mark(flags[r], banned, ban_offsets[first + r], ban_offsets[first + r + 1], False)
            if met[r, 1]:
                finish(
                    queries[first + r], vectors, thresholds[r], met[r], noted[r], uppers[r], heap,
                    out_ids[first + r], out_scores[first + r],
                )  # fmt: skip
