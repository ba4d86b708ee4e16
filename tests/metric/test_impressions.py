"""AUC, GAUC and log loss against counted pairs and plain sums."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from shortlist.core.batch import Array
from shortlist.core.errors import DataError
from shortlist.core.rng import rng
from shortlist.metric.impressions import auc, auc_interval, gauc, group_auc, logloss, summary
from shortlist.metric.interval import draws


def slow(scores: list[float], labels: list[int], weights: list[float] | None = None) -> float:
    """Every pair of a positive and a negative: 1 when in order, 0.5 when equal. NaN without pairs."""
    weights = weights or [1.0] * len(scores)
    scores = [score if math.isfinite(score) else -math.inf for score in scores]
    right = total = 0.0
    for i, positive in enumerate(labels):
        for j, negative in enumerate(labels):
            if positive > 0 and negative <= 0:
                weight = weights[i] * weights[j]
                total += weight
                right += weight * (1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0)
    return right / total if total > 0 else math.nan


impressions = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.9, math.nan, math.inf, -2.0]), st.integers(0, 1), st.integers(0, 3)),
    min_size=2,
    max_size=25,
)


def columns(rows: list[tuple[float, int, int]]) -> tuple[Array, Array, Array]:
    scores, labels, users = (np.array(column) for column in zip(*rows, strict=True))
    assume(0 < labels.sum() < len(labels))
    return scores, labels, users


@settings(deadline=None)
@given(impressions)
def test_auc_counts_pairs(rows: list[tuple[float, int, int]]) -> None:
    scores, labels, _ = columns(rows)
    assert auc(scores, labels) == pytest.approx(slow(scores.tolist(), labels.tolist()), abs=1e-12)


@settings(deadline=None)
@given(impressions)
def test_group_auc_is_the_auc_of_each_group(rows: list[tuple[float, int, int]]) -> None:
    scores, labels, users = columns(rows)
    values, sizes = group_auc(scores, labels, users)
    expected = [slow(scores[users == u].tolist(), labels[users == u].tolist()) for u in np.unique(users)]
    assert_allclose(values, expected, atol=1e-12)
    assert_array_equal(sizes, np.unique(users, return_counts=True)[1])
    usable = [(value, size) for value, size in zip(expected, sizes, strict=True) if not math.isnan(value)]
    if usable:
        mean = sum(value * size for value, size in usable) / sum(size for _, size in usable)
        assert gauc(scores, labels, users) == pytest.approx(mean, abs=1e-12)
    else:
        with pytest.raises(DataError, match=r"none of \d+ has both"):
            gauc(scores, labels, users)


@settings(deadline=None, max_examples=15)
@given(impressions, st.booleans())
def test_auc_interval_is_that_of_the_drawn_users(rows: list[tuple[float, int, int]], against: bool) -> None:
    scores, labels, users = columns(rows)
    names = np.unique(users).tolist()
    assume(len(names) > 1)
    other = scores[::-1].copy() if against else None
    values = []
    for times in np.concatenate(list(draws(len(names), 70, 5))):
        weights = [float(times[names.index(user)]) for user in users.tolist()]
        value = slow(scores.tolist(), labels.tolist(), weights)
        if other is not None:
            value -= slow(other.tolist(), labels.tolist(), weights)
        values.append(value)
    expected = np.quantile([value for value in values if not math.isnan(value)] or [math.nan], [0.025, 0.975])
    assert_allclose(auc_interval(scores, labels, users, baseline=other, resamples=70, seed=5), expected, atol=1e-12)


def test_by_hand() -> None:
    """Positives .8 .4, negatives .4 .2 .9: right pairs .8>.4 .8>.2 .4>.2, one tie, two wrong."""
    scores, labels = np.array([0.8, 0.4, 0.4, 0.2, 0.9]), np.array([1, 1, 0, 0, 0])
    assert auc(scores, labels) == pytest.approx(3.5 / 6)
    assert_allclose(logloss(np.array([0.8, 0.25]), np.array([1, 0])), [0.2231435513, 0.2876820724])
    assert_allclose(logloss(np.array([0.0]), np.array([1])), -math.log(1e-15))


def test_summary_has_what_metrics_json_holds() -> None:
    generator = rng(0, "impressions")
    users, p = generator.integers(0, 200, 4000), generator.random(4000)
    labels = (generator.random(4000) < p).astype(np.int8)
    got = summary(p, labels, users, probabilities=True)
    assert list(got) == ["auc", "gauc", "logloss"]
    for figure in got.values():
        assert figure["low"] is not None
        assert figure["value"] is not None
        assert figure["high"] is not None
        assert figure["low"] < figure["value"] < figure["high"]
    assert got["auc"]["value"] == pytest.approx(5 / 6, abs=0.02)  # of two uniform numbers with these odds
    assert got["logloss"]["value"] == pytest.approx(0.5, abs=0.02)
    assert list(summary(p, labels, users)) == ["auc", "gauc"]


def test_what_cannot_be_judged_is_an_error() -> None:
    with pytest.raises(DataError, match="0 of 2 labels are positive"):
        auc(np.zeros(2), np.zeros(2))
    with pytest.raises(DataError, match="2 scores, but 3 labels"):
        auc(np.zeros(2), np.ones(3))
    with pytest.raises(DataError, match="and 1 groups"):
        gauc(np.zeros(2), np.array([0, 1]), np.zeros(1))
    with pytest.raises(DataError, match=r"within \[0, 1\]"):
        logloss(np.array([1.2]), np.ones(1))
    with pytest.raises(DataError, match=r"within \[0, 1\]"):
        logloss(np.array([np.nan]), np.ones(1))
