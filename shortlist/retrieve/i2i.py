"""I2i: lists of similar items for some items of the history that differ from each other, dealt out in turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, Source, State
from shortlist.data.log import Log
from shortlist.data.matrix import compact, interactions
from shortlist.index.top import top_ragged
from shortlist.retrieve._evidence import evidence
from shortlist.retrieve._nearest import doubled, nearest


@dataclass
class I2i(Source):
    """Item-to-item lists (Linden, Smith & York, "Amazon.com Recommendations", IEEE Internet Computing 2003) that no single interest
    can fill. Similarity of two items = users of both / (sqrt(users of the one * users of the other) + shrink), the best `k` per
    item kept. Seeds: the history is gone through from the newest item on; an item becomes a seed unless it is in the list of an
    earlier one with a similarity of at least `apart`, until there are `seeds`. Then the first of every list, the second of every
    list and so on: an item at place r (from 0) of the list of seed s (from 0) scores 1 / (1 + r + s / seeds), the best of
    its places where it has several.

    Where itemknn adds up what the whole history says, so that the largest interest drowns the others, here each has its turn. No
    `full`: only the lists are scored.
    """

    k: int = param(50, "length of an item's list", low=1)
    seeds: int = param(10, "items of the history that give their lists, at most", low=1)
    apart: float = param(0.4, "similarity from which on an item is no seed besides another", low=0)
    shrink: float = param(10.0, "added to the product of the norms: pulls similarities of rare items to 0", low=0)
    last: int = param(50, "newest distinct items of the history that may be seeds; 0 = all that are kept", low=0)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    indptr: Array = fitted("(items + 1,) int64: where each item's list begins")
    indices: Array = fitted("int32 similar items, best first")
    values: Array = fitted("float32 similarities")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """The lists, from the log's users. Memory: the matrix twice, and k entries per item."""
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        size = int(log.item.max(initial=-1)) + 1
        matrix = interactions(*compact(log), size)
        norm = np.sqrt(np.bincount(matrix.indices, minlength=size).astype(np.float64))
        self.indptr, self.indices, self.values = nearest(
            matrix.tocsc(), matrix, norm, norm, self.shrink, self.k, ctx.progress, "i2i"
        )

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last)
        offsets, items, scores = _dealt(
            asked.offsets,
            asked.items,
            self.indptr,
            self.indices,
            self.values,
            self.seeds,
            float(np.float32(self.apart)),
        )
        return Hits(*top_ragged(offsets, items, scores, k, len(state.catalogue.items), allowed, 0.0))


@njit(cache=True, nogil=True)
def _dealt(
    offsets: Array, history: Array, indptr: Array, indices: Array, values: Array, seeds: int, apart: float
) -> tuple[Array, Array, Array]:
    """Ragged distinct items of the lists of every request's seeds, and their scores."""
    n, size = len(offsets) - 1, len(indptr) - 1
    out_offsets = np.zeros(n + 1, dtype=np.int64)
    items, scores = np.empty(1024, dtype=np.int32), np.empty(1024, dtype=np.float32)
    covered = np.full(size, -1, dtype=np.int64)  # the request in which an item is close to a seed: never cleared
    place = np.full(size, -1, dtype=np.int64)  # of an item among the answers; counts as unset below the request's first
    chosen = np.empty(seeds, dtype=np.int64)
    count = 0
    for i in range(n):
        found, first = 0, count
        for j in range(offsets[i], offsets[i + 1]):
            item = history[j]
            if found == seeds:
                break
            if item >= size or indptr[item] == indptr[item + 1] or covered[item] == i:
                continue
            chosen[found] = item
            found += 1
            for e in range(indptr[item], indptr[item + 1]):
                if values[e] >= apart:
                    covered[indices[e]] = i
        for s in range(found):
            start = indptr[chosen[s]]
            for e in range(start, indptr[chosen[s] + 1]):
                score = np.float32(1.0 / (1.0 + (e - start) + s / seeds))
                at = place[indices[e]]
                if at >= first:
                    scores[at] = max(scores[at], score)
                    continue
                if count == len(items):
                    items, scores = doubled(items), doubled(scores)
                items[count], scores[count], place[indices[e]] = indices[e], score, count
                count += 1
        out_offsets[i + 1] = count
    return out_offsets, items[:count].copy(), scores[:count].copy()
