"""Calibration against a plain loop, and on numbers with a known answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.errors import DataError
from shortlist.core.rng import rng
from shortlist.metric.calibration import reliability


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=40), st.integers(1, 12))
def test_equals_the_plain_loop(rows: list[tuple[float, int]], bins: int) -> None:
    edges = [j / bins for j in range(1, bins)]
    held: dict[int, list[tuple[float, int]]] = {}
    for p, label in rows:
        held.setdefault(sum(p >= edge for edge in edges), []).append((p, label))
    expected = 0.0
    for members in held.values():
        gap = sum(label for _, label in members) - sum(p for p, _ in members)
        expected += abs(gap) / len(rows)
    found = reliability(np.array([p for p, _ in rows]), np.array([label for _, label in rows]), bins)
    assert found.expected_error() == pytest.approx(expected, abs=1e-12)
    assert found.count.tolist() == [len(held[place]) for place in sorted(held)]


def test_by_hand() -> None:
    """Bin [0, .5): .2 and .4, one happened: |.5 - .3|; bin [.5, 1]: .5 and 1, both happened: |1 - .75|."""
    found = reliability(np.array([0.2, 0.4, 0.5, 1.0]), np.array([0, 1, 1, 1]), 2)
    assert found.expected_error() == pytest.approx(0.5 * 0.2 + 0.5 * 0.25)
    assert found.ratio() == pytest.approx(2.1 / 3)


@pytest.mark.parametrize("equal_count", [False, True])
def test_true_probabilities_are_calibrated_and_doubled_ones_are_not(equal_count: bool) -> None:
    generator = rng(0, "calibration")
    p = generator.random(200_000) * 0.4
    happened = generator.random(200_000) < p
    assert reliability(p, happened, equal_count=equal_count).expected_error() < 0.01
    wrong = reliability(2 * p, happened, equal_count=equal_count)
    assert wrong.expected_error() == pytest.approx(0.2, abs=0.01)
    assert wrong.ratio() == pytest.approx(2.0, abs=0.04)


def test_equal_count_bins_are_of_equal_count() -> None:
    p = rng(1, "calibration").random(1000) ** 4
    assert set(reliability(p, np.ones(1000), 10, equal_count=True).count.tolist()) == {100}
    assert reliability(np.full(50, 0.3), np.zeros(50), equal_count=True).count.tolist() == [50]
    assert np.isnan(reliability(np.full(50, 0.3), np.zeros(50)).ratio())


def test_what_is_not_a_probability_is_an_error() -> None:
    for p in (1.5, -0.1, float("nan")):
        with pytest.raises(DataError, match=r"within \[0, 1\]"):
            reliability(np.array([p]), np.ones(1))
    with pytest.raises(DataError, match="2 probabilities, but 1 labels"):
        reliability(np.zeros(2), np.ones(1))
    with pytest.raises(DataError, match="bins must be at least 1"):
        reliability(np.zeros(1), np.ones(1), 0)
