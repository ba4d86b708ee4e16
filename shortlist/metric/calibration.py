"""Calibration: do events given probability p happen p of the time? Reliability bins and the expected calibration error."""

from dataclasses import dataclass

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.errors import DataError


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


def reliability(probabilities: Array, labels: Array, bins: int = 10, *, equal_count: bool = False) -> Reliability:
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
