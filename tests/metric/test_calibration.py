"""Calibration against a plain loop, and on numbers with a known answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.errors import DataError
from shortlist.core.rng import rng
from shortlist.metric.calibration import Platt, error_interval, platt, reliability
from shortlist.metric.interval import draws


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


def test_the_interval_of_the_error_is_the_plain_bootstrap() -> None:
    """The same draws of whole users, error by error."""
    generator = rng(1, "calibration")
    users = generator.integers(0, 12, 150)
    p = generator.random(150)
    label = (generator.random(150) < p**2).astype(np.float32)
    low, high = error_interval(p, label, users, resamples=40)
    errors = []
    for drawn in np.concatenate(list(draws(12, 40, 0))):
        rows = np.concatenate([np.flatnonzero(users == u).repeat(int(times)) for u, times in enumerate(drawn)])
        errors.append(reliability(p[rows], label[rows]).expected_error())
    assert (low, high) == pytest.approx(tuple(np.quantile(errors, [0.025, 0.975])))
    assert np.isnan(error_interval(p, label, np.zeros(150))).all()


@given(st.floats(0.2, 4.0), st.floats(-2.0, 2.0), st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
def test_platt_finds_the_scale(slope: float, offset: float, unit: float, middle: float) -> None:
    """Scores of any unit and origin, made of true log-odds: the probabilities come out."""
    generator = rng(2, "platt")
    z = generator.normal(size=20_000)
    truth = 1 / (1 + np.exp(-(slope * z + offset)))
    label = generator.random(20_000) < truth
    found = platt(z * unit + middle, label)
    assert np.abs(found.probability(z * unit + middle) - truth).max() < 0.06


def test_platt_is_the_minimum_of_its_loss() -> None:
    """No small step away is better, by plain loops over Platt's targets."""
    generator = rng(3, "platt")
    score = generator.normal(size=300)
    label = generator.random(300) < 1 / (1 + np.exp(-2 * score + 1))
    found = platt(score, label)
    ups, downs = int(label.sum()), int((~label).sum())

    def loss(slope: float, offset: float) -> float:
        total = 0.0
        for one, taken in zip(Platt(slope, offset).probability(score).tolist(), label.tolist(), strict=True):
            target = (ups + 1) / (ups + 2) if taken else 1 / (downs + 2)
            total -= target * np.log(one) + (1 - target) * np.log(1 - one)
        return float(total)

    least = loss(found.slope, found.offset)
    for away in (-0.01, 0.01):
        assert loss(found.slope + away, found.offset) > least
        assert loss(found.slope, found.offset + away) > least


def test_platt_never_turns_the_order_round() -> None:
    """A score that goes the wrong way, one that is the same for all, and perfect separation: finite, and of the right rate."""
    label = np.array([1.0, 1.0, 0.0, 0.0])
    wrong = platt(np.array([0.0, 1.0, 2.0, 3.0]), label)
    assert wrong.slope == 0.0
    assert wrong.probability(np.array([5.0])) == pytest.approx(0.5)
    assert platt(np.ones(4), label).probability(np.ones(1)) == pytest.approx(0.5)
    perfect = platt(np.array([3.0, 2.0, 1.0, 0.0]), label)
    chance = perfect.probability(np.array([3.0, 0.0, np.nan, -np.inf]))
    assert 0.5 < chance[0] < 1.0
    assert 0.0 < chance[1] < 0.5
    assert (chance[2:] == chance[1]).all(), "what is not finite sinks"
