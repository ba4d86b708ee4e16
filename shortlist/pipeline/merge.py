"""Merge: what several sources found becomes one pool per request, each item once, with every source's score, rank and
percentile kept (NaN where it did not find the item)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.contracts import Hits
from shortlist.core.rows import offsets_of


def merge(batch: Batch, names: Sequence[str], hits: Sequence[Hits], pool: int, size: int) -> Batch:
    """The pool of every request: at most `pool` distinct items, taken in turn from the sources (all first places, then all
    second places ...), so the cut to `pool` is fair by rank. size: item codes are below it.

    New candidate columns, float32: `score_<source>`; `rank_<source>`, 1 = best; `pct_<source>`, the place from 0 (best) to 1
    among what that source returned; `sources`, how many found the item; `best_rank`, the best of its ranks.
    """
    starts = np.zeros(len(hits) + 1, dtype=np.int64)
    np.cumsum([found.items.shape[1] for found in hits], out=starts[1:])
    items = np.ascontiguousarray(np.concatenate([found.items for found in hits], axis=1), dtype=np.int32)
    scores = np.ascontiguousarray(np.concatenate([found.scores for found in hits], axis=1), dtype=np.float32)
    counts, item, score, rank, found_by = _merge(items, scores, starts, pool, size)
    offsets = offsets_of(counts)
    returned = np.stack([(found.items >= 0).sum(axis=1) for found in hits], axis=1).astype(np.float32)
    merged = Batch(batch.req, offsets, {"item": item})
    columns: Columns = {"item": item}
    for s, (name, found) in enumerate(zip(names, hits, strict=True)):
        if found.full is not None:
            _fill(score, s, merged.owner, item, np.ascontiguousarray(found.full, dtype=np.float32))
        columns[f"score_{name}"] = np.ascontiguousarray(score[:, s])
        columns[f"rank_{name}"] = np.ascontiguousarray(rank[:, s])
        columns[f"pct_{name}"] = (columns[f"rank_{name}"] - np.float32(0.5)) / merged.spread(returned[:, s])
    columns["sources"] = found_by
    columns["best_rank"] = np.fmin.reduce(rank, axis=1) if len(names) else found_by
    return Batch(batch.req, offsets, columns)


@njit(cache=True, nogil=True)
def _merge(
    items: Array, scores: Array, starts: Array, pool: int, size: int
) -> tuple[Array, Array, Array, Array, Array]:
    n, sources = items.shape[0], len(starts) - 1
    longest, total = 0, items.shape[1]
    for s in range(sources):
        longest = max(longest, starts[s + 1] - starts[s])
    room = n * min(pool, total)
    item = np.empty(room, dtype=np.int32)
    score = np.full((room, sources), np.nan, dtype=np.float32)
    rank = np.full((room, sources), np.nan, dtype=np.float32)
    found_by = np.zeros(room, dtype=np.float32)
    counts = np.zeros(n, dtype=np.int64)
    row_of = np.full(size, -1, dtype=np.int64)  # rows of earlier requests are below `first`, so it needs no clearing
    filled = 0
    for i in range(n):
        first = filled
        for place in range(longest):
            for s in range(sources):
                if place >= starts[s + 1] - starts[s]:
                    continue
                code = items[i, starts[s] + place]
                if code < 0:
                    continue
                row = row_of[code]
                if row < first:
                    if filled - first >= pool:
                        continue
                    row = filled
                    row_of[code] = row
                    item[row] = code
                    filled += 1
                score[row, s] = scores[i, starts[s] + place]
                rank[row, s] = place + 1
                found_by[row] += 1
        counts[i] = filled - first
    return counts, item[:filled], score[:filled], rank[:filled], found_by[:filled]


@njit(cache=True, nogil=True)
def _fill(score: Array, s: int, owner: Array, item: Array, full: Array) -> None:
    """A source's own score of candidates that only others returned."""
    one = full.shape[0] == 1
    for row in range(len(item)):
        if np.isnan(score[row, s]) and item[row] < full.shape[1]:
            score[row, s] = full[0 if one else owner[row], item[row]]
