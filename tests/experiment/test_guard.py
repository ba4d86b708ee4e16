"""The guard: it says when stage two does not beat the best source, and falls back where the recipe says so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import FitContext, Frame
from shortlist.core.rng import rng
from shortlist.core.rows import offsets_of
from shortlist.data.dataset import encode
from shortlist.data.synthetic import START
from shortlist.experiment.fit import Fitted, fit
from shortlist.experiment.guard import judge, ndcg
from shortlist.pipeline.bundle import Bundle
from shortlist.pipeline.config import parse
from shortlist.pipeline.pipeline import Pipeline
from tests.parity.worlds import DAY, recipe, shop

ROWS, REQUESTS = 12, 60


@dataclass
class Backwards:
    """A ranker that puts the best last."""

    def fit(self, frame: Frame, valid: Frame | None, ctx: FitContext) -> None:
        """Nothing to learn."""

    def score(self, batch: Batch) -> Array:
        """(m,) the worst rank first."""
        return batch.cand["best_rank"]


class Said:
    """A ranker that scores by a column."""

    def __init__(self, column: str, sign: float = 1.0) -> None:
        self.column, self.sign = column, sign

    def score(self, batch: Batch) -> Any:
        return self.sign * batch.cand[self.column]


def valid() -> Frame:
    """Requests with two positives among twelve rows; source a puts them first more often than not, b knows nothing."""
    draw = rng(0, "guard")
    m = ROWS * REQUESTS
    label = np.zeros(m, dtype=np.float32)
    label.reshape(REQUESTS, ROWS)[:, :2] = 1.0
    good = label + draw.normal(size=m) * 0.7
    places = [np.argsort(np.argsort(-part)) + 1.0 for part in good.reshape(REQUESTS, ROWS)]
    columns = {
        "item": np.tile(np.arange(ROWS, dtype=np.int32), REQUESTS),
        "rank_a": np.concatenate(places).astype(np.float32),
        "rank_b": np.concatenate([draw.permutation(ROWS) + 1.0 for _ in range(REQUESTS)]).astype(np.float32),
        "truth": (label + draw.normal(size=m) * 0.1).astype(np.float32),
    }
    req = Batch.of(np.arange(REQUESTS), np.array(0), targets=np.full(REQUESTS, 3)).req
    batch = Batch(req, offsets_of(np.full(REQUESTS, ROWS)), columns)
    return Frame(batch, label, np.ones(m, np.float32), np.zeros(REQUESTS, np.int32))


def pipeline(column: str, sign: float = 1.0) -> Pipeline:
    return Pipeline({"a": None, "b": None}, {}, rankers={"said": Said(column, sign)}, keeps={"said": 0})


def slow_ndcg(frame: Frame, column: str, sign: float) -> float:
    """By plain loops; three targets, of which the pool holds two."""
    figures = []
    for i in range(REQUESTS):
        rows = range(i * ROWS, (i + 1) * ROWS)
        order = sorted(rows, key=lambda row: (-sign * frame.batch.cand[column][row], frame.batch.item[row]))
        gain = sum(1 / math.log2(place + 2) for place, row in enumerate(order[:10]) if frame.label[row] > 0)
        figures.append(gain / sum(1 / math.log2(place + 2) for place in range(3)))
    return float(np.mean(figures))


def test_figures_are_the_plain_loop() -> None:
    frame, notes = valid(), list[str]()
    guard = judge(pipeline("truth"), frame, recipe(), notes)
    assert guard.validation == pytest.approx(
        {
            "pipeline": slow_ndcg(frame, "truth", 1),
            "source:a": slow_ndcg(frame, "rank_a", -1),
            "source:b": slow_ndcg(frame, "rank_b", -1),
        }
    )
    assert guard.best == "source:a"
    assert guard.verdict == "ranker"
    value, low, high = guard.difference
    assert value == pytest.approx(guard.validation["pipeline"] - guard.validation["source:a"])
    assert 0 < low < value < high
    assert notes == []
    assert guard.json()["difference"] == {"value": value, "low": low, "high": high}


def test_a_ranker_that_loses_is_named() -> None:
    notes: list[str] = []
    guard = judge(pipeline("truth", -1.0), valid(), recipe(), notes)
    assert guard.verdict == guard.best == "source:a"
    assert guard.difference[0] < 0
    assert "does not beat source:a" in notes[0]
    assert "guard = warn" in notes[0]


def test_a_lead_within_noise_is_said() -> None:
    """One request is better ordered, all others are as the source has them."""
    frame, notes = valid(), list[str]()
    little = -frame.batch.cand["rank_a"]
    worst = int(np.argmax(frame.batch.cand["rank_a"] * frame.label))
    little[worst] = 1.0
    frame.batch.cand["little"] = little
    guard = judge(pipeline("little"), frame, recipe(), notes)
    assert guard.verdict == "ranker"
    assert guard.difference[1] <= 0 < guard.difference[0]
    assert "lead over source:a is within noise" in notes[0]


def test_hits_that_the_pool_misses_count_against() -> None:
    """The ideal is that of all targets, found or not."""
    batch = Batch(
        Batch.of(np.zeros(2), np.array(0), targets=np.array([1, 5])).req,
        np.array([0, 1, 2]),
        {"item": np.zeros(2, np.int32), "label": np.ones(2, np.float32)},
    )
    ideal = sum(1 / math.log2(place + 2) for place in range(5))
    assert ndcg(batch, 10).tolist() == pytest.approx([1.0, 1.0 / ideal])


def losing(mode: str) -> Fitted:
    """A ranker that has learned the wrong way round: it is told one column only, which says nothing."""
    data = encode(shop())
    chosen = parse(
        {
            "data": {"positive": ["click"]},
            "timeline": {"test": 0.8, "window": "1d", "cutoffs": 2},
            "pipeline": {"guard": mode},
            "evaluate": {"resamples": 20},
            "source": [{"type": "popular", "half_life": "1d"}, {"type": "itemknn"}],
            "feature": [{"type": "clock"}],
            "ranker": [{"type": "tests.experiment.test_guard.Backwards"}],
        }
    )
    return fit(chosen, data, splits=chosen.timeline.at(data, START + 8 * DAY))


def test_fallback_orders_by_the_best_source_also_when_loaded(tmp_path: Any) -> None:
    """The bundle keeps the verdict."""
    warned, fallen = losing("warn"), losing("fallback")
    assert warned.guard is not None
    assert fallen.guard is not None
    assert warned.pipeline.fallback == ""
    assert fallen.guard.verdict == f"source:{fallen.pipeline.fallback}"
    assert "the answers are ordered by that source" in fallen.notes[0]
    fallen.save(tmp_path / "bundle")
    loaded = Bundle.load(tmp_path / "bundle")
    assert loaded.pipeline.fallback == fallen.pipeline.fallback
    batch = Batch.of(np.arange(40), np.array(START + 8 * DAY))
    answer = loaded.pipeline.recommend(batch, loaded.state, 5)
    assert (answer.cand[f"rank_{fallen.pipeline.fallback}"][answer.offsets[:-1]] <= 2).mean() > 0.9
    other = warned.pipeline.recommend(batch, warned.state, 5)
    assert answer.item.tolist() != other.item.tolist()
