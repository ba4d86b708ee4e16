"""Ranking metrics against plain loops, and against figures worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError, DataError
from shortlist.core.rows import offsets_of
from shortlist.metric.ranking import NAMES, named, parse, ranking

Lists = list[list[int]]


def ragged(rows: Lists) -> tuple[Array, Array]:
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    return offsets_of(counts), np.array([item for row in rows for item in row], dtype=np.int32)


def measure(shown: Lists, targets: Lists, k: int, capped: bool = False, whole: bool = False) -> dict[str, list[float]]:
    found = ranking(*ragged(shown), *ragged(targets), k, capped=capped, whole=whole)
    return {name: list(v) for name, v in found.items()}


def slow(shown: list[int], targets: list[int], k: int, capped: bool, whole: bool) -> dict[str, float]:
    """One request, straight from the definitions."""
    wanted = {item for item in targets if item >= 0}
    size = len(wanted) + sum(item < 0 for item in targets)
    relevant = []
    for rank, item in enumerate(shown[:k], 1):
        if item in wanted and item not in shown[: rank - 1]:
            relevant.append(rank)
    dcg = sum(1 / math.log2(rank + 1) for rank in relevant)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, size) + 1))
    precision_at_hits = sum(sum(other <= rank for other in relevant) / rank for rank in relevant)
    return {
        "ndcg": dcg / ideal,
        "hitrate": float(bool(relevant)),
        "mrr": 1 / relevant[0] if relevant else 0.0,
        "recall": len(relevant) / (min(k, size) if capped else size),
        "precision": len(relevant) / k,
        "map": precision_at_hits / (size if whole else min(k, size)),
    }


request_lists = st.tuples(
    st.lists(st.integers(-1, 12), max_size=12), st.lists(st.integers(-1, 12), min_size=1, max_size=8)
)


@settings(deadline=None)  # the first example compiles
@given(st.lists(request_lists, min_size=1, max_size=6), st.integers(1, 15), st.booleans(), st.booleans())
def test_equals_the_definitions(requests: list[tuple[list[int], list[int]]], k: int, capped: bool, whole: bool) -> None:
    shown, targets = [list(row) for row, _ in requests], [list(row) for _, row in requests]
    fast = measure(shown, targets, k, capped, whole)
    assert set(fast) == set(NAMES)
    for i in range(len(requests)):
        for name, value in slow(shown[i], targets[i], k, capped, whole).items():
            assert fast[name][i] == pytest.approx(value, abs=1e-12)
            assert 0.0 <= fast[name][i] <= 1.0 + 1e-12


@settings(deadline=None)  # the first example compiles
@given(st.lists(request_lists, min_size=1, max_size=6))
def test_one_request_is_its_row_of_the_batch(requests: list[tuple[list[int], list[int]]]) -> None:
    together = measure([row for row, _ in requests], [row for _, row in requests], 5)
    for i, (shown, targets) in enumerate(requests):
        alone = measure([shown], [targets], 5)
        assert all(alone[name][0] == together[name][i] for name in NAMES)


def test_by_hand() -> None:
    """Shown 5 3 9 1, targets 3 1 7, k = 4: hits at ranks 2 and 4."""
    got = measure([[5, 3, 9, 1]], [[3, 1, 7]], 4)
    gain = 1 / math.log2(3) + 1 / math.log2(5)
    assert got["ndcg"][0] == pytest.approx(gain / (1 + 1 / math.log2(3) + 0.5))
    assert got["ndcg"][0] == pytest.approx(0.49818925465669757)
    assert got["hitrate"] == [1.0]
    assert got["mrr"] == [0.5]
    assert got["recall"][0] == pytest.approx(2 / 3)
    assert got["precision"] == [0.5]
    assert got["map"][0] == pytest.approx((1 / 2 + 2 / 4) / 3)


def test_the_cut_limits_the_ideal_and_the_average_precision() -> None:
    """Two hits in the first two of four targets are perfect at k = 2, except for recall unless it is capped."""
    got = measure([[0, 1, 8, 9]], [[0, 1, 2, 3]], 2)
    assert (got["ndcg"], got["map"], got["recall"]) == ([1.0], [1.0], [0.5])
    assert measure([[0, 1, 8, 9]], [[0, 1, 2, 3]], 2, capped=True)["recall"] == [1.0]
    assert measure([[0, 1, 8, 9]], [[0, 1, 2, 3]], 2, whole=True)["map"] == [0.5]


def test_short_empty_and_padded_lists() -> None:
    got = measure([[4], [], [-1, 4]], [[4], [4], [4]], 10)
    assert got["precision"] == [0.1, 0.0, 0.1]
    assert got["mrr"] == [1.0, 0.0, 0.5]


def test_twice_is_once() -> None:
    """A target named twice is one target; an item shown twice is one hit."""
    got = measure([[4, 4]], [[4, 4]], 2)
    assert (got["recall"], got["precision"], got["ndcg"]) == ([1.0], [0.5], [1.0])


def test_targets_outside_the_catalogue_count() -> None:
    assert measure([[4, -1]], [[4, -1, -1]], 10)["recall"][0] == pytest.approx(1 / 3)


def test_request_without_targets_is_an_error() -> None:
    with pytest.raises(DataError, match="1 of 2 requests have no targets; the first is request 1"):
        measure([[1], [2]], [[1], []], 10)


def test_offsets_that_do_not_fit_are_errors() -> None:
    offsets, items = ragged([[1, 2]])
    with pytest.raises(DataError, match="target offsets must rise from 0 to 1"):
        ranking(offsets, items, offsets, items[:1], 10)
    with pytest.raises(DataError, match="lists of 1 requests, but targets of 2"):
        ranking(offsets, items, *ragged([[1], [1]]), 10)
    with pytest.raises(DataError, match="k must be at least 1"):
        ranking(offsets, items, offsets, items, 0)


def test_metrics_by_name() -> None:
    offsets, items = ragged([[1, 2, 3]])
    got = named(["precision@1", "recall@3", "ndcg@3"], offsets, items, *ragged([[3]]))
    assert list(got) == ["precision@1", "recall@3", "ndcg@3"]
    assert [float(values[0]) for values in got.values()] == [0.0, 1.0, 0.5]


@pytest.mark.parametrize("name", ["ndcg", "ndcg@", "ndcg@0", "ndcg@x", "ndgc@10", "@10", "ndcg@-1"])
def test_unknown_metric_names_the_choices(name: str) -> None:
    with pytest.raises(ConfigError, match="write one of ndcg, hitrate"):
        parse(name)
