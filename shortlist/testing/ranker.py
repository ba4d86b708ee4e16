"""What every ranker must hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from shortlist.core.batch import Batch
from shortlist.core.contracts import Frame
from shortlist.core.rng import rng
from shortlist.state.state import State
from shortlist.testing.suite import PartSuite, frozen, frozen_batch, shuffled
from shortlist.testing.toy import Small


class RankerSuite(PartSuite):
    """A row's score depends on its own columns only; a ranker learns what can be learned. Override `frame` for a ranker that needs
    other columns."""

    kind: ClassVar[str] = "rank"

    def frame(self, seed: int = 0) -> Frame:
        """60 requests of 20 rows; what is taken depends on a number and a category, and a number is often missing."""
        draw = rng(seed, "frame")
        n, each = 60, 20
        m = n * each
        number, noise = draw.normal(size=m), draw.normal(size=m).astype(np.float32)
        group = draw.integers(-1, 4, size=m).astype(np.int32)
        logit = 2.0 * number + np.where(group == 2, 2.0, 0.0) - 1.5
        label = (draw.random(m) < 1 / (1 + np.exp(-logit))).astype(np.float32)
        number[draw.random(m) < 0.2] = np.nan
        items = np.concatenate([draw.permutation(60)[:each] for _ in range(n)]).astype(np.int32)
        columns = {"item": items, "number": number.astype(np.float32), "noise": noise, "group": group}
        columns |= {"score_one": noise * 2, "rank_one": np.abs(noise), "best_rank": np.abs(noise)}
        asked = Batch.of(np.arange(n), np.array(self.world().ctx.now))
        batch = Batch(asked.req, np.arange(n + 1, dtype=np.int64) * each, columns)
        weight = np.ones(m, dtype=np.float32)
        return Frame(batch, label, weight, np.zeros(n, dtype=np.int32), ("number", "noise", "group"))

    def fit(self, part: Any, world: Small) -> None:
        part.fit(self.frame(), None, world.ctx)

    def ready(self) -> tuple[Any, State]:
        """A fitted part; rankers read no state."""
        part = self.part()
        self.fit(part, self.world())
        return part, self.world().state()

    def test_scores_are_well_formed(self) -> None:
        """(m,) float32, not all the same."""
        part, _ = self.ready()
        batch = self.frame(1).batch
        scores = part.score(batch)
        assert scores.shape == (batch.m,)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert len(np.unique(scores)) > 1

    def test_it_learns(self) -> None:
        """On rows that it has not seen, what was taken is above what was not, clearly more often than by chance."""
        part, _ = self.ready()
        frame = self.frame(1)
        scores = part.score(frame.batch)
        taken, left = scores[frame.label > 0], scores[frame.label == 0]
        assert (taken[:, None] > left[None, :]).mean() > 0.7

    def test_a_row_by_itself(self) -> None:
        """A row scores the same alone, in its request, and among all."""
        part, _ = self.ready()
        batch = self.frame(1).batch
        scores = part.score(batch)
        rows = np.flatnonzero(np.arange(batch.m) % 3 != 0)
        self.same(part.score(batch.take(rows)), scores[rows])
        for i in range(5):
            own = slice(batch.offsets[i], batch.offsets[i + 1])
            self.same(part.score(batch.request(i)), scores[own])
            self.same(part.score(batch.take(np.array([i]))), scores[i : i + 1])

    def test_order_of_requests_does_not_matter(self) -> None:
        """Requests in another order get the same scores in that order."""
        part, _ = self.ready()
        batch = self.frame(1).batch
        order = shuffled(batch.n)
        expected = batch.with_columns({"made": part.score(batch)}).only(order)
        self.same(part.score(batch.only(order)), expected.cand["made"])

    def test_no_rows(self) -> None:
        """Nothing to score is no error."""
        part, _ = self.ready()
        assert part.score(self.frame(1).batch.take(np.zeros(0, dtype=np.int64))).shape == (0,)

    def test_fitting_again_gives_the_same(self) -> None:
        """Fit is a function of the frame, the context and the seed."""
        batch = self.frame(1).batch
        self.same(self.ready()[0].score(batch), self.ready()[0].score(batch))

    def test_a_newer_frame_may_be_given(self) -> None:
        """With a frame for early stopping, it scores as well."""
        part = self.part()
        part.fit(self.frame(), self.frame(2), self.world().ctx)
        assert np.isfinite(part.score(self.frame(1).batch)).all()

    def test_inputs_are_not_changed(self) -> None:
        """Neither frame nor batch."""
        frame = self.frame()
        columns = frozen({"label": frame.label, "weight": frame.weight, "cutoff": frame.cutoff})
        part = self.part()
        part.fit(Frame(frozen_batch(frame.batch), **columns, features=frame.features), None, self.world().ctx)
        part.score(frozen_batch(self.frame(1).batch))

    def test_saved_and_loaded_it_answers_alike(self, tmp_path: Path) -> None:
        """The artefact is the part."""
        part, _ = self.ready()
        batch = self.frame(1).batch
        self.same(self.loaded(part, tmp_path).score(batch), part.score(batch))
