"""HNSW (Malkov & Yashunin, TPAMI 2020) through faiss, for inner products of vectors of unequal length.

A graph loses its way among vectors of unequal length: the longest are the answer to most queries, and few edges lead to them. Both
known mends were measured (20,000 x 64, log-normal lengths, recall@100 with efSearch 132): inner product alone .79, lengths made equal by
one more column, sqrt(M^2 - |x|^2) (Bachrach et al., RecSys 2014) .58. So the longest twentieth is kept out of the graph and scanned in
full, which is quick (their int8 codes lie side by side) and finds most of the answer alone; in the graph of the others inner product
then does well: .9986.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.errors import BundleError
from shortlist.core.extras import need
from shortlist.index import bitmap
from shortlist.index.approximate import Approximate
from shortlist.index.exact import BEYOND, coded
from shortlist.index.scan import Real, able, finish, has, padded, scan_ids, scan_run, step_and_slack, unpack, valid

FIRST = 0.25  # efSearch with effort 1, times k
BUILD = 80  # candidates that an insertion keeps (efConstruction)
HEAD = 0.05  # share of the vectors, the longest, that are scanned instead
IN_HEAD = -2  # what `where` says of them


class Hnsw(Approximate):
    """See the module. links: neighbours of a vector on each level; memory of the graph: about 8 links + d bytes per vector."""

    kind = "hnsw"
    least = 0.4  # a walk through banned vectors loses its way: .975 at a tenth, with seven times the effort

    def __init__(self, d: int, seed: int = 0, links: int = 24) -> None:
        super().__init__(d, seed)
        self.links = links
        self.longest = np.zeros(1, dtype=np.float64)  # vectors longer than this are in the head
        self.head = np.zeros(0, dtype=np.int32)  # their ids
        self.codes, self.scales = coded(self.exact.codes, self.exact.scales, self.head)  # theirs
        self.graph: Any = None
        self._file: Path | None = None
        self._faiss = need("faiss", "ann", "the hnsw index")

    def _arrays(self) -> dict[str, Array]:
        return {"longest": self.longest, "head": self.head, "codes": self.codes, "scales": self.scales}

    def _learn(self, vectors: Array) -> None:
        lengths = _lengths(vectors)
        self.longest = np.array([np.quantile(lengths, 1 - HEAD) if len(lengths) else 0.0])
        self.head = np.zeros(0, dtype=np.int32)
        faiss = self._faiss
        self.graph = faiss.IndexHNSWSQ(self.d, faiss.ScalarQuantizer.QT_8bit, self.links, faiss.METRIC_INNER_PRODUCT)
        self.graph.hnsw.efConstruction = BUILD
        self.graph.hnsw.rng = faiss.RandomGenerator(self.seed & 0x7FFFFFFF)
        self._file = None
        short = vectors[lengths <= self.longest[0]]
        if len(short):
            self.graph.train(short)

    def _take(self, ids: Array) -> None:
        if self.graph is None or not self.graph.is_trained or self._hollow() or not self._can_grow():
            ids = bitmap.members(self.exact.words)
            self.where[:] = -1
            self.place = np.zeros(0, dtype=np.int32)
            self._learn(self.exact.vectors[ids])
        far = _lengths(self.exact.vectors[ids]) > self.longest[0]
        short, first = ids[~far], len(self.place)
        if len(short):
            self.graph.add(self.exact.vectors[short])
        self.place = np.concatenate([self.place, short.astype(np.int32)])
        self.where[short] = np.arange(first, len(self.place), dtype=np.int32)
        kept = self.head[self.where[self.head] == IN_HEAD]
        self.head = np.union1d(kept, ids[far]).astype(np.int32)
        self.where[self.head] = IN_HEAD
        self.codes, self.scales = coded(self.exact.codes, self.exact.scales, self.head)

    def _near(
        self, queries: Array, k: int, words: Array, effort: float, filtered: bool, ids: Array, scores: Array
    ) -> None:
        faiss = self._faiss
        wide = int(max(min(np.ceil(FIRST * k * self.effort * effort), len(self.place)), 1))
        chosen = None
        if filtered or len(self.place) > self.count - len(self.outside) - len(self.head):
            live = np.empty(bitmap.words_for(len(self.place)), dtype=np.uint64)
            _live(self.place, self.where, words, live)
            chosen = faiss.IDSelectorBitmap(live.view(np.uint8))
        met = np.zeros((len(queries), 0), dtype=np.int64)
        if len(self.place):
            settings = faiss.SearchParametersHNSW(efSearch=wide, sel=chosen)
            sound = np.where(valid(queries)[:, None], queries, np.float32(0.0))
            _, met = self.graph.search(sound, min(wide, k + k // 4), params=settings)
        _best(
            queries, self.exact.vectors, met, self.place, self.where, words, self.outside, self.head, self.codes, self.scales,
            self.exact.codes, self.exact.scales, k, ids, scores,
        )  # fmt: skip

    def _save_native(self, folder: Path) -> None:
        if self.graph is not None:
            self._faiss.write_index(self.graph, str(folder / "graph.faiss"))

    def _load_native(self, folder: Path) -> None:
        path = folder / "graph.faiss"
        try:
            if path.exists():
                self.graph = self._faiss.read_index(str(path), self._faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise BundleError(f"{path}: not a readable index: {' '.join(str(error).split())}") from None
        if self.graph is None and not self.count:
            return
        kept = isinstance(self.graph, self._faiss.IndexHNSWSQ) and self.graph.d == self.d
        kept = kept and self.graph.ntotal == len(self.place) and self.longest.shape == (1,)
        if (
            not kept
            or self.codes.shape != (len(self.head) + BEYOND, padded(self.d))
            or len(self.scales) != len(self.codes)
        ):
            raise BundleError(f"{path}: does not belong to the arrays beside it")
        self._file = path

    def _positions(self) -> int:
        return len(self.place) + len(self.head)

    def _leads_back(self, held: Array) -> bool:
        back = self.where[held]
        inside = (back >= 0) & (back < len(self.place))
        if not np.array_equal(self.place[back[inside]], held[inside]):
            return False
        return bool(np.isin(held[~inside], self.head).all() and (back[~inside] == IN_HEAD).all())

    def _can_grow(self) -> bool:
        """A mapped graph must be read first; False when its file is not what it was."""
        if self._file is not None:
            path, self._file = self._file, None
            try:
                self.graph = self._faiss.read_index(str(path))
            except RuntimeError:
                return False
        return bool(self.graph.ntotal == len(self.place))


def _lengths(vectors: Array) -> Array:
    """(rows,) float64 Euclidean lengths."""
    found: Array = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    return found


@njit(cache=True, nogil=True)
def _live(place: Array, where: Array, words: Array, out: Array) -> None:
    """The positions whose id is still there and in `words`, as bits."""
    for w in range(len(out)):
        word = np.uint64(0)
        for bit in range(min(64, len(place) - w * 64)):
            row = np.int64(place[w * 64 + bit])
            if where[row] == w * 64 + bit and has(words, row):
                word |= np.uint64(1) << np.uint64(bit)
        out[w] = word


@njit(cache=True, nogil=True)
def _best(
    queries: Array, vectors: Array, proposed: Array, place: Array, where: Array, words: Array, outside: Array, head: Array,
    codes: Array, scales: Array, all_codes: Array, all_scales: Array, k: int, out_ids: Array, out_scores: Array,
) -> None:  # fmt: skip
    """The best k among the head, the positions that the graph proposed, (n, any) int64 or -1, and the ids outside."""
    small = np.zeros(codes.shape[1], dtype=np.int16)
    totals, uppers = np.empty(64, dtype=np.int32), np.empty(64, dtype=np.float32)
    room = len(head) + proposed.shape[1] + len(outside)
    noted, noted_uppers = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.float32)
    lows, heap = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.uint64)
    met = np.zeros(2, dtype=np.int64)
    rows = np.empty(proposed.shape[1], dtype=np.int64)
    for i in range(len(queries)):
        if not able(queries[i]):
            unpack(heap, 0, out_ids[i], out_scores[i])
            continue
        step, slack = step_and_slack(queries[i], small)
        threshold: Real = np.float32(-np.inf)
        met[:] = 0
        count = 0
        for p in proposed[i]:
            if p >= 0 and where[place[p]] == p:
                rows[count] = place[p]
                count += 1
        threshold = scan_ids(
            small, step, slack, all_codes, all_scales, rows[:count], words, threshold, totals, uppers, met, noted, noted_uppers,
            lows,
        )  # fmt: skip
        threshold = scan_run(
            small, step, slack, codes, scales, 0, len(head), head, where, IN_HEAD, words, threshold, totals, uppers, met, noted,
            noted_uppers, lows, 0, 0,
        )  # fmt: skip
        threshold = scan_ids(
            small, step, slack, all_codes, all_scales, outside, words, threshold, totals, uppers, met, noted, noted_uppers,
            lows,
        )  # fmt: skip
        finish(queries[i], vectors, threshold, met, noted, noted_uppers, heap, out_ids[i], out_scores[i])
