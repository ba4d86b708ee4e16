"""Fitted merges and quotas by segment, put to the sacred tests: one request is as many, chunks change nothing, the future changes
nothing, a bundle answers as what was saved, live events and a replay answer alike."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.core.batch import Batch, concat
from shortlist.data.dataset import encode
from shortlist.data.schema import Tables
from shortlist.data.synthetic import START
from shortlist.experiment.backtest import backtest
from shortlist.experiment.fit import Fitted, fit
from shortlist.pipeline.bundle import Bundle
from shortlist.pipeline.config import Recipe
from shortlist.pipeline.trace import Trace
from shortlist.serve.engine import Engine
from tests.parity.worlds import DAY, corrupted, recipe, same_batches, same_frames, shop, without

T = START + 8 * DAY
MERGES = ("calibrated", "learned")
SOURCES: list[dict[str, Any]] = [
    {"type": "popular", "half_life": "1d", "quota": {"cold": 30, "light": 10, "heavy": 20}},
    {"type": "itemknn", "k": 20, "quota": {"cold": 0, "light": 20, "heavy": 25}},
    {"type": "ease", "reg": 5.0, "max_items": 40, "quota": 25},
    {"type": "history", "quota": {"cold": 0, "light": 0, "heavy": 15}},
]
FEATURES: list[dict[str, Any]] = [{"type": "counts", "by": ["item", "user"], "half_life": ["1d"]}]


def chosen(merge: str, **changes: Any) -> Recipe:
    """A small recipe whose windows hold enough targets for a merge to learn from."""
    return recipe(
        source=SOURCES, feature=FEATURES, filter=[{"type": "available"}, {"type": "seen", "within": "2h"}], rule=[],
        ranker=[{"type": "linear", "steps": 20}], train={"requests": 60, "validate": 60},
        pipeline={"pool": 12, "merge": merge, "segments": [4, 12], **changes},
    )  # fmt: skip


def made_of(tables: Tables, merge: str) -> Fitted:
    data = encode(tables)
    one = chosen(merge)
    return fit(one, data, splits=one.timeline.at(data, T))


@functools.cache
def whole(merge: str) -> Fitted:
    """Fitted as of T, with the future there."""
    return made_of(shop(), merge)


def asked(made: Fitted) -> Batch:
    """Everybody, and nobody."""
    users = np.append(np.arange(len(made.data.catalogue.users)), -1)
    return Batch.of(
        users,
        T + np.arange(len(users)) * 600,
        device=np.zeros(len(users), np.int32),
        load=np.zeros(len(users), np.float32),
    )


@pytest.mark.parametrize("merge", MERGES)
def test_one_at_a_time_is_many_at_once(merge: str) -> None:
    made = whole(merge)
    assert made.pipeline.merges
    batch = asked(made)

    def stages(part: Batch) -> list[Batch]:
        trace = Trace()
        made.pipeline.recommend(part, made.state, 10, trace)
        assert trace.pool is not None
        assert trace.union is not None
        assert trace.answer is not None
        return [trace.union, trace.pool, trace.answer]

    many = stages(batch)
    assert many[0].m > many[1].m, "nothing was cut: the comparison says nothing"
    one = [stages(batch.request(i)) for i in range(batch.n)]
    for stage, wanted in enumerate(many):
        same_batches(concat([each[stage] for each in one]), wanted)


@pytest.mark.parametrize("merge", MERGES)
def test_the_future_changes_neither_frame_nor_answers(merge: str) -> None:
    expected = whole(merge)
    for future in (without, corrupted):
        made = made_of(future(shop(), T), merge)
        assert made.frame is not None
        assert expected.frame is not None
        same_frames(made.frame, expected.frame)
        users = np.unique(expected.data.log.before(T).user)
        batch = Batch.of(
            users, np.array(T), device=np.zeros(len(users), np.int32), load=np.zeros(len(users), np.float32)
        )
        same_batches(
            made.pipeline.recommend(batch, made.state, 5), expected.pipeline.recommend(batch, expected.state, 5)
        )


def test_no_pool_is_cut_by_its_own_window() -> None:
    """The newest label window turned into noise changes nothing in the frames of the older ones."""
    tables = shop(users=200)  # enough targets in the oldest window
    expected = made_of(tables, "learned")
    start = T - DAY  # the newest of three windows of a day
    made = made_of(corrupted(tables, start, T), "learned")
    assert made.frame is not None
    assert expected.frame is not None
    for window in (0, 1):
        parts = []
        for frame in (made.frame, expected.frame):
            requests = np.flatnonzero(frame.cutoff == window)
            parts.append(frame.batch.only(requests))
        same_batches(*parts)
        assert np.isfinite(parts[0].cand["chance"]).all()


@pytest.mark.parametrize("merge", MERGES)
def test_chunk_changes_no_run(merge: str, tmp_path: Path) -> None:
    data = encode(shop())
    tables = []
    for chunk in (256, 7):
        backtest(chosen(merge, chunk=chunk), data, tmp_path / str(chunk))
        tables.append(
            [pl.read_parquet(tmp_path / str(chunk) / name) for name in ("recommendations.parquet", "requests.parquet")]
        )
    for got, expected in zip(*tables, strict=True):
        assert got.equals(expected, null_equal=True)


@pytest.mark.parametrize("merge", MERGES)
def test_a_bundle_answers_live_as_the_replay_does(merge: str, tmp_path: Path) -> None:
    made = made_of(shop(), merge)
    made.save(tmp_path / "bundle")
    engine = Engine.of(Bundle.load(tmp_path / "bundle"))
    log, catalogue = made.data.log, made.data.catalogue
    first, last = made.replay.position, made.replay.position + 60
    names = catalogue.kinds.series().to_list()
    engine.track(
        {
            "user_id": catalogue.users.ids.name(int(log.user[i])), "item_id": catalogue.items.ids.name(int(log.item[i])),
            "time": int(log.time[i]), "event": names[log.kind[i]],
            "value": None if np.isnan(log.columns["value"][i]) else float(log.columns["value"][i]),
        }
        for i in range(first, last)
    )  # fmt: skip
    made.replay.to(last)
    users = np.unique(log.user[:last])
    for user in users.tolist():
        live = engine.recommend({"user_id": catalogue.users.ids.name(user), "time": T + DAY, "context": {}})
        batch = Batch.of(
            np.array([user]), np.array(T + DAY), device=np.array([-1], np.int32), load=np.array([np.nan], np.float32)
        )
        replayed = made.pipeline.recommend(batch, made.state, engine.k)
        assert [entry["item_id"] for entry in live["items"]] == list(catalogue.items.ids.names(replayed.item))
        assert [entry["score"] for entry in live["items"]] == replayed.cand["score"].tolist()


def test_a_merge_alone_orders_by_chance() -> None:
    """Without a ranker the answer is in the order of the fitted merge."""
    data = encode(shop())
    one = chosen("learned")
    one.rankers.clear()
    one.keeps.clear()
    made = fit(one, data, splits=one.timeline.at(data, T))
    assert made.pipeline.merges
    answer = made.pipeline.recommend(asked(made), made.state, 5)
    assert answer.m > 100
    score = answer.cand["score"]
    inside = np.diff(answer.owner) == 0
    assert (np.diff(score)[inside] <= 0).all()
    assert ((score > 0) & (score < 1)).all()


def test_too_little_to_learn_from_is_said() -> None:
    data = encode(shop())
    one = chosen("learned")
    one.train.requests = 2
    one.train.validate = 1
    made = fit(one, data, splits=one.timeline.at(data, T))
    assert not made.pipeline.merges
    assert any("the merge learned nothing" in note for note in made.notes)
    trace = Trace()
    made.pipeline.recommend(asked(made), made.state, 5, trace)
    assert trace.pool is not None
    assert np.isnan(trace.pool.cand["chance"]).all()
