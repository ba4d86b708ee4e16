"""Similar items: the pipeline's own sources, asked for somebody whose whole history is one item."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import History, Mask
from shortlist.pipeline.merge import merge
from shortlist.pipeline.pipeline import Pipeline, Run, nothing, plainly
from shortlist.pipeline.trace import Trace
from shortlist.state.state import State

RRF = 60  # the constant of reciprocal rank fusion


class Pretended:
    """A state in which nobody has done anything but meet one item, now, in every way that there is. asked: was a history looked at?"""

    def __init__(self, state: State, item: int, time: int) -> None:
        self._state = state
        kinds = np.arange(len(state.catalogue.kinds), dtype=np.int8)
        size = len(kinds)
        self._past = History(
            np.array([0, size]), np.full(size, item, dtype=np.int32), np.full(size, time, dtype=np.int64), kinds,
            np.full(size, np.nan, dtype=np.float32),
        )  # fmt: skip
        self.asked = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def history(self, users: Array, last: int = 0) -> History:
        """Of one user."""
        self.asked = True
        return self._past.last(last)

    def past(self, batch: Batch, events: Sequence[str], last: int = 0) -> History:
        """Of one user, of these kinds."""
        self.asked = True
        codes = self._state.catalogue.kind_codes(tuple(events)) if events else None
        return (self._past if codes is None else self._past.of_kinds(codes)).last(last)


def similar(
    pipeline: Pipeline, state: State, batch: Batch, item: int, k: int, ban: Mask, trace: Trace | None = None, run: Run = plainly
) -> Batch:  # fmt: skip
    """The k items that the sources find for somebody who has met this one alone, best first, with `score` and the columns of a merge: `rank_<source>`
    says who found it.

    Sources that look at no history say nothing of the item, and what they found is left out. The others' lists are put together by
    reciprocal rank fusion: the sum of 1 / (60 + rank) (Cormack et al., SIGIR 2009). batch: one request; ban: what may not be returned.
    """
    nobody = Batch({**batch.req, "user": np.array([-1], dtype=np.int32)}, batch.offsets, batch.cand)
    pretended = Pretended(state, item, int(batch.time[0]))
    hits = []
    for name, source in pipeline.sources.items():
        pretended.asked = False
        quota = pipeline.quotas[name]
        most = max(quota.values(), default=k) if isinstance(quota, dict) else quota
        found = run(f"source.{name}", partial(source.retrieve, nobody, pretended, max(most, k), ban))
        hits.append(found if found is not None and pretended.asked else nothing(1))
    names = list(pipeline.sources)
    pool = Batch(nobody.req, np.array([0, 0]), {"item": np.zeros(0, dtype=np.int32)})
    if hits:
        pool = merge(
            nobody, names, hits, max(sum(found.items.shape[1] for found in hits), 1), len(state.catalogue.items)
        )
    score = np.zeros(pool.m)
    for name in names:
        rank = pool.cand[f"rank_{name}"].astype(np.float64)
        score += np.where(np.isfinite(rank), 1.0 / (RRF + np.nan_to_num(rank)), 0.0)
    kept = pipeline.sieve(pool.with_columns({"score": score}), state, run=run, trace=trace)
    ranked = kept.take(np.lexsort((kept.item, -kept.cand["score"])))
    answer = ranked.take(np.arange(min(k, ranked.m)))
    if trace is not None:
        trace.ranked, trace.answer = ranked, answer
        trace.scored = ranked.with_columns({"score": ranked.cand["score"].astype(np.float32)})
    return answer
