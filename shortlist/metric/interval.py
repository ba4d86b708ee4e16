"""Bootstrap intervals of a mean over requests (Efron & Tibshirani 1993, percentile method).

Whole users are drawn, with all their requests: requests of one user are alike, and drawing them one by one would make
intervals too narrow (cluster bootstrap, Field & Welsh 2007). The mean stays the mean over requests. Equal users and seed
draw equal resamples, so the intervals of two systems, and of their difference, rest on the same resampled worlds.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.errors import DataError
from shortlist.core.rng import rng

RESAMPLES = 1000
LEVEL = 0.95
BLOCK = 64  # resamples whose weights are in memory at a time


def mean_interval(
    values: Array,
    users: Array,
    *,
    weights: Array | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Low and high end of the interval of each column's mean: (c,) float64 each, or scalars for values of shape (n,).

    values: (n,) or (n, c), one row per request; NaN is a request that the column leaves out. users: (n,) ids of any kind.
    weights: (n,) what each row counts in the mean, 1 by default. Both ends are NaN when fewer than two users have a value:
    nothing is known about the spread.
    """
    block = np.asarray(values, dtype=np.float64)
    table = block[:, None] if block.ndim == 1 else block
    clusters = codes(users)
    _verify(table, clusters, weights)
    sums, counts = _totals(table, clusters, weights)
    means = np.empty((resamples, table.shape[1]))
    done = 0
    for drawn in draws(len(sums), resamples, seed):
        top, bottom = product(drawn, sums), product(drawn, counts)
        with np.errstate(invalid="ignore", divide="ignore"):
            means[done : done + len(drawn)] = top / bottom
        done += len(drawn)
    low, high = ends(means, level)
    alone = np.broadcast_to(np.count_nonzero(counts, axis=0) < 2, low.shape)
    low, high = np.where(alone, np.nan, low), np.where(alone, np.nan, high)
    return low.reshape(block.shape[1:]), high.reshape(block.shape[1:])


def paired(
    values_a: Array,
    values_b: Array,
    users: Array,
    *,
    weights: Array | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Interval of the mean difference a - b of two systems on the same requests: arguments and result as `mean_interval`."""
    if np.shape(values_a) != np.shape(values_b):
        raise DataError(f"paired values must have one shape, not {np.shape(values_a)} and {np.shape(values_b)}")
    difference = np.asarray(values_a, dtype=np.float64) - np.asarray(values_b, dtype=np.float64)
    return mean_interval(difference, users, weights=weights, resamples=resamples, level=level, seed=seed)


def summary(
    columns: Mapping[str, Array], users: Array, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """Named (n,) columns as the entries of metrics.json: `{"ndcg@10": {"value", "low", "high"}}`; null for what is not known."""
    if not columns:
        return {}
    table = np.stack([np.asarray(column, dtype=np.float64) for column in columns.values()], axis=1)
    low, high = mean_interval(table, users, resamples=resamples, level=level, seed=seed)
    present = ~np.isnan(table)
    counts = np.maximum(present.sum(axis=0), 1)
    value = np.where(present.any(axis=0), np.where(present, table, 0.0).sum(axis=0) / counts, np.nan)
    return {name: entry(value[j], low[j], high[j]) for j, name in enumerate(columns)}


def entry(value: float, low: float, high: float) -> dict[str, float | None]:
    """One figure and its interval as JSON can hold it: NaN becomes null."""
    pairs = (("value", value), ("low", low), ("high", high))
    return {name: float(figure) if np.isfinite(figure) else None for name, figure in pairs}


def codes(users: Array) -> Array:
    """(n,) int64 dense codes of ids of any kind."""
    inverse = np.unique(np.asarray(users), return_inverse=True)[1]
    return np.asarray(inverse, dtype=np.int64)


def draws(clusters: int, resamples: int, seed: int) -> Iterator[Array]:
    """Blocks (up to BLOCK, clusters) float64 of how often each cluster is drawn in each resample; every row sums to `clusters`."""
    generator = rng(seed, "bootstrap", clusters)
    for start in range(0, resamples, BLOCK):
        rows = min(BLOCK, resamples - start)
        yield np.stack(
            [np.bincount(generator.integers(0, clusters, clusters), minlength=clusters) for _ in range(rows)]
        ).astype(np.float64)


def ends(means: Array, level: float) -> tuple[Array, Array]:
    """Percentiles of the resampled means, column by column; a resample that drew nobody with a value is left out."""
    low, high = np.full(means.shape[1], np.nan), np.full(means.shape[1], np.nan)
    tail = (1.0 - level) / 2.0
    for j in range(means.shape[1]):
        known = means[~np.isnan(means[:, j]), j]
        if len(known):
            low[j], high[j] = np.quantile(known, [tail, 1.0 - tail])
    return low, high


def _totals(table: Array, clusters: Array, weights: Array | None) -> tuple[Array, Array]:
    """Per cluster: weighted sums of the columns (u, c) and weights that they have (u, c), or (u, 1) when nothing is missing."""
    size = int(clusters.max()) + 1
    weight = np.ones(len(table)) if weights is None else np.asarray(weights, dtype=np.float64)
    missing = np.isnan(table)
    sums = np.empty((size, table.shape[1]))
    for j in range(table.shape[1]):
        column = np.where(missing[:, j], 0.0, table[:, j]) * weight
        sums[:, j] = np.bincount(clusters, weights=column, minlength=size)
    if not missing.any():
        return sums, np.bincount(clusters, weights=weight, minlength=size).reshape(-1, 1)
    counts = np.empty_like(sums)
    for j in range(table.shape[1]):
        counts[:, j] = np.bincount(clusters, weights=np.where(missing[:, j], 0.0, weight), minlength=size)
    return sums, counts


def _verify(table: Array, clusters: Array, weights: Array | None) -> None:
    if len(table) == 0:
        raise DataError("no requests: there is no interval of nothing")
    if len(clusters) != len(table):
        raise DataError(f"{len(table)} rows of values, but {len(clusters)} users")
    if weights is not None and len(weights) != len(table):
        raise DataError(f"{len(table)} rows of values, but {len(weights)} weights")
    if np.isinf(table).any():
        raise DataError("values must be finite, or NaN for a request that is left out")


@njit(cache=True, nogil=True)
def product(left: Array, right: Array) -> Array:
    """left (b, u) @ right (u, c), summed in the order of u whatever the machine's linear algebra library does."""
    out = np.zeros((left.shape[0], right.shape[1]))
    for u in range(left.shape[1]):
        for b in range(left.shape[0]):
            times = left[b, u]
            if times == 0.0:
                continue
            for j in range(right.shape[1]):
                out[b, j] += times * right[u, j]
    return out
