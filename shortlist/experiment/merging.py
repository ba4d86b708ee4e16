"""What a fitted merge learns from: the candidates of label windows, before the cut to the pool, with what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.rng import rng
from shortlist.pipeline.pipeline import Pipeline
from shortlist.pipeline.trace import Trace

NEGATIVES = 20  # candidates without a label that are kept of a request, each standing for the others of its kind
REQUESTS = 2000  # of a window that are learned from, at most
LEAST = 50  # targets below which nothing is learned
MORE = 1.5  # so many times the rows are needed to learn again between the first window and the newest


@dataclass
class Lessons:
    """Rows (as the merge sees them), labels and weights of label windows, each with the log position at which its labels end, so that
    no window's pool is cut by what was learned from its own time. The exception is the oldest window, which has nothing before it:
    it is cut by its own lessons, as any model sees its own training rows."""

    pipeline: Pipeline
    seed: int
    stops: list[int] = field(default_factory=list)
    rows: list[Array] = field(default_factory=list)
    labels: list[Array] = field(default_factory=list)
    weights: list[Array] = field(default_factory=list)
    taught: int = 0  # rows at the last lesson

    def note(self, trace: Trace, label: Array, share: float, stop: int) -> None:
        """Requests that were just retrieved. label: (union rows,) bool; share: of the requests, that are kept; stop: see above.
        A request's draws depend on its user and time alone."""
        assert trace.union is not None
        assert trace.evidence is not None
        keep, weight = _thinned(trace.union, label, share, self.seed)
        self.stops.append(stop)
        self.rows.append(trace.evidence[keep])
        self.labels.append(label[keep])
        self.weights.append(weight)

    def teach(self, before: int | None = None, always: bool = True) -> None:
        """Fit the merge on the windows whose labels end by a log position, None = on all. always: also where little has been added."""
        chosen = [i for i, stop in enumerate(self.stops) if before is None or stop <= before]
        count = sum(len(self.rows[i]) for i in chosen)
        found = sum(int(self.labels[i].sum()) for i in chosen)
        if found < LEAST or (not always and count < MORE * self.taught):
            return
        rows, labels, weights = (
            np.concatenate([parts[i] for i in chosen]) for parts in (self.rows, self.labels, self.weights)
        )
        self.pipeline.merger.learn(rows, labels, weights)
        self.taught = count


def _thinned(union: Batch, label: Array, share: float, seed: int) -> tuple[Array, Array]:
    """Which rows are kept (indices), and the weight of each: all targets, and NEGATIVES of the others."""
    keep = np.zeros(union.m, dtype=bool)
    counts = np.bincount(union.owner[~label], minlength=union.n)
    for i in range(union.n):
        start, stop = union.offsets[i], union.offsets[i + 1]
        draw = rng(seed, "merge", int(union.user[i]), int(union.time[i])).random(1 + stop - start)
        if draw[0] < share:
            keep[start:stop] = label[start:stop] | (draw[1:] * counts[i] < NEGATIVES)
    chosen = np.flatnonzero(keep)
    stands = np.maximum(counts[union.owner[chosen]] / NEGATIVES, 1.0)
    return chosen, np.where(label[chosen], 1.0, stands)
