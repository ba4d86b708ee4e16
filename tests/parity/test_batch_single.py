"""One request at a time gives what many at once give, to the bit: every stage, every built-in part; and how many are handled at
a time (`chunk`) changes nothing."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.core.batch import Batch, concat
from shortlist.core.component import build, names
from shortlist.core.rng import rng
from shortlist.data.dataset import encode
from shortlist.data.synthetic import START
from shortlist.experiment.backtest import backtest
from shortlist.experiment.fit import Fitted, fit
from shortlist.pipeline.trace import Trace
from shortlist.serve.engine import Engine
from tests.parity.worlds import (
    DAY,
    FEATURES,
    FILTERS,
    INSTEAD,
    RANKERS,
    RULES,
    SOURCES,
    recipe,
    same_arrays,
    same_batches,
    shop,
)  # fmt: skip

NOW = START + 8 * DAY


@functools.cache
def everything() -> Fitted:
    """Every part, fitted as of NOW on a log that goes on."""
    data = encode(shop())
    chosen = recipe()
    return fit(chosen, data, splits=chosen.timeline.at(data, NOW))


def asked(n: int, spread: int = 2 * DAY, seed: int = 0) -> Batch:
    """Requests of known users, of users met later, and of nobody, at moments before and after the state's."""
    draw = rng(seed, "asked")
    users = draw.integers(-1, len(everything().data.catalogue.users), n)
    device = draw.integers(-1, len(everything().data.catalogue.context["device"]), n).astype(np.int32)
    load = np.where(draw.random(n) < 0.3, np.nan, draw.random(n)).astype(np.float32)
    return Batch.of(users, NOW + draw.integers(-spread, spread + 1, n), device=device, load=load)


def traced(batch: Batch) -> Trace:
    """Through all stages."""
    trace = Trace()
    everything().pipeline.recommend(batch, everything().state, 10, trace)
    return trace


def stages(trace: Trace) -> dict[str, Batch]:
    """The batch after every stage; the filter that dropped a row is a column."""
    assert trace.pool is not None
    assert trace.dropped is not None
    assert trace.ranked is not None
    assert trace.answer is not None
    return {"pool": trace.pool.with_columns({"dropped": trace.dropped}), "ranked": trace.ranked, "answer": trace.answer}


@pytest.mark.parametrize(
    ("kind", "entries"),
    [("retrieve", SOURCES), ("order", FILTERS + RULES + INSTEAD), ("feature", FEATURES), ("rank", RANKERS)],
)
def test_the_recipe_of_these_tests_has_every_part(kind: str, entries: list[dict[str, Any]]) -> None:
    """A new part is put to the sacred tests by its line in worlds.py."""
    assert set(names(kind)) <= {entry["type"] for entry in entries}


@pytest.mark.parametrize("spread", [0, 2 * DAY], ids=["one moment", "many moments"])
def test_one_at_a_time_is_many_at_once(spread: int) -> None:
    """At one moment (an offline run) and at many (a replay)."""
    batch = asked(60, spread)
    many = stages(traced(batch))
    assert many["answer"].m > 5 * batch.n
    one = [stages(traced(batch.request(i))) for i in range(batch.n)]
    for stage, whole in many.items():
        assert list(one[0][stage].cand) == list(whole.cand)
        same_batches(concat([each[stage] for each in one]), whole)


@pytest.mark.parametrize("entry", INSTEAD, ids=lambda entry: str(entry["type"]))
def test_a_rule_that_draws_in_the_place_of_another(entry: dict[str, Any]) -> None:
    """Alone and among others, it draws the same, with the same propensities."""
    fitted = everything()
    rules = {name: part for name, part in fitted.pipeline.rules.items() if name != "plackett_luce"}
    top = rules.pop("top")
    pipeline = replace(fitted.pipeline, rules={**rules, entry["type"]: build("order", entry, "rule[0]"), "top": top})
    batch = asked(60)
    many = pipeline.recommend(batch, fitted.state, 10)
    assert (many.cand["propensity"] < 1).any()
    same_batches(concat([pipeline.recommend(batch.request(i), fitted.state, 10) for i in range(batch.n)]), many)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_neighbours_do_not_matter(size: int) -> None:
    """In pieces and in another order, a request gets the same."""
    batch = asked(40, seed=1)
    whole = stages(traced(batch))
    order = rng(0, "order").permutation(batch.n)
    pieces = [stages(traced(batch.only(order[i : i + size]))) for i in range(0, batch.n, size)]
    for stage in whole:
        same_batches(concat([piece[stage] for piece in pieces]), whole[stage].only(order))


def test_nobody_asks() -> None:
    """No requests, no answers, and the same columns."""
    none = stages(traced(asked(3).only(np.zeros(0, dtype=np.int64))))
    some = stages(traced(asked(3)))
    for stage, batch in none.items():
        assert (batch.n, batch.m) == (0, 0)
        assert {name: column.dtype for name, column in batch.cand.items()} == {
            name: column.dtype for name, column in some[stage].cand.items()
        }


@pytest.mark.parametrize("name", [entry.get("name", entry["type"]) for entry in SOURCES])
def test_every_source_alone(name: str) -> None:
    """Hits and the scores of all items, under a mask."""
    made, batch = everything(), asked(40, seed=2)
    source, quota = made.pipeline.sources[name], made.pipeline.quotas[name]
    many = source.retrieve(batch, made.state, quota, made.pipeline._mask(batch, made.state))
    assert (many.items >= 0).any(), "found nothing: the comparison says nothing"
    for i in range(batch.n):
        single = batch.request(i)
        one = source.retrieve(single, made.state, quota, made.pipeline._mask(single, made.state))
        same_arrays(one.items[0], many.items[i])
        same_arrays(one.scores[0], many.scores[i])
        if many.full is not None:
            same_arrays(one.full[0], many.full[i if len(many.full) > 1 else 0])


@pytest.mark.parametrize("labels", ["window", "next"])
def test_chunk_changes_no_run(labels: str, tmp_path: Path) -> None:
    """A whole backtest, frames and all, in pieces of 1, 7 and 256 requests."""
    data = encode(shop())
    tables = []
    for chunk in (256, 7, 1):
        chosen = recipe(
            pipeline={"chunk": chunk}, timeline={"labels": labels}, train={"requests": 30}, evaluate={"users": 40}
        )
        backtest(chosen, data, tmp_path / str(chunk))
        files = [tmp_path / str(chunk) / name for name in ("recommendations.parquet", "requests.parquet")]
        tables.append([pl.read_parquet(path) for path in files])
    assert len(tables[0][0]) > 100
    for other in tables[1:]:
        for got, expected in zip(other, tables[0], strict=True):
            assert got.equals(expected, null_equal=True)


@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_chunk_changes_no_answers(chunk: int) -> None:
    """All users at once, in pieces, and one by one through the engine."""
    made = everything()
    engine = Engine(made.pipeline, made.state, k=5, chunk=256, context=("device", "load"))
    users = [*made.data.catalogue.users.ids.series().to_list(), "nobody"]
    expected = engine.recommend_all(users, at=NOW)
    engine.chunk = chunk
    assert engine.recommend_all(users, at=NOW).equals(expected)
    for user in users[:: 1 if chunk == 1 else 20]:
        items = engine.recommend({"user_id": user, "time": NOW})["items"]
        own = expected.filter(pl.col("user_id") == user)
        assert [entry["item_id"] for entry in items] == own["item_id"].to_list()
        assert [entry["score"] for entry in items] == own["score"].to_list()
