"""The funnel: what became of every target. Missed by the sources, filtered, mis-ranked, ruled out, or a hit: shares that sum to 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shortlist.core import rows
from shortlist.core.batch import Array, Batch
from shortlist.data.timeline import Requests
from shortlist.pipeline.pipeline import Pipeline
from shortlist.pipeline.trace import Trace
from shortlist.state.state import State

STAGES = ("missed", "filtered", "misranked", "ruled_out", "hit")


@dataclass
class Funnel:
    """Collects the fate of targets, chunk by chunk. Columns over targets: `found` (bits: which sources returned it, in recipe
    order), `allowed`, `pooled` (in the pool that was ranked), `ranked` (in the ranker's top k), `shown` (in the answer)."""

    names: Sequence[str]
    k: int
    columns: dict[str, list[Array]] = field(default_factory=dict)
    pool_rows: int = 0
    requests: int = 0
    given: bool = False  # the candidates were shown anyway: nothing can be missed, filtered or ruled out

    def add(
        self, batch: Batch, trace: Trace, requests: Requests, first: int, last: int, pipeline: Pipeline, state: State
    ) -> None:
        """The targets of requests first to last, which were answered as `trace` tells."""
        assert trace.pool is not None
        assert trace.dropped is not None
        assert trace.ranked is not None
        assert trace.answer is not None
        offsets = requests.offsets[first : last + 1] - requests.offsets[first]
        items = requests.items[requests.offsets[first] : requests.offsets[last]]
        targets = Batch(batch.req, offsets, {"item": items})
        kept = trace.pool if (trace.dropped < 0).all() else trace.pool.keep(trace.dropped < 0)
        row = rows.locate(targets, kept)
        found = np.zeros(targets.m, dtype=np.uint64)
        inside = row >= 0
        for s, name in enumerate(self.names):
            returned = inside & np.isfinite(kept.cand[f"rank_{name}"][np.maximum(row, 0)]) if kept.m else inside
            found |= returned.astype(np.uint64) << np.uint64(s)
        place = rows.run_place(trace.ranked.offsets)
        at = rows.locate(targets, trace.ranked)
        ranked = (at >= 0) & (place[np.maximum(at, 0)] < self.k) if trace.ranked.m else at >= 0
        self._put("found", found)
        self._put("pooled", inside)
        self._put("allowed", pipeline.allowed(targets, state))
        self._put("ranked", ranked)
        shown = rows.locate(targets, trace.answer)
        place = rows.run_place(trace.answer.offsets)
        self._put("shown", (shown >= 0) & (place[np.maximum(shown, 0)] < self.k) if trace.answer.m else shown >= 0)
        hits = np.bincount(targets.owner[inside], minlength=targets.n)
        ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(self.k) + 2.0))])
        self._put("oracle", ideal[np.minimum(hits, self.k)] / ideal[np.minimum(np.diff(offsets), self.k)])
        self.pool_rows += kept.m
        self.requests += batch.n

    def add_given(self, ordered: Batch) -> None:
        """The targets (rows with a `label`) of impressions that were given, in their final order."""
        self.given = True
        target = ordered.cand["label"] > 0
        inside = np.ones(int(target.sum()), dtype=bool)
        shown = rows.run_place(ordered.offsets)[target] < self.k
        self._put("found", np.zeros(len(inside), dtype=np.uint64))
        for name, values in (("pooled", inside), ("allowed", inside), ("ranked", shown), ("shown", shown)):
            self._put(name, values)
        self._put("oracle", np.ones(1))  # what was taken was shown: a perfect order exists
        self.pool_rows += ordered.m
        self.requests += ordered.n

    def _put(self, name: str, values: Array) -> None:
        self.columns.setdefault(name, []).append(values)

    def result(self, seconds: dict[str, float]) -> dict[str, Any]:
        """As `funnel.json` holds it. seconds: time spent per stage, from the trace."""
        column = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        found, total = column["found"], max(len(column["found"]), 1)
        fate = self.fates(column)
        sources = {}
        for s, name in enumerate(self.names):
            bit = np.uint64(1) << np.uint64(s)
            alone = int((found == bit).sum())
            sources[name] = {
                "recall@pool": float(((found & bit) > 0).sum() / total),
                "marginal_recall": alone / total,
                "unique_hits": alone,
                "ms_per_request": round(1000 * seconds.get(f"source.{name}", 0.0) / max(self.requests, 1), 4),
            }
        return {
            **({"candidates": "impressions"} if self.given else {}),
            "sources": sources,
            "stages": {name: float((fate == i).sum() / total) for i, name in enumerate(STAGES)},
            f"oracle_ndcg@{self.k}": float(column["oracle"].mean()),
            "recall@pool": float(column["pooled"].sum() / total),
            "pool_size": self.pool_rows / max(self.requests, 1),
            "targets": len(found),
        }

    def fates(self, column: dict[str, Array]) -> Array:
        """(targets,) index into STAGES. A target that a filter would drop is filtered whether or not a source returned it."""
        fate = np.full(len(column["found"]), STAGES.index("misranked"))
        fate[column["ranked"]] = STAGES.index("ruled_out")
        fate[~column["pooled"]] = STAGES.index("missed")
        fate[~column["allowed"]] = STAGES.index("filtered")
        fate[column["shown"]] = STAGES.index("hit")
        return fate
