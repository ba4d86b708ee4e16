"""Merge: what several sources found becomes one pool per request, each item once, with every source's score, rank and
percentile kept (NaN where it did not find the item)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from shortlist.core import rows
from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.contracts import Hits, Pairs
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
    counts, item, score, rank, pct, found_by, best = _merge(items, scores, starts, pool, size)
    merged = Batch(batch.req, offsets_of(counts), {"item": item})
    columns: Columns = {"item": item}
    for s, (name, found) in enumerate(zip(names, hits, strict=True)):
        _fill(score[s], merged.owner, item, found)
        columns[f"score_{name}"], columns[f"rank_{name}"], columns[f"pct_{name}"] = score[s], rank[s], pct[s]
    columns["sources"], columns["best_rank"] = found_by, best
    return Batch(batch.req, merged.offsets, columns)


def best(union: Batch, chance: Array, pool: int) -> Batch:
    """The pool of every request: of all that the sources found, the at most `pool` items with the largest chance (ties by item code),
    best first. New column, float32: `chance`."""
    chosen = rows.top(union, chance, pool)
    return union.take(chosen).with_columns({"chance": chance[chosen]})


def given(batch: Batch, names: Sequence[str], hits: Sequence[Hits]) -> Batch:
    """Candidates that are there already, with every source's score of them as `score_<source>`, float32: that of its hit, else its
    `full` score, else NaN. No ranks: what a source found among other items says little of these."""
    columns: Columns = {}
    item = np.ascontiguousarray(batch.item)
    for name, found in zip(names, hits, strict=True):
        items = np.ascontiguousarray(found.items, dtype=np.int32)
        score = _own(batch.offsets, item, items, np.ascontiguousarray(found.scores, dtype=np.float32))
        _fill(score, batch.owner, item, found)
        columns[f"score_{name}"] = score
    return batch.with_columns(columns)


def chosen(batch: Batch, names: Sequence[str], hits: Sequence[Hits], items: Array, size: int) -> Batch:
    """As `merge`, with these (n, k) items as the candidates, in their order, and no others; -1 = none. What no source found has no ranks, and
    the scores of sources that know every item's."""
    own = Hits(items.astype(np.int32), np.zeros(items.shape, dtype=np.float32))
    total = sum(found.items.shape[1] for found in (*hits, own))
    pool = merge(batch, [*names, ""], [*hits, own], total, size)
    own_rank = pool.cand["rank_"]
    here = np.flatnonzero(np.isfinite(own_rank))
    pool = pool.take(here[np.lexsort((own_rank[here], pool.owner[here]))]).without(("score_", "rank_", "pct_"))
    ranks = np.stack([pool.cand[f"rank_{name}"] for name in names])
    found = np.isfinite(ranks)
    first = np.where(found, ranks, np.inf).min(axis=0)
    counts = found.sum(axis=0).astype(np.float32)
    return pool.with_columns({"sources": counts, "best_rank": np.where(counts > 0, first, np.nan).astype(np.float32)})


@njit(cache=True, nogil=True)
def _own(offsets: Array, item: Array, items: Array, scores: Array) -> Array:
    """The score of each candidate among its request's hits; NaN where it is none of them."""
    out = np.full(len(item), np.nan, dtype=np.float32)
    for i in range(len(offsets) - 1):
        for row in range(offsets[i], offsets[i + 1]):
            for j in range(items.shape[1]):
                if items[i, j] == item[row]:
                    out[row] = scores[i, j]
                    break
    return out


@njit(cache=True, nogil=True)
def _merge(
    items: Array, scores: Array, starts: Array, pool: int, size: int
) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
    n, sources = items.shape[0], len(starts) - 1
    longest, total = 0, items.shape[1]
    for s in range(sources):
        longest = max(longest, starts[s + 1] - starts[s])
    room = n * min(pool, total)
    item = np.empty(room, dtype=np.int32)
    score = np.full((sources, room), np.nan, dtype=np.float32)
    rank = np.full((sources, room), np.nan, dtype=np.float32)
    pct = np.full((sources, room), np.nan, dtype=np.float32)
    found_by = np.zeros(room, dtype=np.float32)
    best = np.empty(room, dtype=np.float32)
    counts = np.zeros(n, dtype=np.int64)
    returned = np.zeros(sources, dtype=np.float32)
    row_of = np.full(size, -1, dtype=np.int64)  # rows of earlier requests are below `first`, so it needs no clearing
    filled = 0
    for i in range(n):
        first = filled
        for s in range(sources):
            returned[s] = 0
            for j in range(starts[s], starts[s + 1]):
                if items[i, j] >= 0:
                    returned[s] += 1
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
                    best[row] = place + 1
                    filled += 1
                score[s, row] = scores[i, starts[s] + place]
                rank[s, row] = place + 1
                pct[s, row] = np.float32(place + 0.5) / returned[s]
                found_by[row] += 1
        counts[i] = filled - first
    return (
        counts, item[:filled], score[:, :filled], rank[:, :filled], pct[:, :filled], found_by[:filled], best[:filled],
    )  # fmt: skip


def _fill(score: Array, owner: Array, item: Array, found: Hits) -> None:
    """A source's own score of candidates that only others returned."""
    if isinstance(found.rest, Pairs):
        rows = np.flatnonzero(np.isnan(score))
        if len(rows):
            rows = rows[item[rows] < found.rest.size]
            score[rows] = found.rest.of(owner[rows], item[rows])
    elif found.rest is not None:
        _fill_in(score, owner, item, np.ascontiguousarray(found.rest, dtype=np.float32))


@njit(cache=True, nogil=True)
def _fill_in(score: Array, owner: Array, item: Array, full: Array) -> None:
    one = full.shape[0] == 1
    for row in range(len(item)):
        if np.isnan(score[row]) and item[row] < full.shape[1]:
            score[row] = full[0 if one else owner[row], item[row]]
