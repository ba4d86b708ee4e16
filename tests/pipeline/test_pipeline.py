"""The pipeline: nothing is lost or invented on the way, and every row's fate is told."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch
from shortlist.core.component import param
from shortlist.core.contracts import Feature, Filter, State
from shortlist.core.errors import ConfigError
from shortlist.data.dataset import encode
from shortlist.data.synthetic import START
from shortlist.experiment.fit import Fitted, fit
from shortlist.pipeline.pipeline import Pipeline
from shortlist.pipeline.trace import Trace
from tests.parity.worlds import DAY, FILTERS, RANKERS, RULES, recipe, shop

NOW = START + 8 * DAY
K = 10


@dataclass
class Nth(Filter):
    """Drops every item whose code leaves this rest; says nothing beforehand, so that rows reach it."""

    by: int = param(5, "divisor")
    rest: int = param(0, "rest")

    def keep(self, batch: Batch, state: State) -> Array:
        """(m,) bool."""
        keep: Array = batch.item % self.by != self.rest
        return keep


@dataclass
class Twice(Feature):
    """A column that is there already."""

    def compute(self, batch: Batch, state: State) -> dict[str, Array]:
        """The merge's own column."""
        return {"best_rank": batch.cand["best_rank"]}


@functools.cache
def everything() -> Fitted:
    """Every part, and two filters that drop rows only after the merge."""
    data = encode(shop())
    place = "tests.pipeline.test_pipeline.Nth"
    late = [{"type": place}, {"type": place, "name": "third", "by": 3, "rest": 1}]
    chosen = recipe(filter=[*FILTERS, *late], ranker=[{**RANKERS[0], "keep": 9}, RANKERS[1]])
    return fit(chosen, data, splits=chosen.timeline.at(data, NOW))


def asked() -> Batch:
    """Everybody, and nobody."""
    return Batch.of(np.arange(-1, len(everything().data.catalogue.users)), np.array(NOW))


def traced(pipeline: Pipeline | None = None) -> tuple[Trace, Batch, Batch, Batch]:
    """A trace, and its three batches."""
    trace = Trace()
    (pipeline or everything().pipeline).recommend(asked(), everything().state, K, trace)
    assert trace.pool is not None
    assert trace.ranked is not None
    assert trace.answer is not None
    return trace, trace.pool, trace.ranked, trace.answer


def items(batch: Batch, i: int) -> list[int]:
    """The items of one request."""
    return [int(item) for item in batch.item[batch.offsets[i] : batch.offsets[i + 1]]]


def test_every_row_has_exactly_one_fate() -> None:
    """Per request: the pool is what filters dropped, what the light ranker cut, what the rules or k left out, and the answer."""
    made = everything()
    trace, pool, ranked, answer = traced()
    assert trace.dropped is not None
    fates: Counter[str] = Counter()
    for i in range(pool.n):
        whole, dropped = items(pool, i), trace.dropped[pool.offsets[i] : pool.offsets[i + 1]]
        assert len(set(whole)) == len(whole) <= made.pipeline.pool
        kept = [item for item, out in zip(whole, dropped, strict=True) if out < 0]
        assert set(items(ranked, i)) <= set(kept)
        assert len(items(ranked, i)) == min(len(kept), 9)
        assert set(items(answer, i)) <= set(items(ranked, i))
        assert len(set(items(answer, i))) == len(items(answer, i)) <= K
        for item, out in zip(whole, dropped, strict=True):
            told = trace.why(item, list(made.pipeline.filters), i)
            assert told["found"]
            reason = str(told["reason"])
            fates[reason] += 1
            if out >= 0:
                assert reason == f"filtered by {list(made.pipeline.filters)[out]}"
            elif item not in items(ranked, i):
                assert reason == "cut by a light ranker"
            elif item not in items(answer, i):
                assert reason == "ranked below the answer, or ruled out"
            else:
                assert reason == "shown"
                assert told["answer"] == items(answer, i).index(item) + 1
                assert told["ranked"] == items(ranked, i).index(item) + 1
        missed = next(item for item in range(len(made.data.catalogue.items)) if item not in whole)
        assert trace.why(missed, list(made.pipeline.filters), i) == {
            "found": False,
            "reason": "missed: no source returned it",
        }
    assert sum(fates.values()) == pool.m
    wanted = {"filtered by Nth", "filtered by third", "cut by a light ranker", "shown"}
    assert wanted <= set(fates), "a fate that is never met is not tested"


def test_the_first_filter_that_drops_a_row_is_named() -> None:
    """And `dropped` is what the filters say, one by one."""
    made = everything()
    trace, pool, *_ = traced()
    assert trace.dropped is not None
    keeps = [part.keep(pool, made.state) for part in made.pipeline.filters.values()]
    for row in range(pool.m):
        first = next((f for f, keep in enumerate(keeps) if not keep[row]), -1)
        assert trace.dropped[row] == first
    assert (made.pipeline.allowed(pool, made.state) == (trace.dropped < 0)).all()


def test_ranked_is_in_the_order_of_its_score() -> None:
    """Best first, equal ones by item code."""
    _, _, ranked, _ = traced()
    for i in range(ranked.n):
        rows = range(ranked.offsets[i], ranked.offsets[i + 1])
        keys = [(-float(ranked.cand["score"][row]), int(ranked.item[row])) for row in rows]
        assert keys == sorted(keys)


@pytest.mark.parametrize("name", ["itemknn", "popular"])
def test_fallback_is_the_order_of_one_source(name: str) -> None:
    """Its own hits first, then the others by their best rank."""
    _, _, ranked, _ = traced(replace(everything().pipeline, fallback=name, rules={}))
    met = 0
    for i in range(ranked.n):
        rows = range(ranked.offsets[i], ranked.offsets[i + 1])
        own, best = ranked.cand[f"rank_{name}"], ranked.cand["best_rank"]
        keys = [
            (0, float(own[row]), 0) if np.isfinite(own[row]) else (1, float(best[row]), int(ranked.item[row]))
            for row in rows
        ]
        assert keys == sorted(keys)
        met += sum(key[0] for key in keys)
    assert met > 0


def test_without_a_ranker_the_first_source_orders() -> None:
    """A recipe of sources only is complete."""
    data = encode(shop())
    chosen = recipe(ranker=[], feature=[], rule=[])
    made = fit(chosen, data, splits=chosen.timeline.at(data, NOW))
    answer = made.pipeline.recommend(asked(), made.state, 3)
    assert (np.diff(answer.offsets) == 3).all()
    assert (answer.cand["rank_popular"][answer.offsets[:-1]] <= 3).all()


def test_a_column_may_be_made_once() -> None:
    made = everything()
    pipeline = replace(made.pipeline, features={**made.pipeline.features, "twice": Twice()})
    with pytest.raises(ConfigError, match="feature 'twice': the column 'best_rank' exists already"):
        pipeline.recommend(asked(), made.state, K)


def test_a_context_value_that_no_event_has_brought_is_unknown() -> None:
    """A log encoded at once has codes for devices of the future; a live service does not, so neither may the pipeline."""
    made = everything.__wrapped__()  # one of its own: the catalogue grows
    future = made.data.catalogue.context["device"].add("a device of the future")
    one = Batch.of(np.array([3, 3]), np.array(NOW), device=np.array([future, -1], dtype=np.int32))
    pool = made.pipeline.add_features(made.pipeline.retrieve(one, made.state), made.state)
    assert pool.req["device"].tolist() == [-1, -1]
    for name, column in pool.cand.items():
        first, second = np.split(column, [pool.offsets[1]])
        np.testing.assert_array_equal(first, second, err_msg=name)


def test_chance_depends_on_the_request_alone() -> None:
    """The rule that shuffles draws anew at another moment, and for another user, and the same for users nobody knows."""
    assert [rule["type"].rpartition(".")[2] for rule in RULES[-3:]] == ["Shuffle", "plackett_luce", "top"]
    made = everything.__wrapped__()  # one of its own: the catalogue grows
    catalogue = made.data.catalogue
    unknown = catalogue.users.add("nobody yet")

    def orders(user: int) -> Any:
        batch = Batch.of(np.full(30, user), NOW + np.arange(30))
        return made.pipeline.recommend(batch, made.state, K).item.tolist()

    assert orders(3) == orders(3)
    assert orders(unknown) == orders(-1)
    one = Batch.of(np.full(30, 3), NOW + np.arange(30))
    answer = made.pipeline.recommend(one, made.state, K)
    assert len({tuple(items(answer, i)) for i in range(answer.n)}) > 5
