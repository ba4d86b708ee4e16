"""A service answers in time, whatever a part does; and when all is well, it answers what the pipeline answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Batch
from shortlist.core.contracts import FitContext
from shortlist.core.errors import ConfigError
from shortlist.core.rng import rng
from shortlist.data.dataset import encode
from shortlist.data.synthetic import world
from shortlist.pipeline.breaker import Breakers
from shortlist.pipeline.config import Recipe, parse
from shortlist.pipeline.pipeline import Pipeline
from shortlist.pipeline.resilient import Outcome, Resilient, Unavailable
from shortlist.pipeline.trace import Trace
from shortlist.state.state import State
from tests.parity.worlds import same_batches
from tests.pipeline.moody import MOODS

PLACE = "tests.pipeline.moody"
DATA = encode(world(seed=2, users=40, items=60, days=4).tables)
NOW = int(DATA.log.time[-1])


def recipe(**changes: Any) -> Recipe:
    """Two sources, one of them moody, and a moody part of every other kind."""
    tree: dict[str, Any] = {
        "data": {"positive": ["click"]},
        "serve": {"deadline_ms": 150.0},
        "source": [
            {"type": "popular", "quota": 30},
            {"type": f"{PLACE}.MoodySource", "name": "moody", "quota": 20},
        ],
        "filter": [{"type": "seen"}, {"type": f"{PLACE}.MoodyFilter", "name": "moody"}],
        "feature": [{"type": f"{PLACE}.MoodyFeature", "name": "moody"}],
        "ranker": [{"type": f"{PLACE}.MoodyRanker", "name": "moody"}],
        "rule": [{"type": f"{PLACE}.MoodyRule", "name": "moody"}],
    }
    return parse({**tree, **changes})


class Setting:
    """A pipeline, its state, and the service's way to ask."""

    def __init__(self, chosen: Recipe) -> None:
        self.pipeline = Pipeline.of(chosen)
        ctx = FitContext(DATA.catalogue, ("click",), now=NOW)
        self.state = State(DATA.catalogue, self.pipeline.folds(ctx))
        self.state.apply(DATA.log.columns)
        self.pipeline.fit(DATA.log, ctx)
        self.pipeline.columns = ("size", "sort")
        self.time = 0.0
        self.service = Resilient(self.pipeline, chosen.serve, clock=lambda: self.time)
        self.deadline = chosen.serve.deadline_ms / 1000

    def batch(self, user: int = 3) -> Batch:
        """One request."""
        return Batch.of(np.array([user]), np.array(NOW), **{name: np.array([-1], np.int32) for name in ("device",)})

    def ask(self, user: int = 3, k: int = 10) -> Outcome:
        """An answer, which must come in time."""
        start = time.perf_counter()
        outcome = self.service.recommend(self.batch(user), self.state, k)
        assert time.perf_counter() - start < self.deadline + 2  # on a busy machine; bench/load.py measures
        return outcome


@pytest.fixture
def moods() -> Iterator[Any]:
    yield MOODS
    MOODS.release()


@pytest.fixture
def setting(moods: Any) -> Iterator[Setting]:
    made = Setting(recipe())
    made.service.warm(made.batch(-1), made.state, 10)
    yield made
    made.service.close()


def test_all_well_is_the_pipeline_to_the_bit(setting: Setting) -> None:
    for user in range(-1, 40):
        trace, expected = Trace(), Trace()
        outcome = setting.service.recommend(setting.batch(user), setting.state, 10, trace)
        same_batches(outcome.answer, setting.pipeline.recommend(setting.batch(user), setting.state, 10, expected))
        assert outcome.degraded == ()
        assert trace.ranked is not None
        assert expected.ranked is not None
        same_batches(trace.ranked, expected.ranked)
        assert set(trace.seconds) == set(expected.seconds)


def test_offline_an_error_is_an_error(setting: Setting, moods: Any) -> None:
    """A backtest must never be measured without a part."""
    for kind in ("source", "filter", "feature", "ranker", "rule"):
        moods.now = {kind: "raise"}
        with pytest.raises(RuntimeError, match=f"{kind} is in a bad mood"):
            setting.pipeline.recommend(setting.batch(), setting.state, 10)


@pytest.mark.parametrize("mood", ["raise", "hang"])
def test_without_a_source(setting: Setting, moods: Any, mood: str) -> None:
    """The answer is what the others find, and says so."""
    moods.now = {"source": mood}
    outcome = setting.ask()
    assert outcome.degraded == ("source.moody",)
    without = Setting(recipe(source=[{"type": "popular", "quota": 30}]))
    moods.now = {}
    expected = without.pipeline.recommend(setting.batch(), without.state, 10)
    assert outcome.answer.item.tolist() == expected.item.tolist()
    assert len(outcome.answer.item) == 10


@pytest.mark.parametrize("mood", ["raise", "hang"])
def test_without_a_feature_and_without_a_ranker(setting: Setting, moods: Any, mood: str) -> None:
    """Missing values of the right types for the ranker; without the ranker, the order of the sources."""
    setting.ask()
    moods.now = {"feature": mood}
    outcome = setting.ask()
    assert outcome.degraded == ("feature.moody",)
    assert (outcome.answer.cand["score"] == -2.0).all()
    moods.now = {"ranker": mood}
    moods.release() if mood == "hang" else None
    moods.now = {"ranker": mood}
    time.sleep(0.05)
    outcome = setting.ask()
    assert outcome.degraded == ("ranker.moody", "light")
    trace = Trace()
    light = setting.pipeline.recommend(setting.batch(), setting.state, 10, trace, light=True)
    assert outcome.answer.item.tolist() == light.item.tolist()


@pytest.mark.parametrize("mood", ["raise", "hang"])
@pytest.mark.parametrize("on_error", ["keep", "drop", "fail"])
def test_without_a_filter(moods: Any, mood: str, on_error: str) -> None:
    """As it declares, and nothing else: a hard constraint is not passed by because it is slow."""
    setting = Setting(recipe(filter=[{"type": f"{PLACE}.MoodyFilter", "name": "moody", "on_error": on_error}]))
    setting.service.warm(setting.batch(), setting.state, 10)
    moods.now = {"filter": mood}
    if on_error == "fail":
        with pytest.raises(Unavailable, match=r"filter\.moody"):
            setting.ask()
        return
    outcome = setting.ask()
    assert outcome.degraded[0] == "filter.moody"
    assert outcome.answer.m == (10 if on_error == "keep" else 0)


def test_a_rule_is_left_out(setting: Setting, moods: Any) -> None:
    moods.now = {"rule": "raise"}
    outcome = setting.ask()
    assert outcome.degraded == ("rule.moody",)
    assert (np.diff(outcome.answer.cand["score"]) <= 0).all()


def test_a_part_that_may_not_fail(moods: Any) -> None:
    """`fail` for other kinds than filters."""
    setting = Setting(recipe(source=[{"type": f"{PLACE}.MoodySource", "quota": 20, "on_error": "fail"}]))
    moods.now = {"source": "raise"}
    with pytest.raises(
        Unavailable, match=r"source\.MoodySource failed, and nothing may be shown without it: RuntimeError"
    ):
        setting.ask()


def test_hung_calls_do_not_pile_up(setting: Setting, moods: Any) -> None:
    """One thread hangs with the part, however many ask; when it returns, the part is back and the thread is gone."""
    setting.ask()
    before = threading.active_count()
    moods.now = {"source": "hang"}
    slow = time.perf_counter()
    setting.ask()
    slow = time.perf_counter() - slow
    assert slow > 0.06  # half of the deadline
    fast = []
    for user in range(30):
        start = time.perf_counter()
        assert setting.ask(user).degraded == ("source.moody",)
        fast.append(time.perf_counter() - start)
    assert np.median(fast) < slow / 3
    assert threading.active_count() <= before + 1
    assert setting.service.breakers.out() == {"source.moody": "took too long"}
    moods.release()
    for _ in range(200):
        if not setting.service.breakers.out():
            break
        time.sleep(0.005)
    assert setting.ask().degraded == ()
    assert threading.active_count() <= before


def test_many_at_once(setting: Setting, moods: Any) -> None:
    """Everybody who ran into it gets an answer in time; the threads are one for each that hangs, and one for each that asks."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(setting.ask, range(8)))
        before = threading.active_count()
        moods.now = {"source": "hang"}
        outcomes = list(pool.map(setting.ask, range(40)))
        assert all(outcome.answer.m == 10 for outcome in outcomes)
        assert all("source.moody" in outcome.degraded for outcome in outcomes)
        assert threading.active_count() <= before + 24  # 16, and some that a busy machine gave up
        list(pool.map(setting.ask, range(40)))
        assert threading.active_count() <= before + 24  # 16, and some that a busy machine gave up


def test_when_nothing_works_the_list_of_last_resort(moods: Any) -> None:
    """Every part hangs: what somebody unknown got last is what there is, in time."""
    chosen = recipe(
        source=[{"type": f"{PLACE}.MoodySource", "name": "moody", "quota": 30}],
        ranker=[],
        feature=[],
        filter=[{"type": "seen"}],
    )
    setting = Setting(chosen)
    known = setting.ask(-1)
    assert known.degraded == ()
    for mood in ("raise", "hang"):
        moods.now = {"source": mood}
        outcome = setting.ask(5)
        assert outcome.degraded == ("source.moody", "popular")
        clicked = setting.state.history(np.array([5])).of_kinds(DATA.catalogue.kind_codes(("click",))).items
        assert outcome.answer.m == 10
        assert len(clicked)
        assert not set(clicked.tolist()) & set(outcome.answer.item.tolist())


def test_a_budget_of_its_own(moods: Any) -> None:
    """A part is given up after its budget, long before the deadline."""
    source = [
        {"type": "popular", "quota": 30},
        {"type": f"{PLACE}.MoodySource", "name": "moody", "quota": 20, "budget_ms": 15},
    ]
    setting = Setting(recipe(source=source, serve={"deadline_ms": 2000.0}))
    setting.service.warm(setting.batch(), setting.state, 10)
    moods.now = {"source": 0.4}
    start = time.perf_counter()
    assert setting.ask().degraded == ("source.moody",)
    assert time.perf_counter() - start < 0.3


def test_a_slow_part_is_left_out_after_some_failures(setting: Setting, moods: Any) -> None:
    """And tried again after a pause, which doubles."""
    moods.calls.clear()
    moods.now = {"source": "raise"}
    for _ in range(10):
        assert setting.ask().degraded == ("source.moody",)
    assert moods.calls["source"] == 3
    setting.time = 11.0
    for _ in range(5):
        setting.ask()
    assert moods.calls["source"] == 4
    setting.time = 25.0
    setting.ask()
    assert moods.calls["source"] == 4
    setting.time = 32.0
    moods.now = {}
    assert setting.ask().degraded == ()
    assert setting.service.breakers.out() == {}


def test_breakers_count_failures_in_a_row() -> None:
    breakers = Breakers(2, 1.0, clock=lambda: 0.0)
    breakers.failed("a", "no")
    breakers.fine("a")
    breakers.failed("a", "no")
    assert breakers.may("a")
    breakers.failed("a", "no")
    assert not breakers.may("a")
    assert breakers.may("b")


def test_a_deadline_that_has_passed(setting: Setting) -> None:
    """The list of last resort, at once."""
    outcome = setting.service.recommend(setting.batch(), setting.state, 10, since=time.perf_counter() - 10)
    assert outcome.degraded == ("popular",)
    assert outcome.answer.m == 10


def test_a_late_list_is_better_than_an_empty_one(moods: Any) -> None:
    """The deadline has passed for want of a processor, and a filter that must not be passed by takes its time: it is waited for."""
    setting = Setting(recipe(filter=[{"type": f"{PLACE}.MoodyFilter", "name": "moody", "on_error": "drop"}]))
    setting.service.warm(setting.batch(), setting.state, 10)
    moods.now = {"filter": 0.03}
    outcome = setting.service.recommend(setting.batch(), setting.state, 10, since=time.perf_counter() - 10)
    assert outcome.degraded == ("popular",)
    assert outcome.answer.m == 10
    assert (outcome.answer.item % 7 != 0).all()


def test_limits_round_trip_and_are_checked() -> None:
    chosen = recipe(source=[{"type": "popular", "budget_ms": 5, "on_error": "fail"}])
    assert parse(chosen.resolved()) == chosen
    assert chosen.limits["filter.seen"].on_error == "keep"
    assert chosen.limits["filter.moody"].on_error == "keep"
    assert (
        parse({"source": [{"type": "popular"}], "filter": [{"type": "available"}]}).limits["filter.available"].on_error
        == "drop"
    )
    with pytest.raises(ConfigError, match=r"source\[0\]\.on_error: 'keep' is not a choice; choices: skip, fail"):
        recipe(source=[{"type": "popular", "on_error": "keep"}])
    with pytest.raises(ConfigError, match=r"source\[0\]\.budget_ms: -1 is not a number of milliseconds"):
        recipe(source=[{"type": "popular", "budget_ms": -1}])
    with pytest.raises(ConfigError, match=r"serve\.deadline_ms"):
        recipe(serve={"deadline_ms": 0})


def test_whatever_happens_a_list(setting: Setting, moods: Any) -> None:
    """Random moods: always ten items, in time, and the truth about what is missing."""
    setting.ask()
    draw = rng(0, "moods")
    for user in range(12):
        setting.time += 1000
        kinds = ["source", "feature", "ranker", "rule"]
        moods.now = {kind: str(draw.choice(["fine", "raise", "hang"])) for kind in kinds}
        bad = {f"{kind}.moody" for kind, mood in moods.now.items() if mood != "fine"}
        outcome = setting.ask(user)
        assert outcome.answer.m == 10
        assert "popular" in outcome.degraded or {place for place in outcome.degraded if "." in place} >= bad - {
            "feature.moody"
        }
        moods.release()
        time.sleep(0.02)
