"""What the vector features share: their options, their fit, the evidence of a history, and the kernel that compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.component import fitted, hidden, param
from shortlist.core.contracts import Feature, FitContext, State
from shortlist.data.log import Log
from shortlist.learn.space import Space, fitted_space, user_vectors

LANES = 16  # history items side by side in the kernel: the widest vector register, so that no loop has a remainder


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
        has = _has(self.unit, history.items)
        return Evidence(*_distinct(history.offsets, history.items, has, self.decay))

    def users(self, origin: str, asked: Evidence) -> Array:
        """(n, d) vectors of the histories."""
        space = Space(self.items, self.unit, self.solver)
        return user_vectors(origin, space, asked.offsets, asked.items, asked.weights)

    def similarities(self, origin: str, batch: Batch, state: State) -> Columns:
        """The five columns of comparison."""
        asked = self.evidence(batch, state)
        users = self.users(origin, asked)
        item = np.ascontiguousarray(batch.item)
        made = _compare(
            batch.offsets, item, asked.offsets, asked.items, asked.weights, self.unit, self.items, users
        )  # fmt: skip
        return {f"{self._name}/{name}": made[j] for j, name in enumerate(("max", "mean", "last", "dot", "norm"))}


@njit(cache=True, nogil=True)
def _has(vectors: Array, items: Array) -> Array:
    """(len,) bool: has the item a vector?"""
    out = np.zeros(len(items), dtype=np.bool_)
    for j in range(len(items)):
        if 0 <= items[j] < len(vectors) and vectors.shape[1] > 0:
            out[j] = not np.isnan(vectors[items[j], 0])
    return out


@njit(cache=True, nogil=True)
def _distinct(offsets: Array, items: Array, has: Array, decay: float) -> tuple[Array, Array, Array]:
    """Every item once, newest first; the newest weighs 1, each older one `decay` times the one after it."""
    n = len(offsets) - 1
    out_offsets = np.zeros(n + 1, dtype=np.int64)
    out_items = np.empty(len(items), dtype=np.int32)
    out_weights = np.empty(len(items), dtype=np.float32)
    count = 0
    for i in range(n):
        start, weight = count, 1.0
        for j in range(offsets[i + 1] - 1, offsets[i] - 1, -1):
            if not has[j]:
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
    return out_offsets, out_items[:count].copy(), out_weights[:count].copy()


# Reassociated sums are the same for every row of the same length, whatever stands around it.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def _dot(x: Array, y: Array, size: int) -> np.float32:
    total = np.float32(0.0)
    for c in range(size):
        total += x[c] * y[c]
    return total


# Contraction alone: sums keep the order in which they are written, so a row's bits depend on nothing but itself.
@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _compare(
    owners: Array, items: Array, past: Array, past_items: Array, weights: Array, unit: Array, vectors: Array, users: Array
) -> Array:  # fmt: skip
    """(5, m) float32: the largest, the weighted mean and the newest cosine of each candidate to its request's history, its inner
    product with the history's vector, and its length. The history is laid out with its items side by side, so that one
    dimension of the candidate meets all of them at once."""
    d = unit.shape[1]
    out = np.full((5, len(items)), np.nan, dtype=np.float32)
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
            if not 0 <= item < len(unit) or d == 0:
                continue
            x, v = unit[item], vectors[item]
            if np.isnan(x[0]):
                continue
            out[4, r] = np.sqrt(_dot(v, v, d))
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
            best = cosine[0]
            for j in range(1, length):
                best = max(best, cosine[j])
            out[0, r] = best
            out[1, r] = _dot(weights[past[i] : past[i + 1]], cosine, length) / total
            out[2, r] = cosine[0]
    return out
