"""Exact indexes: every allowed vector is looked at, and the answer is the right one to the last bit."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.component import load_array, save_array
from shortlist.core.errors import BundleError, ShortlistError
from shortlist.index import bitmap
from shortlist.index.contract import Index, checked, checked_ids
from shortlist.index.dot import TOGETHER
from shortlist.index.lock import Gate
from shortlist.index.scan import padded, quantised, scan_codes, scan_floats, valid

BEYOND = TOGETHER - 1  # rows that kernels read behind the last one
SHARED = 1_000_000  # query-vector pairs from which on the cores share the work: below, starting threads costs more


class Exact(Index):
    """float32 vectors, scanned as they stand: 4 d bytes per vector are read for every query."""

    kind = "exact"

    def __init__(self, d: int) -> None:
        self.d = d
        self.gate = Gate()
        self._size = 0
        self.vectors = aligned((0, d), np.float32)
        self.norms = aligned((0,), np.float32)
        self.words = np.zeros(0, dtype=np.uint64)  # which rows hold a vector
        self._count = 0

    @property
    def size(self) -> int:
        """See Index."""
        return self._size

    @property
    def count(self) -> int:
        """See Index."""
        return self._count

    def add(self, ids: Array, vectors: Array) -> None:
        """See Index."""
        ids, vectors = checked_ids(ids, "add"), checked(vectors, self.d, "add")
        if len(ids) != len(vectors):
            raise ShortlistError(f"add: {len(ids)} ids for {len(vectors)} vectors")
        with self.gate.writing():
            self.put(ids, vectors)

    def delete(self, ids: Array) -> None:
        """See Index."""
        ids = checked_ids(ids, "delete")
        with self.gate.writing():
            self.drop(ids)

    def search(self, queries: Array, k: int, allowed: Array | None = None) -> tuple[Array, Array]:
        """See Index."""
        queries = checked(queries, self.d, "search")
        with self.gate.reading():
            return self.find(queries, k, self.within(allowed))

    def plan(self, k: int, allowed: Array | None = None) -> str:
        """See Index."""
        return f"{self.kind}: all {self.count} vectors"

    def save(self, folder: Path) -> None:
        """See Index."""
        folder.mkdir(parents=True, exist_ok=True)
        with self.gate.reading():
            rows = bitmap.words_for(self._size) * bitmap.WORD
            for name, array in self.arrays().items():
                save_array(folder / f"{name}.npy", array[: rows // bitmap.WORD] if name == "words" else array[:rows])
            save_array(folder / "shape.npy", np.array([self.d, self._size], dtype=np.int64))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote, memory-mapped: only what a search touches is read. Changes stay in memory."""
        shape = load_array(folder / "shape.npy")
        if shape.shape != (2,) or shape.dtype != np.int64 or shape.min() < 0:
            raise BundleError(f"{folder / 'shape.npy'}: not the shape of an index")
        index = cls(int(shape[0]))
        rows = bitmap.words_for(int(shape[1])) * bitmap.WORD
        for name, empty in index.arrays().items():
            array = load_array(folder / f"{name}.npy")
            length = rows // bitmap.WORD if name == "words" else rows
            if array.dtype != empty.dtype or array.shape != (length, *empty.shape[1:]):
                raise BundleError(
                    f"{folder / name}.npy: expected {empty.dtype} of shape {(length, *empty.shape[1:])}, "
                    f"found {array.dtype} of shape {array.shape}"
                )
            setattr(index, name, array)
        index._size = int(shape[1])
        if bitmap.count(index.words) != bitmap.count(bitmap.packed(index.words, index._size)):
            raise BundleError(f"{folder / 'words.npy'}: names ids beyond the index's size {index._size}")
        index._count = bitmap.count(index.words)
        return index

    # What indexes that are built on this one call while they hold the gate.

    def put(self, ids: Array, vectors: Array) -> None:
        """`add`, with the gate held."""
        good = valid(vectors)
        if len(ids) > 1:  # of equal ids the last one counts
            _, back = np.unique(ids[::-1], return_index=True)
            last = len(ids) - 1 - back
            ids, vectors, good = ids[last], vectors[last], good[last]
        self._grow(int(ids.max(initial=-1)) + 1)
        self.drop(ids[~good])
        ids, vectors = ids[good], vectors[good]
        self._write(ids, vectors)
        self._count += len(ids) - int(self.holds(ids).sum())
        bitmap.put(self.words, ids, True)

    def drop(self, ids: Array) -> None:
        """`delete`, with the gate held."""
        ids = np.unique(ids[ids < self._size])
        self._count -= int(self.holds(ids).sum())
        bitmap.put(self.words, ids, False)

    def holds(self, ids: Array) -> Array:
        """(rows,) bool: which of these ids, all below `size`, are in the index?"""
        found: Array = (self.words[ids >> 6] >> (ids & 63).astype(np.uint64)) & np.uint64(1) != 0
        return found

    def within(self, allowed: Array | None) -> Array:
        """(words,) uint64: the ids in the index that are allowed."""
        if allowed is None:
            return self.words
        found: Array = self.words & bitmap.packed(allowed, len(self.words) * bitmap.WORD)
        return found

    def find(self, queries: Array, k: int, words: Array) -> tuple[Array, Array]:
        """`search` among the ids of a packed set, with the gate held."""
        n, k = len(queries), max(k, 0)
        ids, scores = np.empty((n, k), dtype=np.int32), np.empty((n, k), dtype=np.float32)

        def part(rows: slice) -> None:
            self._scan(queries[rows], words, min(k, self._size), ids[rows], scores[rows])

        shared_out(part, n, n * self._count >= SHARED)
        return ids, scores

    def arrays(self) -> dict[str, Array]:
        """Everything that is saved, by name."""
        return {"vectors": self.vectors, "words": self.words, "norms": self.norms}

    def _write(self, ids: Array, vectors: Array) -> None:
        self.vectors[ids] = vectors
        lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1)) * (1 + 1e-6)
        self.norms[ids] = lengths

    def _scan(self, queries: Array, words: Array, k: int, ids: Array, scores: Array) -> None:
        scan_floats(queries, self.vectors, self.norms, words, k, ids, scores)

    def _grow(self, size: int) -> None:
        """Make room for ids below `size`. Capacity doubles, in whole words."""
        self._size = max(self._size, size)
        have = len(self.vectors)
        if size <= have:
            return
        rows = max(bitmap.words_for(size) * bitmap.WORD, 2 * have if have else 0)
        for name, array in self.arrays().items():
            length = rows // bitmap.WORD if name == "words" else rows
            grown = aligned((length, *array.shape[1:]), array.dtype)
            grown[: len(array)] = array
            setattr(self, name, grown)


class Int8(Exact):
    """The same, ruled out by int8 codes: d + 4 bytes per vector are read for every query, and the few vectors that may be among
    the best are then scored in float32. As exact as `Exact`."""

    kind = "int8"

    def __init__(self, d: int) -> None:
        super().__init__(d)
        self.codes = aligned((0, padded(d)), np.int8)
        self.scales = aligned((0,), np.float32)

    def arrays(self) -> dict[str, Array]:
        """See Exact."""
        return {"vectors": self.vectors, "words": self.words, "codes": self.codes, "scales": self.scales}

    def _write(self, ids: Array, vectors: Array) -> None:
        self.vectors[ids] = vectors
        codes, scales = np.empty((len(ids), self.codes.shape[1]), dtype=np.int8), np.empty(len(ids), dtype=np.float32)
        quantised(vectors, codes, scales)
        self.codes[ids], self.scales[ids] = codes, scales

    def _scan(self, queries: Array, words: Array, k: int, ids: Array, scores: Array) -> None:
        scan_codes(queries, self.vectors, self.codes, self.scales, words, k, ids, scores)


def shared_out(work: Callable[[slice], None], rows: int, much: bool) -> None:
    """`work` on all rows: on all cores where it is much. Every query is answered on its own, so how they are shared out changes nothing."""
    workers = min(os.cpu_count() or 1, rows) if much else 1
    if workers <= 1:
        work(slice(0, rows))
        return
    cuts = np.linspace(0, rows, workers + 1).astype(int).tolist()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, [slice(start, stop) for start, stop in itertools.pairwise(cuts)]))


def coded(codes: Array, scales: Array, rows: Array) -> tuple[Array, Array]:
    """The int8 codes and scales of some rows side by side, and behind them zeros for what `scan.bounds` reads beyond."""
    some = aligned((len(rows) + BEYOND, codes.shape[1]), np.int8), aligned((len(rows) + BEYOND,), np.float32)
    np.take(codes, rows, axis=0, out=some[0][: len(rows)])
    np.take(scales, rows, out=some[1][: len(rows)])
    return some


def aligned(shape: tuple[int, ...], dtype: np.dtype[np.generic] | type[np.generic]) -> Array:
    """Zeros that start at a cache line: a row of 64 bytes is then read in one piece, not two."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(count + 64, dtype=np.uint8)
    start = -room.ctypes.data % 64
    out: Array = room[start : start + count].view(dtype).reshape(shape)
    return out
