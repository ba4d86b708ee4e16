"""Order and probability of impressions that were given: AUC, GAUC, log loss. m = impressions.

A label above 0 is a positive. Non-finite scores sink below every other; equal scores count half (Mann-Whitney).
"""

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.errors import DataError
from shortlist.core.rows import sink
from shortlist.metric import interval

EPSILON = 1e-15  # probabilities are held this far from 0 and 1 in the log loss


def auc(scores: Array, labels: Array) -> float:
    """How often a random positive is scored above a random negative. scores, labels: (m,). DataError with one class only."""
    _verify(scores, labels)
    order, starts = _ranked(scores)
    value = _auc(order, starts, _positive(labels), np.zeros(len(order), np.int64), np.ones((1, 1)))
    return float(value[0])


def auc_interval(
    scores: Array,
    labels: Array,
    users: Array,
    *,
    baseline: Array | None = None,
    resamples: int = interval.RESAMPLES,
    level: float = interval.LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of the AUC, whole users drawn: see metric/interval. baseline: (m,) scores of another system; then
    the interval is that of the difference. A resample without one of the classes is left out; NaN when all are."""
    _verify(scores, labels, users)
    clusters, positive = interval.codes(users), _positive(labels)
    systems = [_ranked(scores)] if baseline is None else [_ranked(scores), _ranked(baseline)]
    values = []
    for drawn in interval.draws(int(clusters.max()) + 1, resamples, seed):
        found = [_auc(order, starts, positive, clusters, drawn) for order, starts in systems]
        values.append(found[0] - found[1] if len(found) == 2 else found[0])
    low, high = interval.ends(np.concatenate(values)[:, None], level)
    return (float(low[0]), float(high[0])) if clusters.max() > 0 else (float("nan"), float("nan"))


def group_auc(scores: Array, labels: Array, groups: Array) -> tuple[Array, Array]:
    """AUC within each group (user or request): (g,) float64 in sorted order of the group ids, NaN where all labels are
    equal; and (g,) the number of impressions of each."""
    _verify(scores, labels, groups)
    clusters = interval.codes(groups)
    sizes = np.bincount(clusters)
    order = np.lexsort((sink(scores), clusters))
    ends = np.concatenate([[0], np.cumsum(sizes)])
    return _by_group(sink(scores)[order], _positive(labels)[order], ends), sizes


def gauc(scores: Array, labels: Array, groups: Array) -> float:
    """Mean AUC of the groups that have both labels, weighted by their impressions (Zhou et al. 2018, DIN, eq. 7).
    DataError when no group has both."""
    values, sizes = group_auc(scores, labels, groups)
    usable = ~np.isnan(values)
    if not usable.any():
        raise DataError(f"GAUC needs a group with positives and negatives; none of {len(values)} has both")
    return float((values[usable] * sizes[usable]).sum() / sizes[usable].sum())


def logloss(probabilities: Array, labels: Array) -> Array:
    """(m,) float64: -log of the probability given to what happened, natural logarithm; the log loss is the mean."""
    p = np.asarray(probabilities, dtype=np.float64)
    if len(p) != len(labels):
        raise DataError(f"{len(p)} probabilities, but {len(labels)} labels")
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise DataError("log loss needs probabilities within [0, 1]; these scores are not")
    p = np.clip(p, EPSILON, 1.0 - EPSILON)
    return np.where(_positive(labels), -np.log(p), -np.log1p(-p))


def summary(
    scores: Array, labels: Array, users: Array, *, probabilities: bool = False, seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """`auc`, `gauc` (within users) and, where the scores are probabilities, `logloss`, as metrics.json holds them."""
    low, high = auc_interval(scores, labels, users, seed=seed)
    found = {"auc": interval.entry(auc(scores, labels), low, high)}
    values, sizes = group_auc(scores, labels, users)
    ends = interval.mean_interval(values, np.arange(len(values)), weights=sizes, seed=seed)
    found["gauc"] = interval.entry(gauc(scores, labels, users), float(ends[0]), float(ends[1]))
    if probabilities:
        found |= interval.summary({"logloss": logloss(scores, labels)}, users, seed=seed)
    return found


def _positive(labels: Array) -> Array:
    return np.asarray(labels) > 0


def _ranked(scores: Array) -> tuple[Array, Array]:
    """Rows by rising score, and where each run of equal scores starts (with the end)."""
    values = sink(np.asarray(scores, dtype=np.float64))
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, [len(values)]])
    return order, starts.astype(np.int64)


def _verify(scores: Array, labels: Array, groups: Array | None = None) -> None:
    if len(scores) != len(labels) or (groups is not None and len(groups) != len(labels)):
        about = "" if groups is None else f" and {len(groups)} groups"
        raise DataError(f"{len(scores)} scores, but {len(labels)} labels{about}")
    positives = int(_positive(labels).sum())
    if positives in (0, len(labels)):
        raise DataError(f"AUC needs positives and negatives; {positives} of {len(labels)} labels are positive")


@njit(cache=True, nogil=True)
def _auc(order: Array, starts: Array, positive: Array, clusters: Array, drawn: Array) -> Array:
    """(b,) AUC when the rows of cluster c count drawn[b, c] times; NaN where a class is not drawn."""
    out = np.full(len(drawn), np.nan)
    for b in range(len(drawn)):
        below, pairs, positives = 0.0, 0.0, 0.0
        for tie in range(len(starts) - 1):
            up, down = 0.0, 0.0
            for at in range(starts[tie], starts[tie + 1]):
                row = order[at]
                if positive[row]:
                    up += drawn[b, clusters[row]]
                else:
                    down += drawn[b, clusters[row]]
            pairs += up * (below + 0.5 * down)
            below += down
            positives += up
        if below > 0 and positives > 0:
            out[b] = pairs / (below * positives)
    return out


@njit(cache=True, nogil=True)
def _by_group(scores: Array, positive: Array, ends: Array) -> Array:
    """AUC of each run of rows that are sorted by rising score; NaN where a class is missing."""
    out = np.full(len(ends) - 1, np.nan)
    for g in range(len(ends) - 1):
        below, pairs, positives = 0.0, 0.0, 0.0
        at = ends[g]
        while at < ends[g + 1]:
            up, down = 0.0, 0.0
            value = scores[at]
            while at < ends[g + 1] and scores[at] == value:
                if positive[at]:
                    up += 1.0
                else:
                    down += 1.0
                at += 1
            pairs += up * (below + 0.5 * down)
            below += down
            positives += up
        if below > 0 and positives > 0:
            out[g] = pairs / (below * positives)
    return out
