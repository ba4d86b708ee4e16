"""Session: where in a visit the request stands: how many events so far, how long, at what pace, and what kinds they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Batch, Columns
from shortlist.core.component import hidden, param
from shortlist.core.contracts import FitContext, Fold, State
from shortlist.feature._aggregates import Aggregates
from shortlist.state.fold.session import Session as SessionFold


@dataclass
class Session(Aggregates):
    """`session/<reading>` for every reading of the user's session (position, length, pace, number of sessions, idle time), and
    `session/kind:<i>`, the kinds of the newest `kinds` events, 1 = the newest, as categories."""

    gap: str = param("30m", "quiet time that ends a session", duration=True)
    event: tuple[str, ...] = param((), "event kinds; the positive kinds when empty")
    kinds: int = param(0, "how many of the newest events' kinds become columns", low=0, high=20)
    _events: tuple[str, ...] = hidden(())

    def folds(self, ctx: FitContext) -> Sequence[Fold]:
        """One aggregate, by user."""
        self._events = tuple(self.event) or ctx.positive
        fold = SessionFold(("user",), self._events, self.gap)
        label = "+".join((*self.event, self.gap))
        return self.keeping([(fold, [f"session/{label}/{name}" for name in fold.readings()])])

    def compute(self, batch: Batch, state: State) -> Columns:
        """float32 columns of length m; int32 kinds, -1 where there is no such event."""
        columns = super().compute(batch, state)
        if self.kinds:
            history = state.past(batch, ())
            for i in range(1, self.kinds + 1):
                place = history.offsets[1:] - i
                there = place >= history.offsets[:-1]
                kind = np.full(batch.n, -1, dtype=np.int32)
                kind[there] = history.kinds[place[there]]
                columns[f"session/kind:{i}"] = batch.spread(kind)
        return columns
