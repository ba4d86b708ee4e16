"""Beyond-accuracy figures against plain loops, and against figures worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from shortlist.core.batch import Array
from shortlist.core.errors import DataError
from shortlist.core.rows import offsets_of
from shortlist.metric.beyond import coverage, diversity, gini, lift, novelty, popularity, tail

ITEMS = 8
COUNTS = np.array([50, 20, 10, 10, 6, 3, 1, 0])
lists = st.lists(st.lists(st.integers(-1, ITEMS - 1), max_size=6), min_size=1, max_size=6)


def ragged(rows: list[list[int]]) -> tuple[Array, Array]:
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    return offsets_of(counts), np.array([item for row in rows for item in row], dtype=np.int32)


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


@given(lists, st.integers(1, 7))
def test_whole_catalogue_figures(rows: list[list[int]], k: int) -> None:
    shown = [item for row in rows for item in row[:k] if item >= 0]
    assert coverage(*ragged(rows), k, ITEMS) == len(set(shown)) / ITEMS
    exposures = [shown.count(item) for item in range(ITEMS)]
    got = gini(*ragged(rows), k, ITEMS)
    if not shown:
        assert math.isnan(got)
        return
    gaps = sum(abs(x - y) for x in exposures for y in exposures)
    assert got == pytest.approx(
        gaps / (2 * ITEMS * sum(exposures)), abs=1e-12
    )  # half the mean difference over the mean


@given(lists, st.integers(1, 7))
def test_popularity_figures(rows: list[list[int]], k: int) -> None:
    lists_shown = [[item for item in row[:k] if item >= 0] for row in rows]
    bits = [mean([-math.log2(max(int(COUNTS[item]), 1) / 100) for item in row]) for row in lists_shown]
    assert_allclose(novelty(*ragged(rows), k, COUNTS), bits, atol=1e-12)
    events = [mean([float(COUNTS[item]) for item in row]) for row in lists_shown]
    assert_allclose(popularity(*ragged(rows), k, COUNTS), events, atol=1e-12)
    in_tail = [mean([float(item > 2) for item in row]) for row in lists_shown]  # 50 + 20 + 10 = 80% of the events
    assert_allclose(tail(*ragged(rows), k, COUNTS), in_tail, atol=1e-12)


@settings(deadline=None)
@given(lists, st.integers(1, 7), st.lists(st.sets(st.integers(0, 4), max_size=3), min_size=ITEMS, max_size=ITEMS))
def test_diversity(rows: list[list[int]], k: int, tags: list[set[int]]) -> None:
    expected = []
    for row in rows:
        shown = [item for item in row[:k] if item >= 0]
        pairs = [(tags[a], tags[b]) for i, a in enumerate(shown) for b in shown[i + 1 :]]
        expected.append(mean([1 - len(a & b) / len(a | b) if a | b else 1.0 for a, b in pairs]))
    assert_allclose(diversity(*ragged(rows), k, *ragged([sorted(tag) for tag in tags])), expected, atol=1e-12)


def test_by_hand() -> None:
    rows = [[0, 1], [0, 2], [0]]
    assert coverage(*ragged(rows), 10, 4) == 0.75
    assert gini(*ragged([[0, 1], [2, 3]]), 10, 4) == 0.0
    assert gini(*ragged([[0], [0]]), 10, 4) == 0.75
    assert novelty(*ragged([[0, 1]]), 10, np.array([2, 1, 1])).tolist() == [1.5]
    assert diversity(*ragged([[0, 1, 2]]), 10, *ragged([[7], [7], [5]]))[0] == pytest.approx(2 / 3)


def test_later_items_count_as_met_never() -> None:
    """Code 5 came after the counts were taken."""
    assert novelty(*ragged([[5]]), 10, np.array([3, 1])).tolist() == [2.0]
    assert popularity(*ragged([[5]]), 10, np.array([3, 1])).tolist() == [0.0]
    assert tail(*ragged([[5]]), 10, np.array([3, 1])).tolist() == [1.0]


def test_lift() -> None:
    assert lift(np.array([30.0, 30.0, np.nan]), np.array([10.0, 30.0, 5.0])) == pytest.approx(0.5)
    assert lift(np.array([4.0]), np.array([4.0])) == 0.0
    assert math.isnan(lift(np.array([4.0]), np.array([np.nan])))


def test_what_cannot_be_is_an_error() -> None:
    rows = ragged([[0, 1, 2]])
    with pytest.raises(DataError, match="a catalogue of 2 items cannot show 3"):
        coverage(*rows, 10, 2)
    with pytest.raises(DataError, match="a catalogue of 2 items cannot show 3"):
        gini(*rows, 10, 2)
    with pytest.raises(DataError, match="item code 2 is shown, but tags are given for 2 items"):
        diversity(*rows, 10, *ragged([[1], [2]]))
    with pytest.raises(DataError, match="all zero"):
        novelty(*rows, 10, np.zeros(3))
