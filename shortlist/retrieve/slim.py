"""SLIM: a sparse linear item-item model (Ning & Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems", ICDM 2011)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import sparse

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, param
from shortlist.core.contracts import FitContext, Hits, Mask, Source, State
from shortlist.core.errors import ConfigError
from shortlist.data.log import Log
from shortlist.data.matrix import compact, interactions
from shortlist.retrieve._evidence import evidence
from shortlist.retrieve._nearest import doubled, largest
from shortlist.retrieve._sums import hits
from shortlist.retrieve._threads import in_pieces


@dataclass
class Slim(Source):
    """W minimises, for every item b by itself (eq. 4 of the paper),

        1/2 |x_b - X w_b|^2 + l2 / 2 |w_b|^2 + l1 |w_b|_1,  w_bb = 0,  and w_b >= 0 if `positive`,

    X the binary user x item matrix, by coordinate descent on its Gram matrix. A request's scores are the weighted sum of the rows
    of W of its history. Only items that share a user with b may speak for it, and only the `neighbours` nearest of them by
    cosine where that is not 0 (fsSLIM, section 4.2.4). Of an item's weights the `k` largest are kept. Items that nothing in the history speaks for are not returned; in `full`
    they are 0.
    """

    l1: float = param(2.0, "L1 penalty, in users: higher = fewer weights", low=0)
    l2: float = param(200.0, "L2 penalty, in users: higher = smaller weights", low=1e-6)
    positive: bool = param(True, "no weight below 0")
    neighbours: int = param(0, "items that may speak for an item; 0 = all that share a user with it", low=0)
    k: int = param(0, "weights kept per item, the largest; 0 = all", low=0)
    sweeps: int = param(100, "passes over the weights of an item, at most", low=1)
    tolerance: float = param(1e-4, "the largest change of a weight in a pass that ends it", low=1e-9)
    last: int = param(0, "newest distinct items of the history that are looked at; 0 = all that are kept", low=0)
    decay: float = param(1.0, "weight of each older item of the history against the one after it", low=0, high=1)
    memory_mb: int = param(4000, "memory that the Gram matrix may take", low=1)
    event: tuple[str, ...] = param((), "event kinds learned from and looked at; the positive kinds when empty")
    kinds: Array = fitted("int8 codes of the event kinds")
    indptr: Array = fitted("(items + 1,) int64: where the row of each item of W begins")
    indices: Array = fitted("int32 items that the row's item speaks for, ascending")
    values: Array = fitted("float32 weights")

    def fit(self, log: Log, ctx: FitContext) -> None:
        """Solve for W, the items in parallel. ConfigError when the Gram matrix would take more than `memory_mb`."""
        self.kinds = ctx.kinds(self.event)
        log = log.of_kinds(self.kinds)
        size = int(log.item.max(initial=-1)) + 1
        gram = self._gram(interactions(*compact(log), size), ctx)

        def solve(start: int, stop: int) -> tuple[Array, Array, Array]:
            found: tuple[Array, Array, Array] = _solve(
                *gram, start, stop, self.l1, self.l2, self.positive, self.neighbours, self.sweeps, self.tolerance
            )
            return found

        pieces = in_pieces(solve, np.diff(gram[0]).astype(np.float64) ** 1.5, ctx.progress, "slim")
        targets, sources, weights = (_joined([piece[i] for piece in pieces]) for i in range(3))
        if self.k:
            keep = largest(targets, weights, self.k)
            targets, sources, weights = targets[keep], sources[keep], weights[keep]
        table = sparse.csr_array((weights.astype(np.float32), (sources, targets)), shape=(size, size))
        self.indptr = table.indptr.astype(np.int64)
        self.indices = table.indices.astype(np.int32)
        self.values = table.data

    def _gram(self, matrix: sparse.csr_array, ctx: FitContext) -> tuple[Array, Array, Array]:
        """X'X by sparse rows: offsets, items ascending, how many users both have."""
        columns = matrix.tocsc()
        lengths = np.diff(matrix.indptr).astype(np.int64)
        # Of every item, the entries of its users' rows: the work of its row, and no less than its length.
        reach = np.bincount(matrix.indices, np.repeat(lengths, lengths), minlength=len(columns.indptr) - 1)
        most = int(self.memory_mb * 2**20 / 8)

        def rows(start: int, stop: int) -> tuple[Array, Array, Array]:
            found: tuple[Array, Array, Array] = _gram_rows(
                matrix.indptr, matrix.indices, columns.indptr, columns.indices, start, stop, most
            )
            return found

        pieces = in_pieces(rows, reach, ctx.progress, "slim: gram")
        counts, items, both = (_joined([piece[i] for piece in pieces]) for i in range(3))
        if counts.min(initial=0) < 0 or len(items) > most:
            raise ConfigError(
                f"{ctx.place or 'slim'}: the items that share users need more than memory_mb ({self.memory_mb}); raise it, or "
                "fit on fewer events"
            )
        indptr = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum(counts, out=indptr[1:])
        return indptr, items.astype(np.int32), both.astype(np.float32)

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        asked = evidence(batch, state, self.kinds, self.last, self.decay)
        size = len(state.catalogue.items)
        return hits(asked, self.indptr, self.indices, self.values, size, k, allowed)


def _joined(pieces: list[Array]) -> Array:
    return np.concatenate(pieces) if pieces else np.zeros(0)


@njit(cache=True, nogil=True)
def _gram_rows(
    row_ptr: Array, row_items: Array, col_ptr: Array, col_users: Array, start: int, stop: int, most: int
) -> tuple[Array, Array, Array]:
    """Rows start..stop of X'X: their lengths (-1 once there are more than `most` entries), items and counts."""
    size = len(col_ptr) - 1
    counts = np.zeros(stop - start, dtype=np.int64)
    items = np.empty(max(size, 1024), dtype=np.int32)
    both = np.empty(len(items), dtype=np.float32)
    sums = np.zeros(size, dtype=np.int64)
    touched = np.empty(size, dtype=np.int32)
    used = 0
    for a in range(start, stop):
        met = 0
        for e in range(col_ptr[a], col_ptr[a + 1]):
            for f in range(row_ptr[col_users[e]], row_ptr[col_users[e] + 1]):
                b = row_items[f]
                if sums[b] == 0:
                    touched[met] = b
                    met += 1
                sums[b] += 1
        if used + met > most:
            counts[a - start :] = -1
            break
        if used + met > len(items):
            room = max(2 * len(items), used + met)
            more_items, more_both = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
            more_items[:used], more_both[:used] = items[:used], both[:used]
            items, both = more_items, more_both
        touched[:met].sort()
        for c in range(met):
            items[used], both[used] = touched[c], sums[touched[c]]
            sums[touched[c]] = 0
            used += 1
        counts[a - start] = met
    return counts, items[:used].copy(), both[:used].copy()


@njit(cache=True, nogil=True)
def _candidates(row: Array, counts: Array, target: int, diagonal: Array, least: float, most: int) -> Array:
    """Ascending items that may get a weight: those with more than `least` users of the target, the `most` nearest (0 = all)."""
    keep = np.empty(len(row), dtype=np.int32)
    near = np.empty(len(row))
    count = 0
    for c in range(len(row)):
        if row[c] != target and counts[c] > least:
            keep[count] = row[c]
            near[count] = -counts[c] / np.sqrt(diagonal[row[c]])
            count += 1
    if most == 0 or count <= most:
        return keep[:count]
    best = keep[np.argsort(near[:count], kind="mergesort")[:most]]
    best.sort()
    return best


@njit(cache=True, nogil=True)
def _solve(
    indptr: Array, indices: Array, counts: Array, start: int, stop: int,
    l1: float, l2: float, positive: bool, neighbours: int, sweeps: int, tolerance: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The weights of columns start..stop of W: (target, source, weight) of every one that is not 0."""
    size = len(indptr) - 1
    diagonal = np.zeros(size)
    for a in range(size):
        for e in range(indptr[a], indptr[a + 1]):
            if indices[e] == a:
                diagonal[a] = counts[e]
    spot = np.full(size, -1, dtype=np.int32)  # of an item among the candidates
    targets, sources = np.empty(1024, dtype=np.int32), np.empty(1024, dtype=np.int32)
    weights = np.empty(1024)
    used = 0
    for b in range(start, stop):
        row = slice(indptr[b], indptr[b + 1])
        # A positive weight needs a residual above l1, and the residual starts at the count and only falls.
        chosen = _candidates(indices[row], counts[row], b, diagonal, l1 if positive else 0.0, neighbours)
        for c in range(len(chosen)):
            spot[chosen[c]] = c
        residual = np.zeros(len(chosen))
        for e in range(indptr[b], indptr[b + 1]):
            if spot[indices[e]] >= 0:
                residual[spot[indices[e]]] = counts[e]
        weight = _descend(
            indptr, indices, counts, chosen, spot, residual, diagonal[chosen], l1, l2, positive, sweeps, tolerance
        )
        for c in range(len(chosen)):
            spot[chosen[c]] = -1
            if weight[c] == 0.0:
                continue
            if used == len(weights):
                targets, sources = doubled(targets), doubled(sources)
                weights = doubled(weights)
            targets[used], sources[used], weights[used] = b, chosen[c], weight[c]
            used += 1
    return targets[:used].copy(), sources[:used].copy(), weights[:used].copy()


@njit(cache=True, nogil=True)
def _descend(
    indptr: Array, indices: Array, counts: Array, chosen: Array, spot: Array, residual: Array, diagonal: Array,
    l1: float, l2: float, positive: bool, sweeps: int, tolerance: float,
) -> Array:  # fmt: skip
    """One column's weights, by cyclic coordinate descent. residual: X'(x_b - X w), kept up to date. Gram rows are copied out, over
    the candidates only, when a weight first moves: few ever do. Between passes over all, the moving ones are run to rest."""
    size = len(chosen)
    weight = np.zeros(size)
    place = np.full(size, -1, dtype=np.int32)  # of a candidate's row among the copied ones
    rows = np.zeros((min(size, 32), size), dtype=np.float32)
    copied = 0
    moving = np.empty(size, dtype=np.int32)  # candidates with a copied row, in the order in which they first moved
    everything = True
    for _ in range(sweeps):
        largest = 0.0
        for turn in range(size if everything else copied):
            c = turn if everything else moving[turn]
            pull = residual[c] + diagonal[c] * weight[c]
            if pull > l1:
                new = (pull - l1) / (diagonal[c] + l2)
            elif pull < -l1 and not positive:
                new = (pull + l1) / (diagonal[c] + l2)
            else:
                new = 0.0
            step = new - weight[c]
            if step == 0.0:
                continue
            if place[c] < 0:
                if copied == len(rows):
                    more = np.zeros((min(2 * copied, size), size), dtype=np.float32)
                    more[:copied] = rows
                    rows = more
                for e in range(indptr[chosen[c]], indptr[chosen[c] + 1]):
                    if spot[indices[e]] >= 0:
                        rows[copied, spot[indices[e]]] = counts[e]
                place[c], moving[copied] = copied, c
                copied += 1
            _subtract(residual, rows[place[c]], step)
            weight[c] = new
            largest = max(largest, abs(step))
        if largest < tolerance:
            if everything:
                break
            everything = True
        else:
            everything = False
    return weight


@njit(cache=True, nogil=True)
def _subtract(residual: Array, row: Array, step: float) -> None:
    for c in range(len(residual)):
        residual[c] -= step * row[c]
