"""Mmr: maximal marginal relevance. Each place goes to the row that is good and unlike what stands above it.

Source: Carbonell & Goldstein, The use of MMR, diversity-based reranking (SIGIR 1998)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch
from shortlist.core.component import param
from shortlist.core.contracts import FitContext, Rule, State
from shortlist.core.errors import ConfigError, choices

SCORE = "score"  # the final score, which the pipeline sets before the rules
KINDS = ("category", "tags", "vector")


@dataclass
class Mmr(Rule):
    """Reorders the first `depth` rows of every request: place after place goes to the row with the greatest
    weight * relevance - (1 - weight) * (greatest similarity to a row placed already), of equals to the smaller item code.

    relevance: the final score, scaled from 0 to 1 over the request's first `depth` rows; a score that is not finite comes
    last. similarity: Jaccard of the items' tags, or of their category (1 when equal), or cosine of their vectors; 0 where
    either item has none.
    """

    by: str = param("category", "item column that says what is alike: category, tags or vector")
    weight: float = param(0.7, "lambda: 1 = the score alone, 0 = diversity alone", low=0.0, high=1.0)
    depth: int = param(50, "rows to reorder; the others follow as they are", low=1)

    def fit(self, log: Any, ctx: FitContext) -> None:
        """Check the column; nothing is learned."""
        _check(self.by, ctx.catalogue, ctx.place or "mmr")

    def rows(self, batch: Batch, state: State, rng: Callable[[int], np.random.Generator]) -> Array:
        """(m,) int64 row indices, grouped by request. ConfigError when the batch has no final score."""
        items = state.catalogue.items
        _check(self.by, state.catalogue, "mmr")
        if SCORE not in batch.cand:
            raise ConfigError(f"mmr: the candidates have no column {SCORE!r}; columns: {choices(batch.cand)}")
        head, offsets = _head(batch.offsets, self.depth)
        item = batch.item[head]
        relevance = _relevance(offsets, batch.cand[SCORE][head])
        if items.column(self.by).kind == "vector":
            chosen = _by_vectors(offsets, item, relevance, items.values(self.by, item), self.weight)
        else:
            starts, tags = items.tags(self.by, item)
            chosen = _by_tags(offsets, item, relevance, starts, tags, self.weight)
        rows = np.arange(batch.m, dtype=np.int64)
        rows[head] = head[chosen]
        return rows


def _check(by: str, catalogue: Any, place: str) -> None:
    items = catalogue.items
    kind = items.column(by, place).kind
    if kind not in KINDS:
        raise ConfigError(
            f"{place}: item column {by!r} is a {kind} column; category, tags and vector columns: "
            f"{choices(items.of_kind(*KINDS))}"
        )


@njit(cache=True, nogil=True)
def _head(offsets: Array, depth: int) -> tuple[Array, Array]:
    """The first `depth` rows of every request, and their own offsets."""
    own = np.zeros(len(offsets), dtype=np.int64)
    for i in range(len(offsets) - 1):
        own[i + 1] = own[i] + min(depth, offsets[i + 1] - offsets[i])
    rows = np.empty(own[-1], dtype=np.int64)
    for i in range(len(offsets) - 1):
        for j in range(own[i + 1] - own[i]):
            rows[own[i] + j] = offsets[i] + j
    return rows, own


@njit(cache=True, nogil=True)
def _relevance(offsets: Array, scores: Array) -> Array:
    """(m,) float64 scores from 0 to 1 within each request; all 0 when they are equal, -inf for one that is not finite."""
    out = np.full(len(scores), -np.inf)
    for request in range(len(offsets) - 1):
        low, high = np.inf, -np.inf
        for i in range(offsets[request], offsets[request + 1]):
            if np.isfinite(scores[i]):
                low, high = min(low, np.float64(scores[i])), max(high, np.float64(scores[i]))
        for i in range(offsets[request], offsets[request + 1]):
            if np.isfinite(scores[i]):
                out[i] = (np.float64(scores[i]) - low) / (high - low) if high > low else 0.0
    return out


@njit(cache=True, nogil=True)
def _best(left: Array, count: int, item: Array, relevance: Array, likeness: Array, weight: float) -> int:
    """Where in `left[:count]` the next row stands."""
    best, best_worth = 0, -np.inf
    for spot in range(count):
        i = left[spot]
        worth = -np.inf
        if relevance[i] > -np.inf:
            worth = weight * relevance[i] - (1.0 - weight) * likeness[i]
        if worth > best_worth or (worth == best_worth and item[i] < item[left[best]]):
            best, best_worth = spot, worth
    return best


@njit(cache=True, nogil=True)
def _by_vectors(offsets: Array, item: Array, relevance: Array, vectors: Array, weight: float) -> Array:
    chosen, left = np.empty(len(item), dtype=np.int64), np.arange(len(item))
    likeness, size = np.zeros(len(item)), np.zeros(len(item))  # to what is placed; squared length
    for i in range(len(item)):
        for j in range(vectors.shape[1]):
            size[i] += np.float64(vectors[i, j]) * np.float64(vectors[i, j])
    for request in range(len(offsets) - 1):
        first, last = offsets[request], offsets[request + 1]
        for place in range(first, last):
            rest = left[place:last]
            spot = _best(rest, last - place, item, relevance, likeness, weight)
            picked = rest[spot]
            chosen[place], rest[spot] = picked, rest[0]
            for i in left[place + 1 : last]:
                dot = 0.0
                for j in range(vectors.shape[1]):
                    dot += np.float64(vectors[i, j]) * np.float64(vectors[picked, j])
                norm = np.sqrt(size[i] * size[picked])
                alike = dot / norm if norm > 0.0 and np.isfinite(norm) else 0.0
                likeness[i] = alike if place == first else max(likeness[i], alike)  # a cosine may be negative
    return chosen


@njit(cache=True, nogil=True)
def _by_tags(offsets: Array, item: Array, relevance: Array, starts: Array, tags: Array, weight: float) -> Array:
    chosen, left = np.empty(len(item), dtype=np.int64), np.arange(len(item))
    likeness = np.zeros(len(item))  # to what is placed
    for request in range(len(offsets) - 1):
        last = offsets[request + 1]
        for place in range(offsets[request], last):
            rest = left[place:last]
            spot = _best(rest, last - place, item, relevance, likeness, weight)
            picked = rest[spot]
            chosen[place], rest[spot] = picked, rest[0]
            for i in left[place + 1 : last]:
                alike = _jaccard(tags[starts[i] : starts[i + 1]], tags[starts[picked] : starts[picked + 1]])
                likeness[i] = max(likeness[i], alike)
    return chosen


@njit(cache=True, nogil=True)
def _jaccard(first: Array, second: Array) -> float:
    """|both| / |either| of two short lists as sets; a tag listed twice counts once. 0 when either is empty."""
    both, own, others = 0, 0, 0
    for i in range(len(first)):
        if not _within(first[:i], first[i]):
            own += 1
            both += _within(second, first[i])
    for i in range(len(second)):
        others += not _within(second[:i], second[i])
    return both / (own + others - both) if both else 0.0


@njit(cache=True, nogil=True)
def _within(tags: Array, tag: int) -> bool:
    return bool((tags == tag).any())
