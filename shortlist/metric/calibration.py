"""Calibration: do events given probability p happen p of the time? Reliability bins and the expected calibration error."""

from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.errors import DataError
from shortlist.core.rows import sink
from shortlist.metric import interval

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """The points of a reliability diagram; bins without impressions are left out. All of length b.

    count: impressions in the bin; predicted: mean probability; observed: share of positives.
    """

    count: Array
    predicted: Array
    observed: Array

    def expected_error(self) -> float:
        """ECE: sum of count / m * |observed - predicted| (Naeini et al. 2015; Guo et al. 2017, eq. 3)."""
        share = self.count / self.count.sum()
        return float((share * np.abs(self.observed - self.predicted)).sum())

    def ratio(self) -> float:
        """Predicted over observed positives: above 1 the probabilities are too high on the whole. NaN without positives."""
        happened = float((self.count * self.observed).sum())
        return float((self.count * self.predicted).sum()) / happened if happened > 0 else float("nan")


def reliability(probabilities: Array, labels: Array, bins: int = BINS, *, equal_count: bool = False) -> Reliability:
    """Reliability bins of (m,) probabilities against (m,) labels (> 0 is a positive).

    Bins are of equal width over [0, 1], a value on an edge belonging to the upper bin, as in the papers; with equal_count,
    they hold m / bins impressions each, which says more where nearly all probabilities are small (equal probabilities stay
    in one bin). DataError for what is not a probability.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if len(p) != len(labels) or len(p) == 0:
        raise DataError(f"{len(p)} probabilities, but {len(labels)} labels; both must be the same number, and not 0")
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise DataError("calibration needs probabilities within [0, 1]; these scores are not")
    if bins < 1:
        raise DataError(f"bins must be at least 1, not {bins}")
    inner = np.quantile(p, np.arange(1, bins) / bins) if equal_count else np.arange(1, bins) / bins
    place = np.searchsorted(inner, p, side="right")
    count = np.bincount(place, minlength=bins)
    used = count > 0
    predicted = np.bincount(place, weights=p, minlength=bins)[used] / count[used]
    observed = np.bincount(place, weights=np.asarray(labels) > 0, minlength=bins)[used] / count[used]
    return Reliability(count[used], predicted, observed)


def error_interval(
    probabilities: Array,
    labels: Array,
    users: Array,
    *,
    bins: int = BINS,
    resamples: int = interval.RESAMPLES,
    level: float = interval.LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of the expected calibration error over bins of equal width, whole users drawn: see metric/interval.
    The error is a sum of absolute values, so resampled ones lie somewhat above it: noise never cancels. NaN with one user."""
    p = np.asarray(probabilities, dtype=np.float64)
    clusters = interval.codes(users)
    place = np.searchsorted(np.arange(1, bins) / bins, p, side="right")
    size = int(clusters.max()) + 1
    gap = np.bincount(clusters * bins + place, weights=(np.asarray(labels) > 0) - p, minlength=size * bins)
    count = np.bincount(clusters, minlength=size)
    values = []
    for drawn in interval.draws(size, resamples, seed):
        gaps = interval.product(drawn, gap.reshape(size, bins))
        values.append(np.abs(gaps).sum(axis=1) / interval.product(drawn, count[:, None].astype(np.float64))[:, 0])
    low, high = interval.ends(np.concatenate(values)[:, None], level)
    return (float(low[0]), float(high[0])) if size > 1 else (float("nan"), float("nan"))


@dataclass(frozen=True)
class Platt:
    """Scores to probabilities: 1 / (1 + exp(-(slope * score + offset)))."""

    slope: float
    offset: float

    def probability(self, scores: Array) -> Array:
        """(m,) float64 in [0, 1]; a score that is not finite has that of the lowest finite one."""
        values = sink(np.asarray(scores, dtype=np.float64))
        known = values[np.isfinite(values)]
        z = self.slope * np.where(np.isfinite(values), values, known.min() if len(known) else 0.0) + self.offset
        small = np.exp(-np.abs(z))
        return np.where(z >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def platt(scores: Array, labels: Array, steps: int = 100) -> Platt:
    """Platt scaling (Platt 1999; targets and Newton steps as in Lin, Lin & Weng 2007) of (m,) scores against (m,) labels (> 0 is
    a positive). The slope is never negative: a probability keeps the order of its score, so AUC and GAUC are those of the score.
    """
    s = np.asarray(scores, dtype=np.float64)
    known = np.isfinite(s)
    s, taken = s[known], np.asarray(labels)[known] > 0
    ups, downs = float(taken.sum()), float((~taken).sum())
    target = np.where(taken, (ups + 1.0) / (ups + 2.0), 1.0 / (downs + 2.0))
    middle = float(s.mean()) if len(s) else 0.0
    spread = float(s.std()) if len(s) else 0.0
    rate = (float(target.sum()) + 1e-12) / (len(target) + 2e-12)
    level = float(np.log(rate / (1.0 - rate)))
    if spread <= 0.0:
        return Platt(0.0, level)
    x = (s - middle) / spread  # standardised, so that one damping fits all scores
    slope, offset = 0.0, level
    loss = _loss(slope, offset, x, target)
    for _ in range(steps):
        p = 1.0 / (1.0 + np.exp(-(slope * x + offset)))
        w = p * (1.0 - p)
        g = np.array([((p - target) * x).sum(), (p - target).sum()])
        h = np.array([[(w * x * x).sum() + 1e-9, (w * x).sum()], [(w * x).sum(), w.sum() + 1e-9]])
        step = np.linalg.solve(h, g)
        scale = 1.0
        while scale > 1e-10:  # Newton overshoots where the data are nearly separable
            tried = _loss(slope - scale * step[0], offset - scale * step[1], x, target)
            if tried <= loss:
                break
            scale /= 2.0
        slope, offset, before, loss = slope - scale * step[0], offset - scale * step[1], loss, tried
        if before - loss < 1e-12 * len(x):
            break
    if slope <= 0.0:
        return Platt(0.0, level)
    return Platt(float(slope / spread), float(offset - slope * middle / spread))


def _loss(slope: float, offset: float, x: Array, target: Array) -> float:
    z = slope * x + offset
    return float((np.logaddexp(0.0, z) - target * z).sum())
