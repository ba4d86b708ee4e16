"""Graded gain and loss against plain loops, and against figures worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.errors import DataError
from shortlist.core.rows import offsets_of
from shortlist.metric.graded import graded

GOOD = 4.0


def measured(shown: list[int], rated: dict[int, float], k: int) -> dict[str, float]:
    targets, values = np.array(list(rated)), np.array(list(rated.values()))
    got = graded(np.array([0, len(shown)]), np.array(shown), np.array([0, len(targets)]), targets, values, k, GOOD)
    return {name: float(each[0]) for name, each in got.items()}


def slow(shown: list[int], rated: dict[int, float], k: int) -> dict[str, float]:
    """Straight from the definitions."""
    best = sorted(rated, key=lambda item: -rated[item])
    out = {}
    for name, liked in (("ndcg", True), ("ndcl", False)):
        totals = []
        for row in (shown, best):
            total = 0.0
            for rank, item in enumerate(row[:k], 1):
                value = rated.get(item)
                if value is not None and (value >= GOOD) == liked:
                    total += (2**value - 1 if liked else 1 - 2 ** (value - GOOD)) / math.log2(rank + 1)
            totals.append(total)
        out[name] = totals[0] / totals[1] if totals[1] else math.nan
    return out


@given(
    st.lists(st.integers(0, 12), max_size=12, unique=True),
    st.dictionaries(st.integers(0, 12), st.integers(1, 5).map(float), min_size=1, max_size=10),
    st.integers(1, 12),
)
def test_equals_the_definitions(shown: list[int], rated: dict[int, float], k: int) -> None:
    got, wanted = measured(shown, rated, k), slow(shown, rated, k)
    for name in wanted:
        assert got[name] == pytest.approx(wanted[name], abs=1e-12, nan_ok=True)


def test_by_hand() -> None:
    """Liked 5 and 4, disliked 1; shown: the disliked, something else, the one that was liked most."""
    got = measured([3, 9, 1], {1: 5.0, 2: 4.0, 3: 1.0}, 3)
    assert got["ndcg"] == pytest.approx((31 / 2) / (31 + 15 / math.log2(3)))
    assert got["ndcl"] == pytest.approx(1 / (1 / 2))  # shown first, where a perfect list shows it third


def test_nothing_to_gain_or_to_lose() -> None:
    assert math.isnan(measured([1], {1: 2.0}, 5)["ndcg"])
    assert math.isnan(measured([1], {1: 5.0}, 5)["ndcl"])
    assert measured([7], {1: 5.0}, 5)["ndcg"] == 0.0


def test_many_are_one_by_one() -> None:
    rows = [([1, 2], {2: 5.0, 3: 1.0}), ([], {1: 4.0}), ([3, 1], {3: 2.0})]
    shown = np.array([item for row, _ in rows for item in row])
    targets = np.array([item for _, rated in rows for item in rated])
    values = np.array([value for _, rated in rows for value in rated.values()])
    offsets, target_offsets = (offsets_of(np.array([len(row[side]) for row in rows])) for side in (0, 1))
    together = graded(offsets, shown, target_offsets, targets, values, 2, GOOD)
    for i, (row, rated) in enumerate(rows):
        for name, each in measured(row, rated, 2).items():
            assert together[name][i] == pytest.approx(each, nan_ok=True)


def test_what_cannot_be_judged_is_an_error() -> None:
    with pytest.raises(DataError, match="have no targets"):
        graded(np.array([0, 1]), np.array([1]), np.array([0, 0]), np.zeros(0), np.zeros(0), 5, GOOD)
