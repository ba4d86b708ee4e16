"""Row arithmetic against sorting in plain Python."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core import rows
from shortlist.core.batch import Array, Batch

SCORES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, math.nan, math.inf, -math.inf])


@st.composite
def scored(draw: st.DrawFn) -> tuple[Batch, Array]:
    """Requests with distinct items and scores full of ties, NaN and infinities."""
    runs = draw(
        st.lists(st.lists(st.tuples(st.integers(0, 30), SCORES), max_size=9, unique_by=lambda row: row[0]), max_size=4)
    )
    offsets = np.cumsum([0, *map(len, runs)], dtype=np.int64)
    item = np.array([item for run in runs for item, _ in run], dtype=np.int32)
    scores = np.array(
        [score for run in runs for _, score in run], dtype=draw(st.sampled_from([np.float32, np.float64]))
    )
    return Batch(Batch.of(np.zeros(len(runs), dtype=np.int32), np.zeros(1)).req, offsets, {"item": item}), scores


def ranked(batch: Batch, scores: Array, request: int) -> list[int]:
    """Rows of one request, best first: the definition."""
    mine = range(int(batch.offsets[request]), int(batch.offsets[request + 1]))
    return sorted(mine, key=lambda i: (-scores[i] if math.isfinite(scores[i]) else math.inf, batch.item[i]))


@settings(max_examples=150)
@given(scored(), st.integers(0, 5))
def test_order_top_and_place(world: tuple[Batch, Array], k: int) -> None:
    batch, scores = world
    before = scores.copy()
    expected = [ranked(batch, scores, i) for i in range(batch.n)]
    assert rows.order(batch, scores).tolist() == [row for run in expected for row in run]
    assert rows.top(batch, scores, k).tolist() == [row for run in expected for row in run[:k]]
    places = rows.place(batch, scores)
    assert places.dtype == np.int64
    assert [places[row] for run in expected for row in run] == [i for run in expected for i in range(len(run))]
    np.testing.assert_array_equal(scores, before)


@settings(max_examples=50)
@given(scored())
def test_order_does_not_depend_on_the_order_of_the_rows(world: tuple[Batch, Array]) -> None:
    batch, scores = world
    runs = [np.arange(b - 1, a - 1, -1) for a, b in pairwise(batch.offsets.tolist())]
    back = np.concatenate([np.zeros(0, dtype=np.int64), *runs])
    turned = batch.take(back)
    items = turned.item[rows.order(turned, scores[back])].tolist()
    assert items == batch.item[rows.order(batch, scores)].tolist()


def test_sink_leaves_finite_scores_alone() -> None:
    sunk = rows.sink(np.array([1.5, np.nan, np.inf, -np.inf, -2.0], dtype=np.float32))
    assert sunk.tolist() == [1.5, -np.inf, -np.inf, -np.inf, -2.0]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 5), max_size=6))
def test_run_place_and_offsets(counts: list[int]) -> None:
    offsets = rows.offsets_of(np.array(counts, dtype=np.int64))
    assert offsets.tolist() == [sum(counts[:i]) for i in range(len(counts) + 1)]
    assert rows.run_place(offsets).tolist() == [i for count in counts for i in range(count)]


@settings(max_examples=100)
@given(scored(), st.data())
def test_member(world: tuple[Batch, Array], data: st.DataObject) -> None:
    batch, _ = world
    sets = data.draw(st.lists(st.lists(st.integers(0, 30), max_size=6), min_size=batch.n, max_size=batch.n))
    offsets = rows.offsets_of(np.array([len(own) for own in sets], dtype=np.int64))
    items = np.array([item for own in sets for item in own], dtype=np.int32)
    found = rows.member(batch, offsets, items)
    assert found.tolist() == [item in sets[i] for item, i in zip(batch.item.tolist(), batch.owner, strict=True)]


@pytest.mark.parametrize("counts", [[0], [0, 0], []])
def test_nothing_in_nothing_out(counts: list[int]) -> None:
    batch = Batch.of(np.zeros(len(counts), dtype=np.int32), np.zeros(1))
    for found in (rows.order(batch, np.zeros(0)), rows.top(batch, np.zeros(0), 3), rows.place(batch, np.zeros(0))):
        assert found.tolist() == []
