"""What the vector features share: their options, their fit, the evidence of a history, and the kernel that compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import fitted, hidden, param
from shortlist.core.contracts import Feature, FitContext, State
from shortlist.data.log import Log
from shortlist.learn.space import Space, fitted_space, user_vectors

READINGS = ("max", "mean", "last", "dot", "norm")
LANES = 8  # history items side by side in the kernel: a vector register, so that no loop has a remainder


@dataclass(frozen=True)
class Evidence:
    """Request i's items are the entries `offsets[i]:offsets[i + 1]`: distinct, with a vector, newest first."""

    offsets: Array  # int64, n + 1
    items: Array  # int32
    weights: Array  # float32


@dataclass
class Compared(Feature):
    """A feature that compares candidates with a history by vectors."""

    last: int = param(50, "newest events of the history that are looked at", low=1, high=1000)
    decay: float = param(0.9, "weight of each older item of the history against the one after it", low=0, high=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    items: Array = fitted("(items, d) float32 item vectors; NaN where an item has none")
    unit: Array = fitted("(items, d) float32: the same with length 1, for cosines")
    solver: Array = fitted("float64: what folding a history in needs, where that is more than a sum")
    _events: tuple[str, ...] = hidden(())
    _name: str = hidden("")
    _sizes: Any = hidden(None)  # (vectors, (items,) their lengths): worked out once, not per candidate

    def folds(self, ctx: FitContext) -> tuple[()]:
        """Needs no aggregate but remembers which kinds are positive, and its own name."""
        self._events = tuple(self.event) or ctx.positive
        self._name = ctx.place.rpartition(".")[2] or type(self).__name__.lower()
        return ()

    def learn(
        self,
        origin: str,
        log: Log,
        ctx: FitContext,
        dim: int,
        columns: Sequence[str] = ("*",),
        grams: int = 0,
        model: str = "",
    ) -> None:
        """Fit the vectors on what is known at the cut-off."""
        log = log.of_kinds(ctx.kinds(self.event))
        made = fitted_space(origin, log, ctx, dim, columns=columns, grams=grams, model=model)
        self.items, self.unit, self.solver = made

    def evidence(self, batch: Batch, state: State) -> Evidence:
        """What the requests' histories say, in this space."""
        history = state.past(batch, self._events, self.last)
        items, weights = np.empty_like(history.items), np.empty(len(history.items), dtype=np.float32)
        offsets = np.empty_like(history.offsets)
        count = _distinct(history.offsets, history.items, self.unit, self.decay, offsets, items, weights)
        return Evidence(offsets, items[:count], weights[:count])

    def users(self, origin: str, asked: Evidence) -> Array:
        """(n, d) vectors of the histories."""
        space = Space(self.items, self.unit, self.solver)
        return user_vectors(origin, space, asked.offsets, asked.items, asked.weights)

    def similarities(self, origin: str, batch: Batch, state: State) -> Columns:
        """The five columns of comparison."""
        asked = self.evidence(batch, state)
        users = self.users(origin, asked)
        made = np.empty((len(READINGS), batch.m), dtype=np.float32)
        _compare(
            batch.offsets, np.ascontiguousarray(batch.item), asked.offsets, asked.items, asked.weights, self.unit, self.items,
            self._lengths(), users, made,
        )  # fmt: skip
        return dict(zip([f"{self._name}/{name}" for name in READINGS], made, strict=True))

    def _lengths(self) -> Array:
        """(items,) float32 length of every vector."""
        if self._sizes is None or self._sizes[0] is not self.items:
            self._sizes = self.items, _norms(self.items)
        found: Array = self._sizes[1]
        return found


@njit(cache=True, nogil=True, inline="always")
def _has(vectors: Array, item: int) -> bool:
    """Has the item a vector?"""
    return 0 <= item < len(vectors) and vectors.shape[1] > 0 and not np.isnan(vectors[item, 0])


@njit(cache=True, nogil=True)
def _distinct(
    offsets: Array, items: Array, vectors: Array, decay: float, out_offsets: Array, out_items: Array, out_weights: Array
) -> int:
    """Every item that has a vector once, newest first; the newest weighs 1, each older one `decay` times the one after it. How many there
    are."""
    count = 0
    out_offsets[0] = 0
    for i in range(len(offsets) - 1):
        start, weight = count, 1.0
        for j in range(offsets[i + 1] - 1, offsets[i] - 1, -1):
            if not _has(vectors, items[j]):
                continue
            new = True
            for c in range(start, count):  # histories are short: a scan beats a set
                if out_items[c] == items[j]:
                    new = False
                    break
            if new:
                out_items[count] = items[j]
                out_weights[count] = weight
                weight *= decay
                count += 1
        out_offsets[i + 1] = count
    return count


# Reassociated sums are the same for every row of the same length, whatever stands around it.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def _dot(x: Array, y: Array, size: int) -> np.float32:
    total = np.float32(0.0)
    for c in range(size):
        total += x[c] * y[c]
    return total


@njit(cache=True, nogil=True)
def _norms(vectors: Array) -> Array:
    """(rows,) float32 length of every vector, NaN where it is."""
    out = np.empty(len(vectors), dtype=np.float32)
    for i in range(len(vectors)):
        out[i] = np.sqrt(_dot(vectors[i], vectors[i], vectors.shape[1]))
    return out


# Contraction alone: sums keep the order in which they are written, so a row's bits depend on nothing but itself.
@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _compare(
    owners: Array, items: Array, past: Array, past_items: Array, weights: Array, unit: Array, vectors: Array, sizes: Array,
    users: Array, out: Array,
) -> float:  # fmt: skip
    """Into `out` (5, m): the largest, the weighted mean and the newest cosine of each candidate to its request's history, its inner
    product with the history's vector, and its length. The history is laid out with its items side by side, so that one
    dimension of the candidate meets all of them at once. What is returned says nothing."""
    d = unit.shape[1]
    # Every row is touched beforehand: the memory answers many at once here, and one after the other below.
    touched = np.float32(0.0)
    for r in range(len(items)):
        if _has(unit, items[r]):
            for c in range(0, d, 16):
                touched += unit[items[r], c] + vectors[items[r], c]
    longest = 0
    for i in range(len(owners) - 1):
        longest = max(longest, past[i + 1] - past[i])
    room = (longest + LANES - 1) // LANES * LANES
    side = np.zeros((d, room), dtype=np.float32)
    cosine = np.zeros(room, dtype=np.float32)
    four = d - d % 4
    for i in range(len(owners) - 1):
        length = past[i + 1] - past[i]
        wide = (length + LANES - 1) // LANES * LANES
        total = np.float32(0.0)
        for j in range(length):
            row = unit[past_items[past[i] + j]]
            total += weights[past[i] + j]
            for c in range(d):
                side[c, j] = row[c]
        for j in range(length, wide):
            for c in range(d):
                side[c, j] = np.float32(0.0)
        own = users[i]
        for r in range(owners[i], owners[i + 1]):
            item = items[r]
            for j in range(5):
                out[j, r] = np.nan
            if not _has(unit, item):
                continue
            x, v = unit[item], vectors[item]
            out[4, r] = sizes[item]
            if length == 0:
                continue
            out[3, r] = _dot(own, v, d)
            for j in range(wide):
                cosine[j] = np.float32(0.0)
            for c in range(0, four, 4):
                x0, x1, x2, x3 = x[c], x[c + 1], x[c + 2], x[c + 3]
                h0, h1, h2, h3 = side[c], side[c + 1], side[c + 2], side[c + 3]
                for j in range(wide):
                    cosine[j] += x0 * h0[j] + x1 * h1[j] + x2 * h2[j] + x3 * h3[j]
            for c in range(four, d):
                x0, h0 = x[c], side[c]
                for j in range(wide):
                    cosine[j] += x0 * h0[j]
            # Four chains, or each comparison would wait for the one before. Beside the history stand zeros: they may not win.
            best, others, more, last = cosine[0], cosine[0], cosine[0], cosine[0]
            for j in range(0, length - 3, 4):
                best, others = max(best, cosine[j]), max(others, cosine[j + 1])
                more, last = max(more, cosine[j + 2]), max(last, cosine[j + 3])
            for j in range(length - length % 4, length):
                best = max(best, cosine[j])
            out[0, r] = max(max(best, others), max(more, last))
            out[1, r] = _dot(weights[past[i] : past[i + 1]], cosine, length) / total
            out[2, r] = cosine[0]
    return float(touched)
