"""Blend: the weight against plain loops, the windows that may judge, and that it is drawn to the better half."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from shortlist.core.batch import Batch
from shortlist.core.component import load, save
from shortlist.core.contracts import FitContext, Frame
from shortlist.core.errors import BundleError, ConfigError
from shortlist.core.rng import rng
from shortlist.rank.blend import Blend

EACH = 30
CTX = FitContext(None, ("click",), place="ranker.blend")
LINEAR = {"type": "linear"}


def frame(signal: float, source: float, seed: int, requests: int = 60, cutoffs: int = 4, found: int = 20) -> Frame:
    """Two of thirty rows are taken. The column tells them by `signal` deviations, the source `good` by `source`, the source `bad` not
    at all; both rank their first `found` rows only."""
    draw = rng(seed, "blend")
    m = requests * EACH
    label = np.tile(np.arange(EACH) < 2, requests).astype(np.float32)
    offsets = np.arange(requests + 1, dtype=np.int64) * EACH
    columns = {"item": np.tile(np.arange(EACH, dtype=np.int32), requests)}
    columns["x"] = (draw.normal(size=m) + signal * label).astype(np.float32)
    for name, strength in (("good", source), ("bad", 0.0)):
        score = (draw.normal(size=m) + strength * label).reshape(requests, EACH)
        rank = (-score).argsort(axis=1).argsort(axis=1).reshape(-1) + 1.0
        columns[f"rank_{name}"] = np.where(rank <= found, rank, np.nan).astype(np.float32)
    batch = Batch(Batch.of(np.arange(requests), np.array(0)).req, offsets, columns)
    cutoff = np.sort(np.arange(requests) % cutoffs).astype(np.int32)
    return Frame(batch, label, np.ones(m, np.float32), cutoff, ("x",))


def slow_ndcg(score: list[float], label: list[float]) -> float:
    """Of one request; ties by the place, which is the item code here."""
    order = sorted(range(len(score)), key=lambda row: (-np.float32(score[row]), row))
    gain = sum(1 / math.log2(place + 2) for place, row in enumerate(order[:10]) if label[row] > 0)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(int(sum(label)), 10)))


def slow_choice(part: Blend, held: list[tuple[Frame, list[float]]]) -> tuple[str, float, dict[float, float]]:
    """The definition: the best source, and the weight that does best with it."""
    deviations = []
    for made, score in held:
        for i in range(made.batch.n):
            own = score[i * EACH : (i + 1) * EACH]
            deviations += [(value - sum(own) / EACH) ** 2 for value in own]
    sd = math.sqrt(sum(deviations) / len(deviations))

    def each(name: str, scale: float, weight: float) -> list[float]:
        values = []
        beyond = 1 + max(float(np.nanmax(made.batch.cand[name])) for made, _ in held)
        for made, score in held:
            for i in range(made.batch.n):
                rows = range(i * EACH, (i + 1) * EACH)
                rank = [float(made.batch.cand[name][row]) for row in rows]
                place = [beyond if math.isnan(one) else one for one in rank]
                mixed = [scale * score[row] - weight * math.log(one) for row, one in zip(rows, place, strict=True)]
                values.append(slow_ndcg(mixed, [float(made.label[row]) for row in rows]))
        return values

    source = max(("rank_good", "rank_bad"), key=lambda name: sum(each(name, 0.0, 1.0)))
    tried = {weight: each(source, 1 / sd, weight) for weight in part.weights}
    means = {weight: sum(values) / len(values) for weight, values in tried.items()}
    best = tried[max(means, key=lambda weight: means[weight])]
    near = []
    for weight, values in tried.items():
        gaps = [one - other for one, other in zip(best, values, strict=True)]
        mean = sum(gaps) / len(gaps)
        error = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1) / len(gaps))
        if mean <= part.slack * error:
            near.append(weight)
    return source, max(near), means


def rows_of(made: Frame, cutoffs: list[int]) -> Frame:
    """The requests of some windows, by plain selection."""
    keep = [i for i in range(made.batch.n) if int(made.cutoff[i]) in cutoffs]
    rows = np.array([row for i in keep for row in range(i * EACH, (i + 1) * EACH)])
    return Frame(made.batch.only(np.array(keep)), made.label[rows], made.weight[rows], made.cutoff[keep], made.features)


@pytest.mark.parametrize("slack", [0.0, 1.0, 4.0])
def test_source_and_weight_are_those_of_the_definition(slack: float) -> None:
    """The newest frame, and the two windows before it, each judged by a ranker of older windows."""
    made, valid = frame(1.0, 1.5, 1), frame(0.8, 1.5, 2, cutoffs=1)
    part = Blend(of=LINEAR, cutoffs=2, slack=slack)
    part.fit(made, valid, CTX)
    held = [(valid, part._inner.score(valid.batch).tolist())]
    for cutoff, older in ((3, [0, 1, 2]), (2, [0, 1])):
        judge = Blend(of=LINEAR)._inner
        judge.fit(rows_of(made, older), None, CTX)
        newer = rows_of(made, [cutoff])
        held.append((newer, judge.score(newer.batch).tolist()))
    source, weight, means = slow_choice(part, held)
    assert (part.source, part.blend[1]) == (source, weight)
    assert weight > 0
    assert source == "rank_good"
    assert list(part.judged.values()) == pytest.approx([means[one] for one in part.weights], abs=1e-9)
    score = part.score(valid.batch)
    rank = np.nan_to_num(valid.batch.cand["rank_good"], nan=21.0)
    expected = part._inner.score(valid.batch) * part.blend[0] - weight * np.log(rank)
    np.testing.assert_allclose(score, expected, rtol=1e-5)


def test_it_is_drawn_to_the_better_half() -> None:
    """All weight that there is on a source that knows and a ranker that does not, and the other way round."""
    for signal, source, weights in ((0.0, 3.0, {2.0}), (4.0, 0.0, {0.0, 0.25})):
        part = Blend(of=LINEAR)
        part.fit(frame(signal, source, 3), frame(signal, source, 4, cutoffs=1), CTX)
        assert float(part.blend[1]) in weights


def test_slack_draws_towards_the_source() -> None:
    """The more it may lose, the larger the weight; with none, the best weight."""
    chosen = []
    for slack in (0.0, 1.0, 100.0):
        part = Blend(of=LINEAR, slack=slack)
        part.fit(frame(2.0, 1.0, 3), frame(2.0, 1.0, 4, cutoffs=1), CTX)
        chosen.append(float(part.blend[1]))
        if not slack:
            assert part.judged[f"good x {chosen[0]:g}"] == max(part.judged.values())
    assert chosen == sorted(chosen)
    assert chosen[0] < chosen[-1] == 2.0


def test_windows_that_overlap_do_not_judge_each_other() -> None:
    """`ended` says which windows had ended: the labels of a window that had not are part of the answers."""
    made, valid = frame(1.0, 1.0, 5), frame(1.0, 1.0, 6, cutoffs=1)
    fitted: list[list[int]] = []

    class Spy:
        def fit(self, given: Frame, newer: Frame | None, ctx: FitContext) -> None:
            fitted.append(sorted(set(given.cutoff.tolist())))

        def score(self, batch: Batch) -> np.ndarray:
            return batch.cand["x"]

    for ended, expected in ((None, [[0, 1, 2], [0, 1], [0]]), (made.cutoff - 2, [[0, 1], [0]])):
        part = Blend(of=LINEAR)
        part._inner = Spy()
        fitted.clear()
        part.fit(Frame(made.batch, made.label, made.weight, made.cutoff, made.features, ended), valid, CTX)
        assert fitted == [[0, 1, 2, 3], *expected]


def test_without_a_newer_frame_the_choice_stays() -> None:
    part = Blend(of=LINEAR)
    part.fit(frame(1.0, 2.0, 7), frame(1.0, 2.0, 8, cutoffs=1), CTX)
    chosen, source = part.blend.copy(), part.source
    part.fit(frame(1.0, 0.0, 9), None, CTX)
    assert (part.blend == chosen).all()
    assert part.source == source
    alone = Blend(of=LINEAR)
    alone.fit(frame(1.0, 2.0, 7), None, CTX)
    assert alone.blend[1] == 0.0


def test_given_impressions_have_no_ranks() -> None:
    """No source found them: the ranker alone."""
    made = frame(1.0, 1.0, 10)
    bare = Batch(made.batch.req, made.batch.offsets, {name: made.batch.cand[name] for name in ("item", "x")})
    given = Frame(bare, made.label, made.weight, made.cutoff, made.features)
    part, inner = Blend(of=LINEAR), Blend(of=LINEAR)._inner
    part.fit(given, given, CTX)
    inner.fit(given, given, CTX)
    np.testing.assert_allclose(part.score(bare), inner.score(bare) * part.blend[0], rtol=1e-6)


def test_bad_options(tmp_path: Path) -> None:
    for weights in ([], [0.5, -1.0]):
        with pytest.raises(ConfigError, match=r"^blend.weights: .*: give one weight or more, none of them below 0"):
            Blend(weights=weights)
    with pytest.raises(ConfigError, match=r"^blend.of: unknown rank part 'catbost'; did you mean|^blend.of: "):
        Blend(of={"type": "catbost"})
    with pytest.raises(ConfigError, match=r"^blend.of: unknown option 'dept'"):
        Blend(of={"type": "catboost", "dept": 4})
    part = Blend(of=LINEAR)
    with pytest.raises(ConfigError, match="not fitted"):
        part.score(frame(1.0, 1.0, 1).batch)
    part.fit(frame(1.0, 2.0, 7), frame(1.0, 2.0, 8, cutoffs=1), CTX)
    save(part, tmp_path)
    (tmp_path / "blend.json").write_text("{")
    with pytest.raises(BundleError, match=r"blend.json: not readable"):
        load(Blend(of=LINEAR), tmp_path)
