"""Quorum: items whose public cares for what the user cares for, by category: TF x UF x IDF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from scipy import sparse

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, Source, State
from shortlist.core.errors import ConfigError, choices
from shortlist.data.log import Log
from shortlist.data.matrix import compact, interactions
from shortlist.index.top import top_ragged
from shortlist.retrieve._evidence import evidence
from shortlist.retrieve._nearest import doubled


@dataclass
class Quorum(Source):
    """With UF(u, c) the share of category c among the items of user u (an item of several categories is split evenly),

        score(u, i) = sum over categories c of TF(i, c) * UF(u, c) * IDF(c),
        TF(i, c) = mean of UF(., c) over the users of i,
        IDF(c) = min(-ln of the mean of UF(., c) over all users, gamma).

    TF says who takes the item, whatever its own category, so an item may be found through what its public likes besides. Items
    with fewer than `least` users have no quorum. Candidates are the union of the `top` items by TF of every category of
    the user's history. New items wait for the next fit. No `full`: only candidates are scored.
    """

    by: str = param("category", "item column of categories or tags")
    gamma: float = param(5.0, "the most that the rarity of a category may count", low=0)
    top: int = param(200, "candidates per category", low=1)
    least: int = param(5, "users that an item needs", low=1)
    last: int = param(0, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    decay: float = param(1.0, "weight of each older item of the history against the one after it", low=0, high=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    indptr: Array = fitted("(items + 1,) int64: where the categories of each item's public begin")
    categories: Array = fitted("int32 categories, ascending")
    frequency: Array = fitted("float32 TF")
    rarity: Array = fitted("(categories,) float32 IDF")
    starts: Array = fitted("(categories + 1,) int64: where the candidates of each category begin")
    best: Array = fitted("int32 items of the highest TF, best first")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """TF, IDF and the candidates of every category. Memory: one number per item and category of its public."""
        self._check(ctx)
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        size = int(log.item.max(initial=-1)) + 1
        matrix = interactions(*compact(log), size)
        own = self._shares(ctx.catalogue.items, np.arange(size, dtype=np.int32))
        cares = matrix @ own
        total = np.maximum(cares.sum(axis=1), 1e-30)  # a user of items without category cares for none
        cares.data /= np.repeat(total, np.diff(cares.indptr))
        popularity = np.bincount(matrix.indices, minlength=size)
        public = sparse.csr_array(matrix.T @ cares)
        public.sort_indices()
        lengths = np.diff(public.indptr)
        public.data /= np.repeat(np.maximum(popularity, 1), lengths)
        kept = np.repeat(popularity >= self.least, lengths)
        rows = np.repeat(np.arange(size), lengths)[kept]
        self.indptr = np.searchsorted(rows, np.arange(size + 1)).astype(np.int64)
        self.categories = public.indices[kept].astype(np.int32)
        self.frequency = public.data[kept].astype(np.float32)
        mean = cares.sum(axis=0) / max(cares.shape[0], 1)
        with np.errstate(divide="ignore"):
            self.rarity = np.minimum(-np.log(mean), self.gamma).astype(np.float32)
        # Best first within a category, equal ones by item code.
        order = np.lexsort((rows, -self.frequency, self.categories))
        counts = np.bincount(self.categories, minlength=own.shape[1])
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen = place < self.top
        self.best = rows[order][chosen].astype(np.int32)
        self.starts = np.zeros(own.shape[1] + 1, dtype=np.int64)
        np.cumsum(np.minimum(counts, self.top), out=self.starts[1:])

    def _check(self, ctx: FitContext) -> None:
        items, place = ctx.catalogue.items, f"{ctx.place or 'quorum'}.by"
        if items.column(self.by, place).kind not in ("category", "tags"):
            raise ConfigError(
                f"{place}: item column {self.by!r} is a {items.column(self.by).kind} column; "
                f"columns of categories: {choices(items.of_kind('category', 'tags'))}"
            )

    def _shares(self, table: Any, items: Array) -> sparse.csr_array:
        """(items, categories) float64: what part of an item is of a category."""
        offsets, codes = table.tags(self.by, items)
        counts = np.diff(offsets)
        shares = np.repeat(1.0 / np.maximum(counts, 1), counts)
        width = len(table.column(self.by).vocabulary)
        return sparse.csr_array((shares, codes, offsets), shape=(len(items), width))

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        own_offsets, own = state.catalogue.items.tags(self.by, asked.items)
        offsets, items, scores = _candidates(
            asked.offsets, asked.weights, own_offsets, own, self.indptr, self.categories, self.frequency,
            self.rarity, self.starts, self.best,
        )  # fmt: skip
        return Hits(*top_ragged(offsets, items, scores, k, len(state.catalogue.items), allowed, 0.0))


@njit(cache=True, nogil=True)
def _candidates(
    asked: Array, weights: Array, own_offsets: Array, own: Array, indptr: Array, categories: Array, frequency: Array,
    rarity: Array, starts: Array, best: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Ragged distinct candidates of every request, and their scores."""
    n, width, size = len(asked) - 1, len(rarity), len(indptr) - 1
    cares = np.zeros(width)
    stamp = np.full(size, -1, dtype=np.int64)
    offsets = np.zeros(n + 1, dtype=np.int64)
    items, scores = np.empty(1024, dtype=np.int32), np.empty(1024, dtype=np.float32)
    count = 0
    for i in range(n):
        cares[:] = 0.0
        total = 0.0
        for j in range(asked[i], asked[i + 1]):
            parts = own_offsets[j + 1] - own_offsets[j]
            for e in range(own_offsets[j], own_offsets[j + 1]):
                if own[e] < width:
                    cares[own[e]] += weights[j] / parts
            total += weights[j] if parts > 0 else 0.0
        for c in range(width):
            if cares[c] == 0.0:
                continue
            cares[c] *= rarity[c] / total
            for e in range(starts[c], starts[c + 1]):
                if stamp[best[e]] == i:
                    continue
                stamp[best[e]] = i
                if count == len(items):
                    items, scores = doubled(items), doubled(scores)
                items[count] = best[e]
                count += 1
        for row in range(offsets[i], count):
            score = 0.0
            for e in range(indptr[items[row]], indptr[items[row] + 1]):
                score += frequency[e] * cares[categories[e]]
            scores[row] = score
        offsets[i + 1] = count
    return offsets, items[:count].copy(), scores[:count].copy()
