"""Similar items: the pipeline's own sources, asked for somebody whose whole history is one item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import History, Mask
from shortlist.pipeline.pipeline import Pipeline
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
    pipeline: Pipeline, state: State, batch: Batch, item: int, k: int, only: Array | None
) -> tuple[Array, Array, list[list[str]]]:
    """Codes of the k items that the sources find for somebody who has met this one alone, their scores, and the sources that found each.

    Sources that look at no history say nothing of the item, and are not asked for their opinion. The others' lists are put together by
    reciprocal rank fusion: the sum of 1 / (60 + rank) (Cormack et al., SIGIR 2009). only: (items,) bool, what may be returned.
    """
    pretended = Pretended(state, item, int(batch.time[0]))
    nobody = Batch({**batch.req, "user": np.array([-1], dtype=np.int32)}, batch.offsets, batch.cand)
    bans = np.array([item], dtype=np.int32)
    allowed = Mask(only, np.array([0, 1]), bans)
    score: dict[int, float] = {}
    found_by: dict[int, list[str]] = {}
    for name, source in pipeline.sources.items():
        pretended.asked = False
        quota = pipeline.quotas[name]
        most = max(quota.values(), default=k) if isinstance(quota, dict) else quota
        hits = source.retrieve(nobody, pretended, max(most, k), allowed)
        if not pretended.asked:
            continue
        for rank, code in enumerate(hits.items[0].tolist(), 1):
            if code >= 0:
                score[code] = score.get(code, 0.0) + 1.0 / (RRF + rank)
                found_by.setdefault(code, []).append(name)
    pool = np.array(sorted(score), dtype=np.int32)
    rows = Batch(nobody.req, np.array([0, len(pool)]), {"item": pool})
    keep = pipeline.allowed(rows, state) if len(pool) else np.zeros(0, dtype=bool)
    order = sorted(pool[keep].tolist(), key=lambda code: (-score[code], code))[:k]
    return (
        np.array(order, dtype=np.int32),
        np.array([score[code] for code in order]),
        [found_by[code] for code in order],
    )
