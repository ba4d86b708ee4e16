import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.batch import Array, Batch
from shortlist.core.component import load, save
from shortlist.core.contracts import FitContext, Frame
from shortlist.core.errors import BundleError, ConfigError, DataError
from shortlist.core.rng import rng
from shortlist.rank.linear import Linear, _loss

NAMES = ("age", "group", "score_a")


def toy_frame(requests: int = 60, rows: int = 8, seed: int = 0, names: tuple[str, ...] = NAMES) -> Frame:
    """Rows whose log-odds are 1.5 * age, + 1 where score_a is missing, + 2 in group 3, - 1."""
    draw = rng(seed, "toy frame")
    m = requests * rows
    age = draw.normal(5.0, 2.0, m).astype(np.float32)
    score = np.where(draw.random(m) < 0.3, np.nan, draw.normal(size=m)).astype(np.float32)
    group = draw.integers(-1, 6, m).astype(np.int32)
    odds = 1.5 * (age - 5.0) / 2.0 + np.isnan(score) + 2.0 * (group == 3) - 1.0
    label = (draw.random(m) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    batch = Batch(
        Batch.of(np.zeros(requests, dtype=np.int32), np.zeros(1)).req,
        np.arange(requests + 1, dtype=np.int64) * rows,
        {"item": np.arange(m, dtype=np.int32) % 97, "age": age, "group": group, "score_a": score},
    )
    weight = draw.uniform(0.5, 2.0, m).astype(np.float32)
    return Frame(batch, label, weight, np.zeros(requests, dtype=np.int32), names)


def fitted(frame: Frame, **options: Any) -> Linear:
    part = Linear(**options)
    part.fit(frame, None, FitContext(None, positive=()))
    return part


def slow_score(part: Linear, batch: Batch, i: int) -> float:
    """The definition for one row, in plain Python."""
    total = float(part.intercept[0])
    for j, name in enumerate(part.numbers):
        value = float(batch.cand[name][i])
        if not np.isfinite(value):
            total += float(part.absent[j])
            continue
        if part.log:
            value = float(np.float32(math.copysign(math.log1p(abs(value)), value)))
        standard = (value - float(part.mean[j])) / float(part.deviation[j])
        total += float(part.slope[j]) * max(-part.clip, min(part.clip, standard))
    for j, name in enumerate(part.categories):
        levels = part.levels[part.level_offsets[j] : part.level_offsets[j + 1]].tolist()
        value = int(batch.cand[name][i])
        if value in levels:
            total += float(part.level_weight[part.level_offsets[j] + levels.index(value)])
    return total


@pytest.mark.parametrize("log", [True, False])
def test_score_equals_its_definition_and_single_equals_batch(log: bool) -> None:
    part = fitted(toy_frame(), log=log)
    batch = toy_frame(seed=1).batch
    batch.cand["age"][:3] = [np.inf, -np.inf, 1e30]
    batch.cand["group"][:2] = [99, -1]
    scores = part.score(batch)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [slow_score(part, batch, i) for i in range(batch.m)], rtol=1e-6, atol=1e-6)
    alone = [part.score(batch.request(i)) for i in range(batch.n)]
    assert np.concatenate(alone).tobytes() == scores.tobytes()


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), l2=st.floats(0, 1))
def test_gradient_is_that_of_the_loss(seed: int, l2: float) -> None:
    draw = rng(seed)
    x = draw.normal(size=(20, 3)).astype(np.float32)
    x[draw.random(x.shape) < 0.2] = np.nan
    at = draw.integers(-1, 4, (20, 1))
    taken, weight = (draw.random(20) < 0.4).astype(np.float64), draw.random(20) / 20
    point = draw.normal(size=2 * 3 + 4 + 1)

    def loss(point: Array) -> float:
        total = 0.5 * l2 * float(point[:-1] @ point[:-1])
        for i in range(20):
            score = point[-1] + sum(point[3 + j] if np.isnan(x[i, j]) else point[j] * x[i, j] for j in range(3))
            score += point[6 + at[i, 0]] if at[i, 0] >= 0 else 0.0
            total += weight[i] * (np.logaddexp(0.0, score) - taken[i] * score)
        return float(total)

    value, slope = _loss(point, x, at, taken, weight, l2)
    assert value == pytest.approx(loss(point), rel=1e-12)
    step = 1e-6
    numeric = [(loss(point + step * one) - loss(point - step * one)) / (2 * step) for one in np.eye(len(point))]
    np.testing.assert_allclose(slope, numeric, rtol=1e-5, atol=1e-8)


def test_is_a_minimum_and_finds_what_made_the_labels() -> None:
    frame = toy_frame(requests=2000)
    part = fitted(frame, log=False)
    x, at = part._encode(*frame.matrix()[:2])
    point = np.concatenate([part.slope, part.absent, part.level_weight, part.intercept])
    weight = frame.weight.astype(np.float64) / float(frame.weight.astype(np.float64).sum())
    _, slope = _loss(point, x, at, (frame.label > 0).astype(np.float64), weight, part.l2)
    assert np.abs(slope).max() < 1e-4
    assert part.slope[0] == pytest.approx(1.5, abs=0.15)
    assert part.absent[1] == pytest.approx(1.0, abs=0.2)
    groups = dict(zip(part.levels.tolist(), part.level_weight.tolist(), strict=True))
    others = [weight for group, weight in groups.items() if group != 3]
    assert groups[3] - np.mean(others) == pytest.approx(2.0, abs=0.25)


def test_the_odds_of_a_count_grow_with_its_logarithm() -> None:
    draw = rng(0, "counts")
    frame = toy_frame(requests=1000)
    count = np.floor(np.exp(draw.uniform(0.0, 9.0, frame.batch.m))).astype(np.float32)
    label = (draw.random(len(count)) < 1 / (1 + np.exp(4.0 - np.log1p(count)))).astype(np.float32)
    counted = Frame(
        frame.batch.with_columns({"count": count}), label, np.ones_like(label), frame.cutoff, (*frame.features, "count")
    )

    def loss(log: bool) -> float:
        score = fitted(counted, log=log).score(counted.batch)
        return float(np.mean(np.logaddexp(0.0, score) - label * score))

    truth = np.log1p(count) - 4.0
    best = float(np.mean(np.logaddexp(0.0, truth) - label * truth))
    assert loss(True) < best + 0.001
    assert loss(False) > best + 0.02
    part = fitted(counted, log=True)
    assert part.slope[part.numbers.index("count")] == pytest.approx(float(np.log1p(count).std()), rel=0.05)


def test_leaves_out_the_columns_that_it_is_told_to() -> None:
    frame = toy_frame()
    part = fitted(frame, drop=["score_*", "*oup"], spare=["group"])
    assert (part.numbers, part.categories) == (("age",), ("group",))
    assert np.isfinite(part.score(frame.batch.without(["score_a"]))).all()


def test_huge_scores_keep_the_loss_finite() -> None:
    x = np.array([[1e5], [-1e5]], dtype=np.float32)
    at = np.zeros((2, 0), dtype=np.int64)
    half = np.full(2, 0.5)
    value, slope = _loss(np.array([1.0, 0.0, 0.0]), x, at, np.array([0.0, 1.0]), half, 0.0)
    assert value == pytest.approx(1e5)
    assert np.isfinite(slope).all()


def test_weight_two_is_the_row_twice() -> None:
    frame = toy_frame(requests=40)
    rows = np.repeat(np.arange(frame.batch.m), 2)
    doubled = Frame(
        frame.batch.take(rows), frame.label[rows], np.ones(len(rows), dtype=np.float32), frame.cutoff, frame.features
    )
    weighted = Frame(
        frame.batch, frame.label, np.full(frame.batch.m, 2, dtype=np.float32), frame.cutoff, frame.features
    )
    np.testing.assert_allclose(fitted(weighted).score(frame.batch), fitted(doubled).score(frame.batch), atol=1e-4)


def test_keeps_the_most_frequent_values() -> None:
    frame = toy_frame()
    frame.batch.cand["group"][:] = np.repeat([5, 4, 7, 9], [200, 100, 100, 80])
    part = fitted(frame, values=2)
    weight = {value: float(frame.weight[frame.batch.cand["group"] == value].sum()) for value in (4, 5, 7, 9)}
    assert part.levels.tolist() == sorted(sorted(weight, key=lambda value: (-weight[value], value))[:2])


def test_constant_and_empty_columns_are_harmless() -> None:
    frame = toy_frame()
    more = frame.batch.with_columns(
        {
            "same": np.full(frame.batch.m, 0.1, dtype=np.float32),
            "none": np.full(frame.batch.m, np.nan, dtype=np.float32),
        }
    )
    wide = Frame(more, frame.label, frame.weight, frame.cutoff, (*NAMES, "same", "none"))
    part = fitted(wide)
    assert part.slope[2:].tolist() == [0.0, 0.0]
    assert np.isfinite(part.score(more)).all()


def test_no_columns_gives_the_prior() -> None:
    frame = toy_frame(names=())
    share = float(frame.weight[frame.label > 0].sum()) / float(frame.weight.sum())
    np.testing.assert_allclose(fitted(frame).score(frame.batch), np.log(share / (1 - share)), rtol=1e-5)


def test_comes_back_with_its_column_names(tmp_path: Path) -> None:
    frame = toy_frame()
    part = fitted(frame)
    save(part, tmp_path)
    again = Linear()
    load(again, tmp_path)
    assert (again.numbers, again.categories) == (("age", "score_a"), ("group",))
    assert again.score(frame.batch).tobytes() == part.score(frame.batch).tobytes()
    shuffled = Batch(frame.batch.req, frame.batch.offsets, dict(reversed(frame.batch.cand.items())))
    assert again.score(shuffled).tobytes() == part.score(frame.batch).tobytes()
    assert fitted(frame).score(frame.batch).tobytes() == part.score(frame.batch).tobytes()
    (tmp_path / "columns.json").write_text("[]")
    with pytest.raises(BundleError, match=r"columns\.json: not readable column names"):
        load(again, tmp_path)


def test_errors_say_what_is_wrong() -> None:
    frame = toy_frame()
    with pytest.raises(ConfigError, match="linear: not fitted"):
        Linear().score(frame.batch)
    with pytest.raises(ConfigError, match=r"no column 'age', which the ranker was fitted on; columns: item, group"):
        fitted(frame).score(frame.batch.without(["age"]))
    nothing = Frame(frame.batch, np.zeros_like(frame.label), frame.weight, frame.cutoff, NAMES)
    with pytest.raises(DataError, match=r"cannot learn from one class: .* sum to 0, of all rows to"):
        fitted(nothing)
