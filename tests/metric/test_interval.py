"""Bootstrap intervals: against a plain loop over the same draws, and for honest coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from shortlist.core.batch import Array
from shortlist.core.errors import DataError
from shortlist.core.rng import rng
from shortlist.metric.interval import codes, draws, entry, mean_interval, paired, summary


def slow(values: Array, users: Array, weights: Array, resamples: int, seed: int) -> tuple[float, float]:
    """One column: draw users, gather all their requests, average; NaN is left out."""
    names = sorted(set(users.tolist()))
    means = []
    for block in draws(len(names), resamples, seed):
        for times in block:
            top = bottom = 0.0
            for i in range(len(values)):
                if not np.isnan(values[i]):
                    weight = times[names.index(users[i])] * weights[i]
                    top, bottom = top + weight * values[i], bottom + weight
            if bottom > 0:
                means.append(top / bottom)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 12), st.booleans(), st.booleans())
def test_equals_the_plain_loop(seed: int, n: int, missing: bool, weigh: bool) -> None:
    generator = rng(seed, "test")
    values, users = generator.random((n, 3)), generator.integers(0, 4, n)
    users[:2] = [0, 1]
    if missing:
        values[generator.random((n, 3)) < 0.3] = np.nan
        values[:2] = [[0.1, 0.2, 0.3], [0.5, 0.1, 0.9]]
    weights = generator.random(n) + 0.1 if weigh else np.ones(n)
    low, high = mean_interval(values, users, weights=weights if weigh else None, resamples=70, seed=seed)
    for j in range(3):
        expected = slow(values[:, j], users, weights, 70, seed)
        assert_allclose((low[j], high[j]), expected, atol=1e-12)


def test_draws_are_multinomial_and_repeatable() -> None:
    first, again, other = (np.concatenate(list(draws(30, 200, seed))) for seed in (3, 3, 4))
    assert first.shape == (200, 30)
    assert_array_equal(first.sum(axis=1), 30)
    assert_array_equal(first, again)
    assert (first != other).any()
    assert first.var() == pytest.approx(1.0, abs=0.1)


def test_one_column_alone_is_the_same_bits() -> None:
    generator = rng(0, "test")
    values, users = generator.random((300, 4)), np.arange(300)
    low, high = mean_interval(values, users)
    for j in range(4):
        assert_array_equal(mean_interval(values[:, j], users), (low[j], high[j]))


def test_covers_the_truth_as_often_as_it_says() -> None:
    """300 normal samples of 60 users: binomial(300, .95) has a standard deviation of 1.3%; the percentile bootstrap is about
    one percent short at this size."""
    generator = rng(1, "coverage")
    inside = 0
    for trial in range(300):
        low, high = mean_interval(generator.normal(2.0, 1.0, 60), np.arange(60), resamples=400, seed=trial)
        inside += int(low <= 2.0 <= high)
    assert 0.90 <= inside / 300 <= 0.98


def test_covers_when_users_have_several_requests() -> None:
    """Requests of one user are all the same here, so treating them as independent would give a tenth of the width."""
    generator = rng(2, "cluster")
    users = np.repeat(np.arange(50), 100)
    inside, wrong = 0, 0
    for trial in range(150):
        values = np.repeat(generator.normal(0.0, 1.0, 50), 100)
        low, high = mean_interval(values, users, resamples=300, seed=trial)
        inside += int(low <= 0.0 <= high)
        low, high = mean_interval(values, np.arange(5000), resamples=50, seed=trial)
        wrong += int(low <= 0.0 <= high)
    assert 0.88 <= inside / 150 <= 0.99
    assert wrong / 150 < 0.3


def test_the_width_is_that_of_the_normal_law() -> None:
    values = rng(3, "width").normal(0.0, 1.0, 4000)
    low, high = mean_interval(values, np.arange(4000), resamples=4000)
    assert float(high - low) == pytest.approx(2 * 1.96 / np.sqrt(4000), rel=0.06)


def test_paired_is_narrower_than_either_where_systems_agree() -> None:
    generator = rng(4, "paired")
    shared = generator.random(2000)
    a, b = shared + 0.01 + 0.01 * generator.random(2000), shared
    low, high = paired(a, b, np.arange(2000))
    assert 0.01 < low < 0.015 < high < 0.02
    assert_array_equal((low, high), mean_interval(a - b, np.arange(2000)))
    assert_allclose(paired(b, a, np.arange(2000)), (-high, -low), atol=1e-15)


def test_names_of_users_do_not_matter() -> None:
    values = rng(5, "names").random(40)
    numbers = np.repeat(np.arange(20), 2)
    text = np.array([f"u{number:02}" for number in numbers])
    assert_array_equal(codes(text), numbers)
    assert_array_equal(mean_interval(values, numbers), mean_interval(values, text))


def test_unknown_spread_is_null() -> None:
    values = np.array([[0.5, np.nan, 0.1], [0.7, np.nan, np.nan]])
    got = summary({"a": values[:, 0], "b": values[:, 1], "c": values[:, 2]}, np.array([7, 7]))
    assert got["a"] == {"value": pytest.approx(0.6), "low": None, "high": None}
    assert got["b"] == {"value": None, "low": None, "high": None}
    assert got["c"] == {"value": 0.1, "low": None, "high": None}
    assert summary({}, np.array([])) == {}
    assert entry(1.0, float("nan"), 2.0) == {"value": 1.0, "low": None, "high": 2.0}


def test_summary_holds_the_value_between_the_ends() -> None:
    got = summary({"ndcg@10": rng(6, "summary").random(500)}, np.arange(500))["ndcg@10"]
    assert got["low"] is not None
    assert got["value"] is not None
    assert got["high"] is not None
    assert got["low"] < got["value"] < got["high"]
    assert got["high"] - got["low"] == pytest.approx(2 * 1.96 * np.sqrt(1 / 12 / 500), rel=0.15)


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(DataError, match="no requests"):
        mean_interval(np.zeros((0, 2)), np.zeros(0))
    with pytest.raises(DataError, match="3 rows of values, but 2 users"):
        mean_interval(np.zeros(3), np.zeros(2))
    with pytest.raises(DataError, match="3 rows of values, but 1 weights"):
        mean_interval(np.zeros(3), np.arange(3), weights=np.ones(1))
    with pytest.raises(DataError, match="must be finite"):
        mean_interval(np.array([1.0, np.inf]), np.arange(2))
    with pytest.raises(DataError, match="one shape"):
        paired(np.zeros(3), np.zeros(2), np.arange(3))
