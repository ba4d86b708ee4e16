"""Experiments that are looked at every day: intervals that hold at every look, and a check that the split is what it should be.

An ordinary 95% interval holds at one moment chosen beforehand; looked at daily, it errs at some day far more often than in 5% of the experiments. A confidence sequence
holds at all moments at once, so one may look, stop and go on at will.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError

LEAST = 2  # values without which there is no variance


class Estimate(NamedTuple):
    """A figure and an interval that holds at every look. low, high: infinite where there is too little to tell."""

    value: float
    low: float
    high: float


def radius(count: int, deviation: float, alpha: float = 0.05, tuned: int = 10_000) -> float:
    """Half of the width of the asymptotic confidence sequence of a mean, after `count` values with this standard deviation: with probability
    1 - alpha (as counts grow) the mean is within it at *all* counts. tuned: the count at which it is narrowest.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, Time-uniform central limit theory and asymptotic confidence sequences
    (Annals of Statistics 2024), Theorem 2.2 (the normal mixture), with rho by its equation for the best width at one count.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha must be between 0 and 1, not {alpha!r}")
    if count < LEAST:
        return math.inf
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / max(tuned, 1)
    scaled = count * rho2 + 1
    return deviation * math.sqrt(2 * scaled / (count**2 * rho2) * math.log(math.sqrt(scaled) / alpha))


def mean(values: Array, alpha: float = 0.05, tuned: int = 10_000) -> Estimate:
    """The mean of (n,) independent values so far, with its confidence sequence."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < LEAST:
        return Estimate(float(values.mean()) if len(values) else math.nan, -math.inf, math.inf)
    centre, half = float(values.mean()), radius(len(values), float(values.std(ddof=1)), alpha, tuned)
    return Estimate(centre, centre - half, centre + half)


def difference(one: Array, other: Array, alpha: float = 0.05, tuned: int = 10_000) -> Estimate:
    """mean(one) - mean(other) of independent units that were split at random, with its confidence sequence. The time of the sequence is the
    number of all units; the variance is that of the difference of means."""
    one, other = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if min(len(one), len(other)) < LEAST:
        known = len(one) and len(other)
        return Estimate(float(one.mean() - other.mean()) if known else math.nan, -math.inf, math.inf)
    count = len(one) + len(other)
    spread = math.sqrt(count * (one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other)))
    centre, half = float(one.mean() - other.mean()), radius(count, spread, alpha, tuned)
    return Estimate(centre, centre - half, centre + half)


def mismatch(counts: Sequence[int], weights: Sequence[float]) -> float:
    """p-value of the sample-ratio check: how probable a split at least this far from the weights is by chance (chi-square). Below .001 something is
    wrong with the experiment, and its other figures mean nothing.

    Source: Fabijan et al., Diagnosing sample ratio mismatch in online controlled experiments (KDD 2019).
    """
    if len(counts) != len(weights) or len(counts) < 2 or min(weights) <= 0:
        raise ConfigError(f"a ratio check needs a positive weight per count, got {list(counts)} and {list(weights)}")
    total = sum(counts)
    if not total:
        return 1.0
    expected = np.asarray(weights, dtype=np.float64) / sum(weights) * total
    return float(stats.chisquare(np.asarray(counts, dtype=np.float64), expected).pvalue)
