"""Sequential intervals and the ratio check: by the definition, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from shortlist.core.errors import ConfigError
from shortlist.core.rng import rng
from shortlist.metric.sequential import difference, mean, mismatch, radius


def test_the_formula() -> None:
    """The paper's boundary, written out: one number by hand."""
    alpha, count, deviation, tuned = 0.05, 100, 2.0, 50
    rho = math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tuned)
    expected = deviation * math.sqrt(
        2 * (count * rho**2 + 1) / (count**2 * rho**2) * math.log(math.sqrt(count * rho**2 + 1) / alpha)
    )
    assert radius(count, deviation, alpha, tuned) == pytest.approx(expected, rel=1e-12)
    assert radius(1, 1.0) == math.inf
    with pytest.raises(ConfigError, match="alpha must be between 0 and 1"):
        radius(10, 1.0, 1.5)


def test_it_is_narrowest_where_it_is_tuned() -> None:
    """Relative to an ordinary interval of the same count."""
    widths = {count: radius(count, 1.0, 0.05, 1000) * math.sqrt(count) for count in (50, 300, 1000, 3000, 20_000)}
    assert min(widths, key=widths.__getitem__) == 1000
    assert 1.96 < widths[1000] < 3.2


def looks(values: np.ndarray, half: float = 0.0) -> bool:
    """Is the true mean, 0, outside at any look from 100 values on? half: of an ordinary interval, in deviations of the mean."""
    counts = np.arange(1, len(values) + 1)
    means = np.cumsum(values) / counts
    deviation = np.sqrt(np.maximum(np.cumsum(values**2) / counts - means**2, 0))
    for count in range(100, len(values), 20):
        width = (
            half * deviation[count - 1] / math.sqrt(count) if half else radius(count, deviation[count - 1], 0.05, 500)
        )
        if abs(means[count - 1]) > width:
            return True
    return False


def test_it_holds_at_every_look() -> None:
    """Clicks are skewed. Looked at 95 times, the confidence sequence errs in at most 5% of 1,000 worlds; an ordinary interval in far more."""
    draw = rng(0, "worlds")
    worlds = [draw.binomial(1, 0.1, 2000) - 0.1 for _ in range(1000)]
    wrong = np.mean([looks(world) for world in worlds])
    ordinary = np.mean([looks(world, 1.96) for world in worlds])
    assert wrong <= 0.05
    assert ordinary > 0.2


def test_it_finds_what_is_there() -> None:
    """Ten times the noise of the mean is told; the interval is about the true difference."""
    draw = rng(1, "effect")
    one, other = draw.normal(0.3, 1, 4000), draw.normal(0.0, 1, 2000)
    found = difference(one, other, tuned=5000)
    assert found.low > 0
    assert found.low < 0.3 < found.high
    assert found.value == pytest.approx(one.mean() - other.mean())
    nothing = difference(one, one)
    assert nothing.low < 0 < nothing.high


def test_the_difference_holds_at_every_look() -> None:
    """Two arms alike, split 3 to 1: at most 5% of the worlds err at any look."""
    draw = rng(2, "arms")
    wrong = 0
    for _ in range(300):
        values, arm = draw.exponential(1.0, 3000), draw.random(3000) < 0.75
        for count in range(200, 3000, 100):
            part, which = values[:count], arm[:count]
            found = difference(part[which], part[~which], tuned=1000)
            if not found.low <= 0 <= found.high:
                wrong += 1
                break
    assert wrong <= 15


def test_too_little_to_tell() -> None:
    assert mean(np.array([1.0])) == (1.0, -math.inf, math.inf)
    assert math.isnan(mean(np.zeros(0)).value)
    assert difference(np.array([1.0]), np.array([1.0, 2.0])).high == math.inf
    found = mean(np.array([1.0, 2.0, 3.0]))
    assert found.low < 2.0 < found.high


def test_mismatch_is_a_p_value() -> None:
    """Uniform where the split is right, tiny where it is not; by the definition of chi-square."""
    counts, weights = [5100, 4900], [1.0, 1.0]
    statistic = sum((c - 5000) ** 2 / 5000 for c in counts)
    assert mismatch(counts, weights) == pytest.approx(stats.chi2.sf(statistic, 1))
    draw = rng(3, "splits")
    values = [mismatch(draw.multinomial(2000, [0.5, 0.3, 0.2]).tolist(), [5, 3, 2]) for _ in range(2000)]
    assert 0.03 < np.mean(np.array(values) < 0.05) < 0.07
    assert mismatch([5300, 4700], [1, 1]) < 0.001
    assert mismatch([0, 0], [1, 1]) == 1.0
    with pytest.raises(ConfigError, match="a positive weight per count"):
        mismatch([1, 2], [1, 0])
