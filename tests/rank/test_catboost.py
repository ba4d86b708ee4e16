"""CatBoost as a ranker: what it learns, what it uses, what it refuses. The contract is in tests/contract."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch
from shortlist.core.component import load, save
from shortlist.core.contracts import FitContext, Frame
from shortlist.core.errors import BundleError, ConfigError
from shortlist.core.rng import rng
from shortlist.rank.catboost import BY_REQUEST, Catboost
from shortlist.testing.ranker import RankerSuite

CTX = FitContext(None, ("click",), place="ranker.trees")


class Frames(RankerSuite):
    """The suite's frames, for tests of our own."""

    __test__ = False

    def part(self) -> Any:
        return Catboost()


def frame(seed: int = 0) -> Frame:
    return Frames().frame(seed)


def lift(part: Catboost, on: Frame) -> float:
    """How much higher positives score than the others, in standard deviations."""
    scores = part.score(on.batch)
    return float((scores[on.label > 0].mean() - scores[on.label == 0].mean()) / scores.std())


@pytest.mark.parametrize("loss", ["Logloss", "RMSE", *BY_REQUEST])
def test_every_loss_learns(loss: str) -> None:
    part = Catboost(loss=loss, iterations=40, threads=1)
    part.fit(frame(), None, CTX)
    assert lift(part, frame(1)) > 0.8


def test_the_newer_frame_chooses_the_number_of_trees() -> None:
    """The best by NDCG on it, and the next fit takes as many."""
    part = Catboost(iterations=120, depth=4, rate=0.3, threads=1)
    part.fit(frame(), frame(1), CTX)
    counts, values = part.curve["iteration"], part.curve["valid"]
    assert part.trees == counts[int(np.argmax(values))] < 120
    assert counts == sorted(counts)
    assert part._model.tree_count_ == part.trees
    part.fit(frame(2), None, CTX)
    assert part._model.tree_count_ == part.trees
    other = Catboost(iterations=7, threads=1)
    other.fit(frame(), None, CTX)
    assert other._model.tree_count_ == 7
    told = Catboost(iterations=120, depth=4, rate=0.3, threads=1, choose="none")
    told.fit(frame(), frame(1), CTX)
    assert (told._model.tree_count_, told.curve) == (120, {})


def test_nothing_is_left_lying_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where the command is run nor among the temporary files."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    Catboost(iterations=40, threads=1).fit(frame(), frame(1), CTX)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["here", "temporary"]


def test_missing_numbers_and_new_categories_are_no_error() -> None:
    """At serving time a category may have a code that the training frame never had."""
    part = Catboost(iterations=20, threads=1)
    part.fit(frame(), None, CTX)
    batch = frame(1).batch
    odd = batch.with_columns(
        {
            "group": np.where(np.arange(batch.m) % 3 == 0, 999, batch.cand["group"]).astype(np.int32),
            "number": np.full(batch.m, np.nan, dtype=np.float32),
        }
    )
    assert np.isfinite(part.score(odd)).all()


def test_categories_of_many_values_are_left_to_the_state() -> None:
    """Unless `ctr` asks for them: CatBoost would encode them by label statistics."""
    wide = frame()
    wide = replace(wide, features=(*wide.features, "item"))
    plain, encoded = (
        Catboost(iterations=5, one_hot=10, threads=1),
        Catboost(iterations=5, one_hot=10, ctr=True, threads=1),
    )
    plain.fit(wide, None, CTX)
    encoded.fit(wide, None, CTX)
    assert set(plain.importance()) == {"number", "noise", "group"}
    assert set(encoded.importance()) == {"number", "noise", "group", "item"}


def test_columns_may_be_dropped() -> None:
    """By name, or by the beginning of it."""
    cases: tuple[tuple[list[str], list[str], set[str]], ...] = (
        (["number"], [], {"noise", "group"}), (["n*"], [], {"group"}), (["*oise"], [], {"number", "group"}),
        (["n*"], ["*ber"], {"number", "group"}), (["*"], ["noise", "g*"], {"noise", "group"}),
    )  # fmt: skip
    for drop, spare, left in cases:
        part = Catboost(iterations=5, drop=drop, spare=spare, threads=1)
        part.fit(frame(), None, CTX)
        assert set(part.importance()) == left


def test_importance_finds_what_matters() -> None:
    part = Catboost(iterations=40, threads=1)
    part.fit(frame(), None, CTX)
    gains = part.importance()
    assert next(iter(gains)) == "number"
    assert list(gains.values()) == sorted(gains.values(), reverse=True)
    assert sum(gains.values()) == pytest.approx(100)


def test_grades_count_where_the_loss_knows_them() -> None:
    """Logloss sees 0 and 1; a listwise loss puts grade 3 above grade 1."""
    graded = frame()
    best = (graded.label > 0) & (graded.batch.cand["group"] == 1)
    graded = replace(graded, label=np.where(best, np.float32(5.0), graded.label))

    def apart(loss: str) -> float:
        part = Catboost(loss=loss, iterations=60, threads=1)
        part.fit(graded, None, CTX)
        scores = part.score(graded.batch)
        return float((scores[best].mean() - scores[graded.label == 1].mean()) / scores.std())

    assert apart("YetiRank") > apart("Logloss") + 0.2


def no_label(made: Frame) -> Array:
    return np.zeros_like(made.label)


def all_labels(made: Frame) -> Array:
    return np.ones_like(made.label)


@pytest.mark.parametrize("loss", ["Logloss", "YetiRank"])
@pytest.mark.parametrize(("label", "said"), [(no_label, "no positive row"), (all_labels, "have the same label")])
def test_a_frame_that_teaches_nothing_is_one_line(loss: str, label: Any, said: str) -> None:
    made = frame()
    with pytest.raises(ConfigError, match=rf"^ranker\.trees: .*{said}") as caught:
        Catboost(loss=loss, iterations=5).fit(replace(made, label=label(made)), None, CTX)
    assert "\n" not in str(caught.value)


def test_constant_columns_are_one_line() -> None:
    """CatBoost has its own error for it."""
    made = frame()
    columns = {name: np.zeros(made.batch.m, dtype=np.float32) for name in ("number", "noise", "group")}
    with pytest.raises(ConfigError, match=r"^ranker\.trees: cannot learn from 1200 rows: ") as caught:
        Catboost(iterations=5).fit(replace(made, batch=made.batch.with_columns(columns)), None, CTX)
    assert "\n" not in str(caught.value)


def test_the_seed_is_the_context_s() -> None:
    """With columns drawn at random, another seed is another model; the same seed is the same to the bit."""

    def scores(seed: int) -> Array:
        part = Catboost(iterations=20, columns=0.4, threads=1)
        part.fit(frame(), None, replace(CTX, seed=seed))
        return part.score(frame(1).batch)

    np.testing.assert_array_equal(scores(1), scores(1))
    assert (scores(1) != scores(2)).any()


def test_one_row_is_scored_as_in_a_large_batch() -> None:
    """Also where a second thread would help."""
    part = Catboost(iterations=20)
    part.fit(frame(), None, CTX)
    m = 25_000
    draw = rng(0, "large")
    columns = {
        "item": np.arange(m, dtype=np.int32),
        "number": draw.normal(size=m).astype(np.float32),
        "noise": draw.normal(size=m).astype(np.float32),
        "group": draw.integers(-1, 4, m).astype(np.int32),
    }
    large = Batch(Batch.of(np.zeros(1), np.array(0)).req, np.array([0, m]), columns)
    scores = part.score(large)
    for row in range(0, m, 1999):
        assert part.score(large.take(np.array([row])))[0] == scores[row]


def test_a_damaged_model_is_one_line(tmp_path: Path) -> None:
    part = Catboost(iterations=5, threads=1)
    part.fit(frame(), None, CTX)
    save(part, tmp_path)
    (tmp_path / "model.cbm").write_bytes(b"not a model")
    with pytest.raises(BundleError, match="not a readable model") as caught:
        load(Catboost(), tmp_path)
    assert "\n" not in str(caught.value)


def alone(made: Frame, group: bool = False) -> Frame:
    """The frame with every row a request of its own; group: and the former requests as groups."""
    batch = made.batch
    req = {"user": batch.spread(batch.user), "time": batch.spread(batch.time)}
    more = {"group": batch.owner * 3 + 1} if group else {}
    single = Batch({**req, **more}, np.arange(batch.m + 1), batch.cand)
    return Frame(single, made.label, made.weight, batch.spread(made.cutoff), made.features)


def test_what_chooses_the_trees() -> None:
    """NDCG where groups have rows to order; the loss where every request is one row: its NDCG is 1, whatever the model."""

    def fitted(valid: Frame, **options: Any) -> Catboost:
        part = Catboost(iterations=120, depth=4, rate=0.3, threads=1, **options)
        part.fit(alone(frame()), valid, CTX)
        return part

    loss = fitted(alone(frame(1)))
    assert 1 < loss.trees == loss.curve["iteration"][int(np.argmin(loss.curve["valid"]))] < 120
    assert loss.curve == fitted(alone(frame(1)), choose="Logloss").curve
    ndcg = fitted(alone(frame(1), group=True))
    assert ndcg.curve == fitted(frame(1)).curve != loss.curve
    assert ndcg.curve == fitted(frame(1), choose="NDCG").curve
    auc = fitted(alone(frame(1), group=True), choose="AUC")
    assert auc.curve == fitted(frame(1), choose="AUC").curve
    assert 0.5 < max(auc.curve["valid"]) < 1.0
    assert auc.trees == auc.curve["iteration"][int(np.argmax(auc.curve["valid"]))]


@pytest.mark.parametrize("loss", BY_REQUEST)
def test_a_group_of_requests_is_compared_like_a_request(loss: str) -> None:
    """Rows that are requests of their own, in groups, teach a listwise loss what the same rows in one request do."""
    part, other = (Catboost(loss=loss, iterations=10, threads=1) for _ in range(2))
    part.fit(alone(frame(), group=True), None, CTX)
    other.fit(frame(), None, CTX)
    assert part.score(frame(1).batch).tolist() == other.score(frame(1).batch).tolist()
