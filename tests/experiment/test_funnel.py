"""The funnel against plain loops: every target has exactly one fate, and the shares are what is counted."""

from __future__ import annotations

import functools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.batch import Batch
from shortlist.core.rows import locate, offsets_of
from shortlist.data.dataset import encode
from shortlist.data.synthetic import START
from shortlist.data.timeline import Requests
from shortlist.experiment.fit import Fitted, fit
from shortlist.experiment.funnel import STAGES, Funnel
from shortlist.experiment.replay import asked
from shortlist.pipeline.trace import Trace
from tests.parity.worlds import DAY, FILTERS, RANKERS, RULES, recipe, shop

NOW = START + 8 * DAY
K = 5


@functools.cache
def everything() -> tuple[Fitted, Requests]:
    """A pipeline with few candidates, a filter that meets some of them, rules that leave three, and the requests of the day after."""
    data = encode(shop())
    late = {"type": "tests.pipeline.test_pipeline.Nth", "by": 6}
    rules = [*RULES[:-1], {"type": "top", "k": 3}]
    chosen = recipe(filter=[*FILTERS, late], pipeline={"pool": 25}, ranker=[{**RANKERS[0], "keep": 0}], rule=rules)
    made = fit(chosen, data, splits=chosen.timeline.at(data, NOW))
    test = chosen.timeline.splits(data)[-1][-1]
    return made, chosen.timeline.requests(data, test, data.catalogue.kind_codes(["click"]))


def measured(chunk: int) -> tuple[Funnel, list[tuple[int, int, Trace]]]:
    """The funnel over all requests, `chunk` at a time, and the traces that it was given."""
    made, requests = everything()
    funnel = Funnel(list(made.pipeline.sources), K)
    traces = []
    for first in range(0, len(requests), chunk):
        last = min(first + chunk, len(requests))
        trace = Trace()
        batch = asked(requests, first, last, made.data, [])
        made.pipeline.recommend(batch, made.state, 10, trace)
        funnel.add(batch, trace, requests, first, last, made.pipeline, made.state)
        traces.append((first, last, trace))
    return funnel, traces


def items(batch: Batch, i: int) -> list[int]:
    """The items of one request."""
    return [int(item) for item in batch.item[batch.offsets[i] : batch.offsets[i + 1]]]


def test_every_target_has_one_fate() -> None:
    """Counted one by one from the trace."""
    made, requests = everything()
    funnel, traces = measured(10_000)
    (_, _, trace), names = traces[0], list(made.pipeline.sources)
    assert trace.pool is not None
    assert trace.dropped is not None
    assert trace.ranked is not None
    assert trace.answer is not None
    fates: Counter[str] = Counter()
    by_source: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    oracle = []
    for i in range(len(requests)):
        rows = range(trace.pool.offsets[i], trace.pool.offsets[i + 1])
        kept = {int(trace.pool.item[row]): row for row in rows if trace.dropped[row] < 0}
        targets = [int(item) for item in requests.items[requests.offsets[i] : requests.offsets[i + 1]]]
        for target in targets:
            one = Batch(
                {name: column[i : i + 1] for name, column in trace.pool.req.items()},
                np.array([0, 1]),
                {"item": np.array([target], dtype=np.int32)},
            )
            if target in items(trace.answer, i)[:K]:
                fate = "hit"
            elif not all(part.keep(one, made.state)[0] for part in made.pipeline.filters.values()):
                fate = "filtered"
            elif target not in kept:
                fate = "missed"
            elif target in items(trace.ranked, i)[:K]:
                fate = "ruled_out"
            else:
                fate = "misranked"
            fates[fate] += 1
            finders = [n for n in names if target in kept and np.isfinite(trace.pool.cand[f"rank_{n}"][kept[target]])]
            by_source.update(finders)
            if len(finders) == 1:
                alone[finders[0]] += 1
        hits = sum(target in kept for target in targets)
        gain = [1 / math.log2(place + 2) for place in range(K)]
        oracle.append(sum(gain[:hits]) / sum(gain[: len(targets)]))
    total = sum(fates.values())
    assert total == len(requests.items)
    assert set(fates) == set(STAGES), "a fate that is never met is not tested"
    result = funnel.result({"source.itemknn": 2.0})
    assert result["targets"] == total
    assert result["stages"] == pytest.approx({name: fates[name] / total for name in STAGES})
    assert sum(result["stages"].values()) == pytest.approx(1.0, abs=1e-12)
    found = sum(fates[name] for name in ("misranked", "ruled_out", "hit"))
    assert result["recall@pool"] == pytest.approx(found / total)
    assert result[f"oracle_ndcg@{K}"] == pytest.approx(np.mean(oracle))
    assert result["pool_size"] == pytest.approx((trace.dropped < 0).sum() / len(requests))
    for name in names:
        own = result["sources"][name]
        assert own["recall@pool"] == pytest.approx(by_source[name] / total)
        assert own["unique_hits"] == alone[name]
        assert own["marginal_recall"] == pytest.approx(alone[name] / total)
        assert own["ms_per_request"] == (round(2000 / len(requests), 4) if name == "itemknn" else 0)
    assert sum(alone.values()) > 0


@pytest.mark.parametrize("chunk", [1, 7])
def test_chunks_do_not_matter(chunk: int) -> None:
    assert measured(chunk)[0].result({}) == measured(10_000)[0].result({})


ragged = st.lists(st.lists(st.integers(0, 6), max_size=5, unique=True), min_size=1, max_size=4)


@given(ragged, ragged)
def test_locate_is_the_plain_loop(one: list[list[int]], other: list[list[int]]) -> None:
    n = min(len(one), len(other))

    def batch(lists: list[list[int]]) -> Batch:
        flat = np.array([item for items in lists for item in items], dtype=np.int32)
        return Batch(
            Batch.of(np.zeros(n), np.array(0)).req,
            offsets_of(np.array([len(entry) for entry in lists])),
            {"item": flat},
        )

    targets, among = batch(one[:n]), batch(other[:n])
    starts = among.offsets
    expected = [int(starts[i]) + other[i].index(item) if item in other[i] else -1 for i in range(n) for item in one[i]]
    assert locate(targets, among).tolist() == expected
