"""What sources share that score by the inner product of a request's vector and an item's: how the best are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.component import hidden, param
from shortlist.core.contracts import Hits, Mask, Pairs, Source
from shortlist.core.errors import BundleError
from shortlist.core.rng import rng
from shortlist.data.log import Log
from shortlist.index.contract import Index
from shortlist.index.make import load, make, save
from shortlist.index.masked import under
from shortlist.index.ranked import Ranked, scores_of
from shortlist.index.scan import valid
from shortlist.retrieve._evidence import _distinct

ASKED = 200  # users of the log that an index is tuned for
FOLDER = "index"


@dataclass
class Inner(Source):
    """A source whose answer is the items of largest inner product with a vector of the request. Whatever finds an item, its score has the
    same bits; `exact` and `int8` give the same answers, bit for bit, and ivf and hnsw may miss some (docs/indexes.md)."""

    search: str = param(
        "exact",
        "what finds the best: exact (all vectors, by falling length), or an index: int8 (as exact), ivf or hnsw (approximate where the "
        "catalogue is large; hnsw needs the extra ann)",
        options=("exact", "int8", "ivf", "hnsw"),
    )
    shards: int = param(1, "parts of an index, each searched on a thread of its own", low=1, high=64)
    recall: float = param(0.98, "share of the exact answer that an approximate index is tuned to find", low=0.1, high=1)
    _ranked: Ranked | None = hidden(None)
    _index: Index | None = hidden(None)

    def indexed(
        self, vectors: Array, log: Log, kinds: Array, fold_in: Callable[[Array, Array, Array], Array], seed: int
    ) -> None:
        """At the end of a fit: the index of (items, d) vectors, if one is asked for. An approximate one is tuned for what it will be
        asked: the vectors that `fold_in(offsets, items, weights)` makes of some users of the log."""
        self._ranked, self._index = None, None
        if self.search == "exact":
            return
        queries = None
        if self.search != "int8" and len(log):
            queries = fold_in(*histories(log, kinds, seed))
            queries = queries[valid(queries)]
            queries = queries if len(queries) else None
        self._index = make(self.search, vectors, self.shards, seed, self.recall, queries)

    def best(self, queries: Array, vectors: Array, size: int, k: int, allowed: Mask | None) -> Hits:
        """The best k by queries (n, d) times vectors (fitted items, d), of a catalogue of `size`; rows of NaN score nothing."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if self._index is None:
            if self._ranked is None or self._ranked.source is not vectors:
                self._ranked = Ranked(vectors)
            items, scores = self._ranked.search(queries, k, size, allowed)
        else:
            items, scores = under(self._index, queries, k, _within(allowed, self._index.size, size))
        return Hits(
            items, scores, Pairs(len(queries), size, lambda owner, item: scores_of(queries, vectors, owner, item))
        )

    def plan(self, k: int, allowed: Mask | None) -> str:
        """How such a request is answered, for the trace."""
        if self._index is None:
            return "exact: vectors by falling length"
        return self._index.plan(k, None if allowed is None else allowed.shared)

    def save_files(self, folder: Path) -> None:
        """The index, and what was measured of it."""
        if self._index is not None:
            save(self._index, folder / FOLDER)

    def load_files(self, folder: Path) -> None:
        """See `save_files`; mapped, not read."""
        self._ranked, self._index = None, None
        if self.search == "exact":
            return
        self._index = load(folder / FOLDER)
        items = getattr(self, "items", None)
        if items is not None and items.shape[1] != self._index.d:
            raise BundleError(f"{folder / FOLDER}: holds vectors of {self._index.d} numbers, not {items.shape[1]}")


def histories(log: Log, kinds: Array, seed: int) -> tuple[Array, Array, Array]:
    """(offsets, items, weights) of up to ASKED users of a log, drawn at random: their distinct items, newest first, all of weight 1."""
    users = rng(seed, "index").permutation(np.unique(log.user))[:ASKED]
    place = np.full(int(log.user.max()) + 1, -1, dtype=np.int64)
    place[users] = np.arange(len(users))
    rows = np.flatnonzero(place[log.user] >= 0)
    rows = rows[np.argsort(place[log.user[rows]], kind="stable")]  # the log is in order of time, and stays so
    offsets = np.concatenate([[0], np.cumsum(np.bincount(place[log.user[rows]], minlength=len(users)))])
    wanted = np.zeros(128, dtype=np.bool_)
    wanted[kinds] = True
    return _distinct(offsets, log.item[rows], log.kind[rows], wanted, 0, 1.0)


def _within(allowed: Mask | None, indexed: int, size: int) -> Mask | None:
    """The mask for an index that may know of more items than the catalogue has."""
    if indexed <= size:
        return allowed
    shared = np.ones(size, dtype=np.bool_) if allowed is None or allowed.shared is None else allowed.shared[:size]
    return Mask(shared) if allowed is None else Mask(shared, allowed.offsets, allowed.items)
