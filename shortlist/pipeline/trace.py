"""The trace: what every stage of a run saw and dropped, so that each answer can say why an item is there, or is not."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from shortlist.core.batch import Array, Batch


@dataclass
class Trace:
    """Filled by `Pipeline.recommend`. plans: how each source that has a choice searched, in words (exact or approximate, and why); pool: after the merge; dropped: (pool rows,) index of the filter that dropped the row, -1 =
    kept; union, evidence: before the cut to the pool, and what a fitted merge judged it by (None where none is fitted); scored: survivors of filters and light rankers with every column and `score`, in no order; ranked: the same best first (of the columns all if
    `whole`, else those that the rules see); answer: after the rules, at most k per request."""

    seconds: dict[str, float] = field(default_factory=dict)
    plans: dict[str, str] = field(default_factory=dict)
    whole: bool = True
    pool: Batch | None = None
    dropped: Array | None = None
    scored: Batch | None = None
    ranked: Batch | None = None
    answer: Batch | None = None
    union: Batch | None = None
    evidence: Array | None = None

    def timed(self, name: str) -> Timed:
        """Add the time spent inside to `seconds[name]`."""
        return Timed(self.seconds, name)

    def why(self, item: int, filters: list[str], request: int = 0) -> dict[str, object]:
        """The fate of one item (code) in one request: its sources with scores and ranks, who dropped it, its place after the
        ranker and in the answer."""
        assert self.pool is not None
        assert self.dropped is not None
        assert self.ranked is not None
        assert self.answer is not None
        told: dict[str, object] = {"found": False}
        row = _row(self.pool, item, request)
        if row < 0:
            return {**told, "reason": "missed: no source returned it"}
        told["found"] = True
        told["sources"] = {
            name.removeprefix("rank_"): {
                "rank": int(column[row]),
                "score": float(self.pool.cand["score_" + name.removeprefix("rank_")][row]),
                **self._search(name.removeprefix("rank_")),
            }
            for name, column in self.pool.cand.items()
            if name.startswith("rank_") and np.isfinite(column[row])
        }
        if self.dropped[row] >= 0:
            return {**told, "reason": f"filtered by {filters[self.dropped[row]]}"}
        row = _row(self.ranked, item, request)
        if row < 0:
            return {**told, "reason": "cut by a light ranker"}
        told["ranked"] = int(row - self.ranked.offsets[request]) + 1
        told["score"] = float(self.ranked.cand["score"][row])
        row = _row(self.answer, item, request)
        if row < 0:
            return {**told, "reason": "ranked below the answer, or ruled out"}
        return {**told, "answer": int(row - self.answer.offsets[request]) + 1, "reason": "shown"}

    def _search(self, source: str) -> dict[str, str]:
        return {"search": self.plans[source]} if source in self.plans else {}


class Timed:
    """A stretch of time. A class of its own: a generator's context would cost as much as a small feature."""

    __slots__ = ("name", "seconds", "start")

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds[self.name] = self.seconds.get(self.name, 0.0) + time.perf_counter() - self.start


def _row(batch: Batch, item: int, request: int) -> int:
    start, stop = batch.offsets[request], batch.offsets[request + 1]
    found = np.flatnonzero(batch.item[start:stop] == item)
    return int(start + found[0]) if len(found) else -1
