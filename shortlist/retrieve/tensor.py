"""Tensor: a Tucker model of user x item x feedback, with folding in (Frolov & Oseledets, "Fifty Shades of Ratings: How to Benefit from
a Negative Feedback in Top-N Recommendations Tasks", RecSys 2016: CoFFee), by higher-order orthogonal iteration (De Lathauwer, De Moor
& Vandewalle, SIAM J. Matrix Anal. Appl. 2000)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import sparse

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, State
from shortlist.core.errors import ConfigError
from shortlist.core.rng import rng
from shortlist.data.log import Log
from shortlist.data.matrix import dense
from shortlist.learn import svd
from shortlist.retrieve._evidence import _distinct, flags
from shortlist.retrieve._inner import Inner

CYCLE = {"hour": (3600, 24), "weekday": (86_400, 7)}  # seconds of a level, how many there are
THURSDAY = 3  # the first day of unix time; Monday is 0


@dataclass
class Tensor(Inner):
    """The binary tensor (user, item, level) is approximated by a core and three bases with orthonormal columns, U, V and W. With P the
    (items, levels) events of a request's history, what is expected of him is V V' P W W' (eq. 9 of the paper); an item's score is
    the sum of its row over the levels that are wanted.

    mode, the third dimension: value: the event's value (a rating), in at most `levels` steps; wanted are the steps from `good` on. A
    rating counts by how its step goes with the wanted ones (W W'): a low one for little, or against what goes with it. kind: the event's kind; wanted are the
    positive kinds. hour, weekday (UTC): when it was; wanted is the level of the request's own moment.

    Events without a value are passed over in mode value. Items without an event are NaN in `full`, as is everything for a request
    with no known item in its history.
    """

    mode: str = param("kind", "the third dimension", options=("value", "kind", "hour", "weekday"))
    d: int = param(32, "columns of V: the rank of the items", low=1, high=1024)
    d_user: int = param(32, "columns of U: the rank of the users", low=1, high=1024)
    d_mode: int = param(2, "columns of W: the rank of the levels", low=1)
    levels: int = param(
        10, "steps of values, at most: where there are more values, steps of about equally many events", low=2
    )
    good: float = param(0.0, "the lowest value that is wanted; 0 = the highest step only")
    epochs: int = param(10, "passes over the three bases, at most", low=1)
    tolerance: float = param(1e-4, "relative growth of the core's norm in a pass that ends them", low=0)
    last: int = param(
        0, "newest distinct (item, level) pairs of the history that are looked at; 0 = all that are kept", low=0
    )
    decay: float = param(1.0, "weight of each older pair of the history against the one after it", low=0, high=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    steps: Array = fitted("(levels - 1,) float32: the lowest value of every step but the first")
    items: Array = fitted("(fitted items, d) float32 V; NaN for items without an event")
    gates: Array = fitted("(levels, moments) float32: how much an event of a level says for what is wanted at a moment")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Alternate between the bases until the core stops growing. Memory: the log's pairs once per column of W."""
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        if self.mode == "value":
            some = ~np.isnan(log.columns["value"])
            if len(log) and not some.any():
                raise ConfigError(
                    f"{ctx.place or 'tensor'}.mode: 'value', but these events have no values; other modes: kind, hour, weekday"
                )
            log = log.take(some)
            self.steps = _steps(log.columns["value"], self.levels)
        level = self._level(log.time, log.kind, log.columns["value"])
        count = self._count()
        size = int(log.item.max(initial=-1)) + 1
        numbered, users, known = dense(log)
        cells = np.stack([level, numbered.user, numbered.item])
        entries = np.unique(cells, axis=1) if len(log) else np.zeros((3, 0), np.int64)
        v, w = self._bases(entries, (users, len(known), count), ctx)
        self.items = np.full((size, v.shape[1]), np.nan, dtype=np.float32)
        self.items[known] = v
        self.gates = (w @ w.T @ self._wanted(ctx, count)).astype(np.float32)
        self.indexed(self.items, log, self.kinds, self._project, ctx.seed)

    def _level(self, time: Array, kind: Array, value: Array) -> Array:
        """(events,) int64 level of each."""
        if self.mode == "value":
            return np.searchsorted(self.steps, value, side="right").astype(np.int64)
        if self.mode == "kind":
            return np.searchsorted(np.sort(self.kinds), kind).astype(np.int64)
        return _moment(time, self.mode)

    def _count(self) -> int:
        if self.mode == "value":
            return len(self.steps) + 1
        return len(self.kinds) if self.mode == "kind" else CYCLE[self.mode][1]

    def _wanted(self, ctx: FitContext, count: int) -> Array:
        """(levels, moments): 1 where a level is wanted; there is one moment only where what is wanted does not depend on it."""
        if self.mode in CYCLE:
            return np.eye(count)
        wanted = np.zeros((count, 1))
        if self.mode == "kind":
            positive = np.isin(np.sort(self.kinds), ctx.kinds(()))
            wanted[positive if positive.any() else slice(None)] = 1.0
        else:
            first = int(np.searchsorted(self.steps, self.good, side="right")) if self.good else count - 1
            wanted[first:] = 1.0
        return wanted

    def _bases(self, entries: Array, shape: tuple[int, int, int], ctx: FitContext) -> tuple[Array, Array]:
        """V (items, d) and W (levels, d_mode), by HOOI."""
        level, user, item = entries
        users, items, levels = shape
        if not len(level):
            return np.zeros((items, self.d)), np.zeros((levels, 1))
        slices = [
            sparse.csr_array((np.ones(int(own.sum())), (user[own], item[own])), shape=(users, items))
            for own in (level == r for r in range(levels))
        ]
        turned = [sparse.csr_array(table.T) for table in slices]
        v, w = _start(ctx.seed, items, self.d), _start(ctx.seed + 1, levels, self.d_mode)
        grown = 0.0
        with ThreadPoolExecutor() as pool:
            for _ in ctx.progress(range(self.epochs), "tensor", self.epochs):
                u, _ = _leading(_unfolded(pool, slices, v, w), self.d_user)
                v, _ = _leading(_unfolded(pool, turned, u, w), self.d)
                cores = list(pool.map(lambda table, v=v, u=u: (u.T @ (table @ v)).ravel(), slices))
                w, norm = _leading(np.stack(cores), self.d_mode)
                if norm - grown <= self.tolerance * norm:
                    break
                grown = norm
        return v, w

    def _project(self, offsets: Array, items: Array, weights: Array) -> Array:
        return svd.project(offsets, items, weights, self.items)

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        history = state.history(batch.user)
        levels = self._level(history.times, history.kinds, history.values)
        moment = _moment(batch.time, self.mode) if self.mode in CYCLE else np.zeros(batch.n, dtype=np.int64)
        usable = flags(self.kinds)[history.kinds]
        if self.mode == "value":
            usable = usable & ~np.isnan(history.values)
        # The tensor is binary: an item met twice at one level is one entry, the newer.
        count = len(self.gates)
        codes = (history.items.astype(np.int64) * count + np.minimum(levels, count - 1)).astype(np.int32)
        wanted = np.array([False, True])
        offsets, codes, weights = _distinct(
            history.offsets, codes, usable.astype(np.int8), wanted, self.last, self.decay
        )
        vectors = _folded(offsets, codes, weights, moment, self.items, self.gates)
        return self.best(vectors, self.items, len(state.catalogue.items), k, allowed)


def _moment(time: Array, mode: str) -> Array:
    """(len,) int64 hour or weekday of unix seconds."""
    unit, count = CYCLE[mode]
    level: Array = (np.asarray(time, dtype=np.int64) // unit + (THURSDAY if mode == "weekday" else 0)) % count
    return level


def _steps(values: Array, levels: int) -> Array:
    """Lowest values of all steps but the first: every value its own step, or quantiles where there are more than `levels`."""
    distinct = np.unique(values)
    if len(distinct) > levels:
        distinct = np.unique(np.quantile(values, np.arange(levels) / levels, method="higher"))
    return distinct[1:].astype(np.float32)


def _start(seed: int, size: int, d: int) -> Array:
    """(size, at most d) orthonormal columns to begin with."""
    draw = rng(seed, "tensor").standard_normal((size, min(size, d)))
    start: Array = np.linalg.qr(draw)[0]
    return start


def _unfolded(pool: ThreadPoolExecutor, slices: list[sparse.csr_array], basis: Array, w: Array) -> Array:
    """(rows, d * d_mode): the tensor with two dimensions projected onto their bases: block s is (sum_r W[r, s] X_r) basis."""
    blocks = list(pool.map(lambda table: table @ basis, slices))
    return np.concatenate([sum(w[r, s] * blocks[r] for r in range(len(w))) for s in range(w.shape[1])], axis=1)


def _leading(table: Array, d: int) -> tuple[Array, float]:
    """The first d left singular vectors, those of singular value 0 left out, and the norm of what they span. By the smaller Gram
    matrix, then made orthonormal."""
    if table.shape[0] <= table.shape[1]:
        values, vectors = np.linalg.eigh(table @ table.T)
        left = vectors[:, ::-1][:, :d]
    else:
        values, vectors = np.linalg.eigh(table.T @ table)
        left = np.linalg.qr(table @ vectors[:, ::-1][:, :d])[0]
    values = values[::-1][:d]
    real = values > 1e-10 * max(values[0], 1e-300)
    return left[:, real], float(np.sqrt(values[real].sum()))


@njit(cache=True, nogil=True)
def _folded(offsets: Array, codes: Array, weights: Array, moment: Array, vectors: Array, gates: Array) -> Array:
    """(n, d) float32: the sum over a request's entries of weight * gate of the level * vector of the item; NaN without a known one."""
    out = np.full((len(offsets) - 1, vectors.shape[1]), np.nan, dtype=np.float32)
    total = np.empty(vectors.shape[1])
    for i in range(len(out)):
        total[:] = 0.0
        met = False
        for j in range(offsets[i], offsets[i + 1]):
            item, level = codes[j] // len(gates), codes[j] % len(gates)
            if item >= len(vectors) or np.isnan(vectors[item, 0]):
                continue
            met = True
            gate = weights[j] * gates[level, moment[i]]
            for c in range(len(total)):
                total[c] += gate * vectors[item, c]
        if met:
            out[i] = total
    return out
