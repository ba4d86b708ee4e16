"""Drift: what moved from window to window, against plain loops; and a fit that leaves it out."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from shortlist.core.batch import Batch
from shortlist.core.contracts import Frame
from shortlist.core.rng import rng
from shortlist.data.dataset import encode
from shortlist.data.synthetic import world
from shortlist.experiment.drift import drifting, stability
from shortlist.experiment.fit import fit
from shortlist.pipeline.config import parse

EACH = 6
NAMES = ("steady", "moving", "noisy", "place", "jumped")


def frame(window: int, requests: int) -> Frame:
    """`moving` shifts with every window; `noisy` is one value per request, by chance alone; `jumped` differed once, long ago."""
    draw = rng(window, "drift")
    m = requests * EACH
    columns = {
        "item": np.tile(np.arange(EACH, dtype=np.int32), requests),
        "steady": draw.normal(size=m).astype(np.float32),
        "moving": (draw.normal(size=m) + 2 * window).astype(np.float32),
        "noisy": np.repeat(draw.normal(size=requests), EACH).astype(np.float32),
        "place": draw.integers(-1, 4, m).astype(np.int32),
        "jumped": (draw.normal(size=m) + 5 * (window > 0)).astype(np.float32),
    }
    batch = Batch(
        Batch.of(np.arange(requests), np.array(0)).req, np.arange(requests + 1, dtype=np.int64) * EACH, columns
    )
    return Frame(batch, np.zeros(m, np.float32), np.ones(m, np.float32), np.full(requests, window, np.int32), NAMES)


def slow_drift(old: list[float], new: list[float], bins: int) -> float:
    return stability(np.array(old), np.array(new)) - (bins - 1) * (1 / len(old) + 1 / len(new))


def test_what_moves_is_found() -> None:
    """The median over windows, less chance; by chance alone a value per request would move as well."""
    frames = [frame(window, 70) for window in range(5)]
    found = drifting(frames, [-1, 0, 1, 2, 3], 0.25)
    assert list(found) == ["moving"]
    values = []
    for new in range(1, 5):
        old, now = (frames[i].batch.cand["moving"] for i in (new - 1, new))
        edges = [float(edge) for edge in np.unique(np.quantile(old, np.arange(1, 10) / 10))]
        bins = {sum(edge < x for edge in edges) for x in [*old.tolist(), *now.tolist()]}
        values.append(slow_drift(old.tolist(), now.tolist(), len(bins)))
    assert found["moving"] == pytest.approx(statistics.median(values), abs=1e-9)
    raw = [stability(*(frames[i].batch.cand["noisy"][::EACH] for i in (new - 1, new))) for new in range(1, 5)]
    assert statistics.median(raw) > 0.25, "by chance alone it would be above the line"


def test_windows_are_compared_with_those_that_had_ended() -> None:
    """No window that had: nothing to say. The line is the caller's."""
    frames = [frame(window, 70) for window in range(3)]
    assert drifting(frames, [-1, -1, -1], 0.25) == {}
    assert set(drifting(frames, [-1, 0, 0], 0.25)) == {"moving", "jumped"}
    far, near = (drifting(frames, ended, 0.25)["moving"] for ended in ([-1, -1, 0], [-1, -1, 1]))
    assert far > near
    assert drifting(frames, [-1, 0, 1], 1e6) == {}
    assert drifting([frame(0, 20), frame(1, 20)], [-1, 0], 0.25).keys() == {"moving", "jumped"}
    assert "noisy" not in drifting([frame(0, 20), frame(3, 20)], [-1, 0], -9.0), "too few requests to tell"


def test_a_fit_leaves_out_what_drifts() -> None:
    """Cut-offs at the same hour of successive days: the weekday is another one in each."""
    train = {"requests": 200, "negatives": 20}
    spec = {
        "data": {"positive": ["click"]},
        "timeline": {"test": 0.8, "window": "1d", "cutoffs": 4},
        "train": train,
        "source": [{"type": "popular"}],
        "feature": [{"type": "clock"}, {"type": "counts", "half_life": ["3d"]}],
        "ranker": [{"type": "linear"}],
    }
    data = encode(world(users=300, items=60, days=14).tables)
    every = fit(parse(spec), data)
    steady = fit(parse({**spec, "train": {**train, "drift": 0.25}}), data)
    assert every.frame is not None
    assert steady.frame is not None
    assert "clock.weekday" in every.frame.features
    left = set(every.frame.features) - set(steady.frame.features)
    assert "clock.weekday" in left
    assert "clock.hour" not in left
    assert steady.pipeline.columns == steady.frame.features
    said = [note for note in steady.notes if "clock.weekday" in note]
    assert len(said) == 1
    assert not [note for note in every.notes if "Drift" in note]
