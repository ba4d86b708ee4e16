"""Given impressions, end to end on a small shop: what is learned from and measured is what the log says, frozen or live."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.core.batch import Batch
from shortlist.core.errors import ConfigError
from shortlist.data.dataset import encode
from shortlist.data.synthetic import START
from shortlist.experiment import given
from shortlist.experiment.backtest import backtest
from shortlist.experiment.fit import Fitted, fit, positive_kinds
from shortlist.experiment.replay import Replay, asked
from shortlist.experiment.verdict import judge
from shortlist.metric.impressions import auc, gauc, logloss
from shortlist.pipeline.config import Recipe, parse
from tests.parity.worlds import DAY, same_arrays, same_batches, same_frames, shop, without

SHOP = encode(shop(users=40, items=40))
T = START + 8 * DAY
BASELINES = ["baseline:item_rate", "baseline:overall"]


def chosen(**changes: Any) -> Recipe:
    """A small recipe over what was shown; tables are put over its own, stages replace it."""
    tree: dict[str, Any] = {
        "title": "shown",
        "data": {"positive": ["click"], "context": ["device"]},
        "timeline": {"test": "2024-01-09", "window": "1d", "cutoffs": 3},
        "train": {"requests": 60, "validate": 60, "negatives": 0},
        "state": {"history": 64},
        "pipeline": {"candidates": "impressions"},
        "evaluate": {"resamples": 20},
        "feature": [
            {"type": "attributes", "context": ["device"]},
            {"type": "counts", "half_life": ["6h", "2d"], "total": True},
            {"type": "pair", "attributes": ["category"]},
        ],
        "ranker": [{"type": "catboost", "iterations": 30, "depth": 4, "threads": 1}],
    }
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    return parse(tree)


@functools.cache
def made(**state: Any) -> Fitted:
    """Fitted as of T."""
    recipe = chosen(state=state)
    return fit(recipe, SHOP, splits=recipe.timeline.at(SHOP, T))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, with two sources that score what was shown."""
    folder = tmp_path_factory.mktemp("given") / "run"
    backtest(chosen(source=[{"type": "popular"}, {"type": "itemknn"}]), SHOP, folder)
    return folder


def loaded(folder: Path, name: str) -> Any:
    """A JSON file."""
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_a_training_frame_has_every_impression() -> None:
    """With the label that the log gives, also requests without a positive; the place on the slate is no feature."""
    frame = made().frame
    assert frame is not None
    batch = frame.batch
    positives = np.bincount(batch.owner[frame.label > 0], minlength=batch.n)
    assert (positives == 0).any()
    assert (positives > 0).any()
    assert "position" in batch.cand
    assert "position" not in frame.features
    log = SHOP.log
    impression, click = SHOP.catalogue.kind_codes(["impression", "click"])
    for i in range(0, batch.n, 7):
        own = slice(batch.offsets[i], batch.offsets[i + 1])
        row = int(batch.req["at"][i])
        same = np.flatnonzero(log.columns["request"] == log.columns["request"][row])
        shown = [int(item) for item in log.item[same[log.kind[same] == impression]]]
        taken = set(log.item[same[log.kind[same] == click]].tolist())
        assert batch.item[own].tolist() == list(dict.fromkeys(shown))
        assert [float(item in taken) for item in batch.item[own].tolist()] == frame.label[own].tolist()
        assert batch.time[i] == log.time[row]


def test_every_request_sees_the_state_as_of_its_first_impression() -> None:
    """Features once more, from a state that is moved there event by event."""
    fitted = made()
    frame = fitted.frame
    assert frame is not None
    own = frame.batch.only(np.argsort(frame.batch.req["at"], kind="stable"))
    replay = Replay(SHOP.log, fresh(fitted))
    for i in range(0, own.n, 11):
        replay.to(int(own.req["at"][i]))
        one = own.request(i)
        bare = Batch({n: one.req[n] for n in ("user", "time", "device")}, one.offsets, {"item": one.item})
        again = fitted.pipeline.add_features(fitted.pipeline.retrieve(bare, replay.state), replay.state)
        for name in fitted.pipeline.columns:
            same_arrays(again.cand[name], one.cand[name], name)


def fresh(fitted: Fitted) -> Any:
    """An empty state like the fitted one."""
    from_recipe = fit(chosen(), SHOP, splits=fitted.recipe.timeline.at(SHOP, START + 5 * DAY))
    return type(from_recipe.state)(
        SHOP.catalogue, fitted.pipeline.folds(fitted.ctx), history=64, history_events=["click", "cart", "purchase"]
    )


def test_frozen_answers_are_those_of_the_state_at_the_cut_off(tmp_path: Path) -> None:
    """All requests of the test window at once on a state that stands at its start, at their own times."""
    recipe = chosen(state={"freeze": True})
    backtest(recipe, SHOP, tmp_path / "run")
    splits = recipe.timeline.splits(SHOP)[-1]
    fitted = fit(chosen(state={"freeze": True}), SHOP, splits=splits)
    assert fitted.state.count == splits[-1].start
    kinds = SHOP.catalogue.kind_codes(positive_kinds(recipe, SHOP))
    requests = given.requests(recipe, SHOP, splits[-1], kinds, users=recipe.evaluate.users)
    batch = asked(requests, 0, len(requests), SHOP, ["device"])
    pool = fitted.pipeline.add_features(fitted.pipeline.retrieve(batch, fitted.state), fitted.state)
    ranked = fitted.pipeline.rank(pool)
    table = pl.read_parquet(tmp_path / "run" / "recommendations.parquet")
    assert table["item_id"].to_list() == SHOP.catalogue.items.ids.names(ranked.item).to_list()
    assert table["score"].to_list() == ranked.cand["score"].tolist()
    assert table["time"].to_list() == ranked.spread(ranked.time).tolist()
    assert table["time"].n_unique() > 20, "the requests keep their times"
    backtest(chosen(), SHOP, tmp_path / "live")
    live = pl.read_parquet(tmp_path / "live" / "recommendations.parquet")
    assert sorted(live["score"].to_list()) != sorted(table["score"].to_list())


def test_a_frozen_frame_knows_nothing_of_its_window() -> None:
    """Training, too: counts do not move within a label window, as they do when live."""
    frozen, live = made(freeze=True).frame, made().frame
    assert frozen is not None
    assert live is not None

    def moves(frame: Any) -> int:
        rows = np.stack([frame.batch.spread(frame.cutoff), frame.batch.item, frame.batch.cand["positive/item/total"]])
        return int(np.unique(rows, axis=1).shape[1] - np.unique(rows[:2], axis=1).shape[1])

    assert moves(frozen) == 0
    assert moves(live) > 0
    assert frozen.batch.req["at"].tolist() == live.batch.req["at"].tolist()


def test_frozen_next_requests(tmp_path: Path) -> None:
    """The switch is for every request of its own time."""
    fitted = []
    for freeze in (True, False):
        recipe = chosen(
            pipeline={"candidates": "sources"}, timeline={"labels": "next"}, state={"freeze": freeze},
            source=[{"type": "popular"}, {"type": "history"}],
        )  # fmt: skip
        backtest(recipe, SHOP, tmp_path / str(freeze))
        fitted.append(pl.read_parquet(tmp_path / str(freeze) / "recommendations.parquet"))
    frozen, live = fitted
    assert frozen["time"].unique().sort().to_list() == live["time"].unique().sort().to_list()
    assert frozen["score"].to_list() != live["score"].to_list()


@pytest.mark.parametrize("freeze", [False, True])
def test_the_future_changes_no_frame(freeze: bool) -> None:
    """An answer after the cut-off to an impression before it is not known there."""
    recipe = chosen(state={"freeze": freeze})
    past = encode(without(shop(users=40, items=40), T))
    other = fit(recipe, past, splits=recipe.timeline.at(past, T))
    expected = made(freeze=freeze) if freeze else made()
    assert other.frame is not None
    assert expected.frame is not None
    same_frames(other.frame, expected.frame)


def test_chunks_change_nothing() -> None:
    """Also where a frozen state lets many requests go together."""
    recipe = chosen(state={"freeze": True}, pipeline={"chunk": 3})
    other = fit(recipe, SHOP, splits=recipe.timeline.at(SHOP, T))
    assert other.frame is not None
    expected = made(freeze=True).frame
    assert expected is not None
    same_batches(other.frame.batch, expected.batch)


def test_metrics_are_those_of_the_written_scores(run: Path) -> None:
    """AUC, GAUC and log loss once more from recommendations.parquet, labels from the log."""
    metrics, table = loaded(run, "metrics.json"), pl.read_parquet(run / "recommendations.parquet")
    assert list(metrics["systems"]) == ["pipeline", "source:popular", "source:itemknn", *BASELINES]
    assert list(metrics["paired"]) == [f"pipeline - {name}" for name in list(metrics["systems"])[1:]]
    score, label = table["score"].to_numpy(), table["label"].to_numpy()
    users = table["user_id"].to_numpy()
    system = metrics["systems"]["pipeline"]
    assert system["auc"]["value"] == pytest.approx(auc(score, label))
    assert system["gauc"]["value"] == pytest.approx(gauc(score, label, users))
    loss = logloss(table["probability"].to_numpy(), label).mean()
    assert system["logloss"]["value"] == pytest.approx(loss, rel=1e-5)
    for name in ("auc", "gauc", "logloss", "calibration"):
        figure = system[name]
        assert figure["low"] < figure["high"]
        assert name == "calibration" or figure["low"] <= figure["value"] <= figure["high"]
    assert metrics["systems"]["baseline:overall"]["auc"]["value"] == 0.5
    assert metrics["systems"]["baseline:overall"]["gauc"]["value"] == 0.5
    assert "logloss" not in metrics["systems"]["source:popular"], "a source's score is no probability"
    gap = metrics["paired"]["pipeline - baseline:item_rate"]
    for name in ("auc", "gauc", "logloss"):
        other = metrics["systems"]["baseline:item_rate"][name]["value"]
        assert gap[name]["value"] == pytest.approx(system[name]["value"] - other)
    events = shop(users=40, items=40).events
    window = events.filter((pl.col("time") >= T) & (pl.col("event") == "impression"))
    assert len(table) == len(window.unique(["request_id", "item_id"]))
    clicks = events.filter(pl.col("event") == "click").select("request_id", "item_id").unique()
    assert table["label"].sum() == len(
        window.unique(["request_id", "item_id"]).join(clicks, on=["request_id", "item_id"])
    )


def test_lists_are_measured_where_there_are_lists(run: Path) -> None:
    """NDCG of the slates with a click, by plain loops."""
    table = pl.read_parquet(run / "recommendations.parquet")
    figures = []
    for _, own in table.group_by("user_id", "time", maintain_order=True):
        order = own.sort("rank")["label"].to_list()
        if len(order) > 1 and sum(order):
            gain = sum(1 / np.log2(place + 2) for place, label in enumerate(order[:10]) if label)
            figures.append(gain / sum(1 / np.log2(place + 2) for place in range(min(int(sum(order)), 10))))
    value = loaded(run, "metrics.json")["systems"]["pipeline"]["ndcg@10"]["value"]
    assert value == pytest.approx(np.mean(figures), rel=1e-6)


def test_files_and_report(run: Path) -> None:
    """The funnel has nothing to lose, the page shows what counts, and a request's figures can be paired with another run's."""
    funnel, page = loaded(run, "funnel.json"), (run / "report.html").read_text(encoding="utf-8")
    assert funnel["candidates"] == "impressions"
    assert funnel["stages"]["missed"] == funnel["stages"]["filtered"] == funnel["stages"]["ruled_out"] == 0.0
    assert sum(funnel["stages"].values()) == pytest.approx(1.0)
    assert funnel["guard"]["metric"] == "gauc"
    assert set(funnel["guard"]["validation"]) == {
        "pipeline", "baseline:item_rate", "source:popular", "source:itemknn",
    }  # fmt: skip
    found = judge(loaded(run, "metrics.json"), funnel)
    assert found.metric == "gauc"
    assert found.best in ("popular", "itemknn", *BASELINES)
    for text in ("Do the probabilities come true?", "GAUC", "Calibration error", "baseline:item_rate"):
        assert text in page
    assert "Where the targets are lost" not in page
    requests = pl.read_parquet(run / "requests.parquet")
    metrics = loaded(run, "metrics.json")
    assert len(requests) == metrics["requests"]
    assert {"pipeline/gauc", "pipeline/logloss", "pipeline/ndcg@10"} <= set(requests.columns)
    assert requests["targets"].sum() == funnel["targets"]


def test_the_item_rate_is_live_and_smoothed() -> None:
    """Clicked impressions over impressions of everything before, from the log by hand."""
    recipe = chosen()
    kinds = SHOP.catalogue.kind_codes(["click"])
    requests = given.requests(recipe, SHOP, recipe.timeline.splits(SHOP)[-1][-1], kinds)
    batch = asked(requests, 0, len(requests), SHOP, [])
    batch = Batch({**batch.req, "at": requests.position}, batch.offsets, batch.cand)
    got = given.item_rates(recipe, SHOP, kinds, batch)
    log = SHOP.log
    impression = SHOP.catalogue.kind_codes(["impression"])[0]
    for row in range(0, batch.m, 97):
        before = slice(0, int(batch.req["at"][batch.owner[row]]))
        shown = log.kind[before] == impression
        clicked = log.kind[before] == kinds[0]  # in the shop every click answers an impression of its request
        overall = (clicked.sum() + 1) / (shown.sum() + 2)
        own = log.item[before] == batch.item[row]
        assert got[row] == pytest.approx(((clicked & own).sum() + 20 * overall) / ((shown & own).sum() + 20))


def test_groups_are_users_within_a_window() -> None:
    """A user's requests stand together, and a listwise loss learns from them."""
    recipe = chosen(
        train={"group": "user"}, ranker=[{"type": "catboost", "loss": "YetiRank", "iterations": 10, "threads": 1}]
    )
    fitted = fit(recipe, SHOP, splits=recipe.timeline.at(SHOP, T))
    frame = fitted.frame
    assert frame is not None
    group = frame.batch.req["group"]
    runs = np.flatnonzero(np.append(True, np.diff(group) != 0))
    assert len(np.unique(group)) == len(runs) < frame.batch.n
    assert (group >> 32).tolist() == frame.cutoff.tolist()
    assert (group & 0xFFFFFFFF).tolist() == frame.batch.user.tolist()
    assert fitted.scale is not None
    assert fitted.scale.slope >= 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"filter": [{"type": "available"}]}, r"filter: no \[\[filter\]\] can be used"),
        ({"rule": [{"type": "top"}]}, r"rule: no \[\[rule\]\] can be used"),
        ({"ranker": [{"type": "linear", "keep": 5}]}, r"ranker.linear.keep: 5"),
        ({"ranker": []}, r"no \[\[ranker\]\] and no \[\[source\]\]"),
        ({"pipeline": {"guard": "fallback"}}, "pipeline.guard: 'fallback' needs candidates"),
        ({"timeline": {"split": "last"}}, "timeline.split: 'last' has no window"),
        ({"train": {"hard": 0.5}}, "train.hard: 0.5"),
        ({"data": {"within": "soon"}}, "data.within: not a duration"),
    ],
)
def test_what_has_no_meaning_is_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        chosen(**changes)


def test_data_that_show_nothing_are_one_line(tmp_path: Path) -> None:
    """No such kind, no impression in the window, nobody who asks with candidates."""
    with pytest.raises(ConfigError, match=r"data.impression: unknown event kind 'exposure'"):
        backtest(chosen(data={"impression": "exposure"}), SHOP, tmp_path / "run")
    gone = shop(users=40, items=40)
    events = gone.events.filter((pl.col("time") < T) | (pl.col("event") != "impression"))
    data = encode(type(gone)(events, gone.items, gone.users))
    with pytest.raises(ConfigError, match=r"timeline.test: no event of kind 'impression' at or after"):
        backtest(chosen(), data, tmp_path / "run")
    with pytest.raises(ConfigError, match="ranks the items that requests come with, and these have none"):
        made().pipeline.recommend(Batch.of(np.array([0]), np.array(T), device=np.zeros(1, np.int32)), made().state, 5)
    assert list(tmp_path.iterdir()) == []


def test_sources_alone_order_impressions(tmp_path: Path) -> None:
    """Without a ranker the first source is the pipeline; its score is no probability."""
    backtest(chosen(source=[{"type": "popular"}], feature=[], ranker=[]), SHOP, tmp_path / "run")
    systems = loaded(tmp_path / "run", "metrics.json")["systems"]
    assert systems["pipeline"]["auc"] == systems["source:popular"]["auc"]
    assert "logloss" not in systems["pipeline"]
