"""Quotas by marginal recall: which source is worth how many candidates, for whom, under a budget. Greedy, as maximum coverage is: always
the step that brings most new targets for what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.rows import offsets_of

LEVELS = np.unique(
    np.round(1.12 ** np.arange(0, 90)).astype(np.int64)
)  # quotas that are tried: 1, 2, 3 ... 10, 11, 12, 14, 15 ...


@dataclass(frozen=True)
class Found:
    """What the sources returned for n requests, asked for many items each, and which of it were targets.

    rank: (sources, m) int32, 1 = best, 0 = not returned; target: (m,) bool; offsets: (n + 1,); segment: (n,) index into SEGMENTS;
    targets: (n,) how many each request has, found or not."""

    names: tuple[str, ...]
    offsets: Array
    rank: Array
    target: Array
    segment: Array
    targets: Array

    @property
    def n(self) -> int:
        """How many requests."""
        return len(self.offsets) - 1

    @property
    def owner(self) -> Array:
        """(m,) the request of each row."""
        return np.repeat(np.arange(self.n), np.diff(self.offsets))

    def inside(self, quotas: Array) -> Array:
        """(m,) bool: is the row in the pool that these quotas make? quotas: (sources, segments)."""
        limit = quotas[:, self.segment[self.owner]]
        kept: Array = np.logical_or.reduce((self.rank > 0) & (self.rank <= limit), axis=0)
        return kept

    def judged(self, quotas: Array) -> tuple[float, float]:
        """Recall (share of all targets) and mean size of the pool that these quotas make."""
        inside = self.inside(quotas)
        return float((inside & self.target).sum() / max(self.targets.sum(), 1)), float(inside.sum() / max(self.n, 1))


def joined(parts: Sequence[Found]) -> Found:
    """The requests of several windows as one."""
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    return Found(
        parts[0].names, offsets_of(counts), np.concatenate([part.rank for part in parts], axis=1),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("target", "segment", "targets")),
    )  # fmt: skip


def greedy(
    found: Found, budget: float, *, each: float = 1.0, opening: Array | None = None, apart: bool = False, rare: int = 0
) -> Array:
    """(sources, 3) quotas, one column per segment (equal ones unless `apart`), whose mean cost per request is at most `budget`. A segment
    with fewer than `rare` requests has not shown what it needs: it gets the quotas that are best for all together.

    each: what a candidate costs; opening: (sources,) what it costs to ask a source at all. A candidate that several sources return
    is paid for once. In every round, of all sources, segments and LEVELS the raise is taken that brings most new targets per cost:
    looking further than one place ahead, a source may open with a dull first place. What does not fit into the rest is left out."""
    groups = found.segment if apart else np.zeros(found.n, dtype=np.int64)
    count = 3 if apart else 1
    opening = np.zeros(len(found.names)) if opening is None else opening
    share = np.bincount(groups, minlength=count) / max(found.n, 1)
    depth = int(found.rank.max(initial=0))
    levels = np.append(LEVELS[depth > LEVELS], depth)
    group = groups[found.owner]
    order, starts = _sorted(found.rank, group, count, depth)
    rows = np.zeros((len(found.names), count, depth + 1), dtype=np.int64)  # not yet in the pool, by rank
    hits = np.zeros_like(rows)
    for s, rank in enumerate(found.rank):
        np.add.at(rows[s], (group[rank > 0], rank[rank > 0]), 1)
        np.add.at(hits[s], (group[(rank > 0) & found.target], rank[(rank > 0) & found.target]), 1)
    quotas = np.zeros((len(found.names), count), dtype=np.int64)
    covered, left = np.zeros(len(group), dtype=np.bool_), budget
    while True:
        best, chosen = 0.0, (0, 0, 0, 0.0)
        for s in range(len(found.names)):
            for g in range(count):
                now = quotas[s, g]
                ahead = levels[levels > now]
                gain = np.cumsum(hits[s, g])[ahead]  # below `now`, nothing is left to be counted
                cost = np.cumsum(rows[s, g])[ahead] * each / max(found.n, 1) + (
                    opening[s] * share[g] if now == 0 else 0.0
                )
                worth = np.where((cost <= left) & (gain > 0), gain / np.maximum(cost, 1e-12), 0.0)
                if len(ahead) and worth.max() > best:
                    spot = int(worth.argmax())
                    best, chosen = float(worth[spot]), (s, g, int(ahead[spot]), float(cost[spot]))
        if best == 0.0:
            break
        s, g, level, cost_of = chosen
        first, last = starts[s, g, quotas[s, g] + 1], starts[s, g, level + 1]
        _cover(order[s, first:last], found.rank, found.target, g, covered, rows, hits)
        quotas[s, g], left = level, left - cost_of
    if not apart:
        return np.repeat(quotas, 3, axis=1)
    few = np.bincount(groups, minlength=count) < rare
    if few.any():
        quotas[:, few] = greedy(found, budget, each=each, opening=opening)[:, few]
    return quotas


def equal(found: Found, size: float) -> Array:
    """(sources, 3) the same quota for every source and segment, the largest whose mean pool is not above `size`."""
    least = np.where(found.rank > 0, found.rank, np.iinfo(np.int32).max).min(axis=0)
    grown = np.cumsum(np.bincount(least, minlength=2)) / max(found.n, 1)
    quota = max(int(np.searchsorted(grown, size, side="right")) - 1, 1)
    return np.full((len(found.names), 3), quota, dtype=np.int64)


def marginal(found: Found, quotas: Array) -> Array:
    """(sources,) recall that would be lost without each source."""
    whole = found.judged(quotas)[0]
    lost = []
    for s in range(len(quotas)):
        without = quotas.copy()
        without[s] = 0
        lost.append(whole - found.judged(without)[0])
    return np.array(lost)


def _sorted(rank: Array, group: Array, count: int, depth: int) -> tuple[Array, Array]:
    """For every source, its rows by group and rank (those it did not return first in each group): (sources, m) row indices, and
    (sources, groups, depth + 2) where the rows of each rank begin."""
    order = np.empty(rank.shape, dtype=np.int64)
    starts = np.empty((len(rank), count, depth + 2), dtype=np.int64)
    for s in range(len(rank)):
        key = group * (depth + 1) + rank[s]
        order[s] = np.argsort(key, kind="stable")
        edges = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=count * (depth + 1)))])
        for g in range(count):
            starts[s, g] = edges[g * (depth + 1) : (g + 1) * (depth + 1) + 1]
    return order, starts


@njit(cache=True, nogil=True)
def _cover(chosen: Array, rank: Array, target: Array, g: int, covered: Array, rows: Array, hits: Array) -> None:
    """Put rows into the pool: from now on no source is credited for them."""
    for row in chosen:
        if covered[row]:
            continue
        covered[row] = True
        for s in range(len(rank)):
            if rank[s, row] > 0:
                rows[s, g, rank[s, row]] -= 1
                if target[row]:
                    hits[s, g, rank[s, row]] -= 1
