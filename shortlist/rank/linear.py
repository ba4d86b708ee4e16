"""Linear: logistic regression over standardised numbers and one-hot categories. The ranker to beat, and one that can be read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from scipy.optimize import minimize

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted, hidden, param
from shortlist.core.contracts import FitContext, Frame, Ranker, split
from shortlist.core.errors import BundleError, ConfigError, DataError, choices
from shortlist.core.names import kept

COLUMNS = "columns.json"


@dataclass
class Linear(Ranker):
    """score = intercept + sum of coefficients: the log-odds that the row is taken (label > 0).

    Minimises the weighted mean log loss + l2 / 2 * |coefficients|^2 by L-BFGS, the intercept free. A number x enters as
    z = sign(x) ln(1 + |x|), because counts and times span magnitudes while what they do to the odds does not, and that as
    (z - mean) / deviation, clipped; a missing one (NaN or infinite) as a coefficient of its own. A category enters as one
    coefficient for each of its most frequent values (missing is a value); the other values share zero.
    """

    l2: float = param(1e-4, "strength of the penalty on squared coefficients", low=0.0)
    log: bool = param(True, "numbers enter by their logarithm, sign(x) ln(1 + |x|); false = as they are")
    drop: list[str] = param(
        [], "feature columns to leave out, by exact name, prefix ending in * or suffix beginning with *"
    )
    spare: list[str] = param([], "columns that stay although `drop` names them, written likewise")
    values: int = param(64, "most frequent values of a category that get a coefficient", low=1)
    clip: float = param(8.0, "standard deviations at which a number is cut off", low=1.0)
    steps: int = param(200, "L-BFGS iterations at most", low=1)

    mean: Array = fitted("(f,) float64: weighted mean of each number")
    deviation: Array = fitted("(f,) float64: weighted standard deviation of each number; infinite for a constant")
    slope: Array = fitted("(f,) float64: coefficient of each standardised number")
    absent: Array = fitted("(f,) float64: coefficient of each number where it is missing")
    levels: Array = fitted("int32 values of all categories that have a coefficient, ascending within a category")
    level_offsets: Array = fitted("(c + 1,) int64: where each category's levels begin")
    level_weight: Array = fitted("float64: coefficient of each level")
    intercept: Array = fitted("(1,) float64")
    numbers: tuple[str, ...] = hidden(())  # column names are learned too, but text: they travel in a file of their own
    categories: tuple[str, ...] = hidden(())

    def fit(self, frame: Frame, valid: Frame | None, ctx: FitContext) -> None:
        """Learn from the frame's labels and weights. The loss is convex, so there is nothing to stop early: `valid` is not
        used. DataError when the rows are all of one class."""
        taken = (frame.label > 0).astype(np.float64)
        weight = frame.weight.astype(np.float64)
        positive, total = float(weight @ taken), float(weight.sum())
        if not 0.0 < positive < total:
            raise DataError(
                f"{ctx.place or 'linear'}: cannot learn from one class: the weights of the rows that were taken sum to "
                f"{positive:g}, of all rows to {total:g}"
            )
        columns = kept(frame.features, self.drop, self.spare)
        numbers, categories, self.numbers, self.categories = split(frame.batch, columns)
        numbers = self._scaled(numbers)
        weight /= total
        self._measure(numbers, categories, weight)
        x, at = self._encode(numbers, categories)
        f = len(self.numbers)
        start = np.zeros(2 * f + len(self.levels) + 1)
        start[-1] = np.log(positive / (total - positive))

        about = (x, at, taken, weight, self.l2)
        found = minimize(
            _loss, start, about, jac=True, method="L-BFGS-B", options={"maxiter": self.steps, "gtol": 1e-7}
        )
        self.slope, self.absent, self.level_weight = np.split(found.x[:-1], [f, 2 * f])
        self.intercept = found.x[-1:]

    def score(self, batch: Batch) -> Array:
        """(m,) float32 log-odds. ConfigError when a column that the ranker was fitted on is not there."""
        if self.intercept is None:
            raise ConfigError("linear: not fitted")
        lacking = [name for name in (*self.numbers, *self.categories) if name not in batch.cand]
        if lacking:
            raise ConfigError(
                f"linear: no column {lacking[0]!r}, which the ranker was fitted on; columns: {choices(batch.cand)}"
            )
        x, at = self._encode(
            self._scaled(_block(batch, self.numbers, np.float32)),
            _block(batch, self.categories, np.int32),
        )
        point = np.concatenate([self.slope, self.absent, self.level_weight, self.intercept])
        scores: Array = _scores(point, x, at).astype(np.float32)
        return scores

    def _scaled(self, numbers: Array) -> Array:
        """Numbers as they enter, before they are standardised: their logarithms where `log`."""
        return _logarithm(numbers) if self.log else numbers

    def _measure(self, numbers: Array, categories: Array, weight: Array) -> None:
        """Mean and deviation of each number over its finite rows, and the levels of each category."""
        f = numbers.shape[1]
        self.mean, self.deviation = np.zeros(f), np.full(f, np.inf)
        for j in range(f):
            column = numbers[:, j].astype(np.float64)
            there = np.isfinite(column) & (weight > 0)
            share = weight[there] / max(float(weight[there].sum()), 1e-300)
            self.mean[j] = share @ column[there]
            deviation = np.sqrt(share @ np.square(column[there] - self.mean[j]))
            if deviation > 1e-9 * max(abs(self.mean[j]), 1e-30):  # less is rounding: a constant
                self.deviation[j] = deviation
        kept = [_frequent(categories[:, j], weight, self.values) for j in range(categories.shape[1])]
        self.levels = np.concatenate([np.zeros(0, dtype=np.int32), *kept]).astype(np.int32)
        self.level_offsets = np.cumsum([0, *map(len, kept)], dtype=np.int64)

    def _encode(self, numbers: Array, categories: Array) -> tuple[Array, Array]:
        """(m, f) float32 standardised numbers, NaN = missing; (m, c) int64 index of each category's level, -1 = none. Each
        entry by itself, so that a row's bits do not depend on the other rows."""
        x = _standardise(numbers, self.mean, self.deviation, self.clip)
        return x, _places(categories, self.levels, self.level_offsets)

    def save_files(self, folder: Path) -> None:
        """Write the column names."""
        about = {"numbers": self.numbers, "categories": self.categories}
        (folder / COLUMNS).write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")

    def load_files(self, folder: Path) -> None:
        """Read the column names."""
        path = folder / COLUMNS
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            self.numbers, self.categories = tuple(about["numbers"]), tuple(about["categories"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path}: not readable column names: {error!r}") from None


def _block(batch: Batch, names: tuple[str, ...], dtype: type[np.generic]) -> Array:
    """(m, len(names)) candidate columns side by side."""
    block = np.empty((batch.m, len(names)), dtype=dtype)
    for j, name in enumerate(names):
        block[:, j] = batch.cand[name]
    return block


def _frequent(column: Array, weight: Array, most: int) -> Array:
    """The `most` values of the greatest weight, ascending; of equals the smaller value first."""
    values, place = np.unique(column, return_inverse=True)
    heavy = np.lexsort((values, -np.bincount(place, weight, minlength=len(values))))[:most]
    frequent: Array = np.sort(values[heavy])
    return frequent


@njit(cache=True, nogil=True)
def _logarithm(numbers: Array) -> Array:
    # One by one, not by numpy: its vectorised logarithm gives other bits for some lengths, and batch = single bit for bit.
    out = np.empty_like(numbers)
    for i in range(numbers.shape[0]):
        for j in range(numbers.shape[1]):
            x = np.float64(numbers[i, j])
            out[i, j] = math.copysign(math.log1p(abs(x)), x)
    return out


@njit(cache=True, nogil=True)
def _standardise(numbers: Array, mean: Array, deviation: Array, clip: float) -> Array:
    x = np.full(numbers.shape, np.float32(np.nan))
    for i in range(numbers.shape[0]):
        for j in range(numbers.shape[1]):
            if np.isfinite(numbers[i, j]):
                x[i, j] = min(max((np.float64(numbers[i, j]) - mean[j]) / deviation[j], -clip), clip)
    return x


@njit(cache=True, nogil=True)
def _places(categories: Array, levels: Array, level_offsets: Array) -> Array:
    at = np.full(categories.shape, -1, dtype=np.int64)
    for j in range(categories.shape[1]):
        first, last = level_offsets[j], level_offsets[j + 1]
        for i in range(categories.shape[0]):
            spot = first + np.searchsorted(levels[first:last], categories[i, j])
            if spot < last and levels[spot] == categories[i, j]:
                at[i, j] = spot
    return at


@njit(cache=True, nogil=True)
def _score(point: Array, x: Array, at: Array, i: int) -> float:
    # One row, always in the same order of addition: batch = single bit for bit, which a matrix product does not promise.
    f = x.shape[1]
    total: float = point[-1]
    for j in range(f):
        if np.isnan(x[i, j]):
            total += point[f + j]
        else:
            total += point[j] * x[i, j]
    for j in range(at.shape[1]):
        if at[i, j] >= 0:
            total += point[2 * f + at[i, j]]
    return total


@njit(cache=True, nogil=True)
def _scores(point: Array, x: Array, at: Array) -> Array:
    out = np.empty(len(x))
    for i in range(len(x)):
        out[i] = _score(point, x, at, i)
    return out


@njit(cache=True, nogil=True)
def _loss(point: Array, x: Array, at: Array, taken: Array, weight: Array, l2: float) -> tuple[float, Array]:
    # point: f slopes, f coefficients of missing numbers, the levels' coefficients, the intercept. weight sums to 1.
    f = x.shape[1]
    slope = np.zeros(len(point))
    total = 0.0
    for j in range(len(point) - 1):
        total += 0.5 * l2 * point[j] * point[j]
        slope[j] = l2 * point[j]
    for i in range(len(x)):
        score = _score(point, x, at, i)
        small = np.exp(-abs(score))  # in (0, 1]: neither branch can overflow
        total += weight[i] * (np.log1p(small) + max(score, 0.0) - taken[i] * score)
        chance = 1.0 / (1.0 + small) if score >= 0 else small / (1.0 + small)
        error = weight[i] * (chance - taken[i])
        for j in range(f):
            if np.isnan(x[i, j]):
                slope[f + j] += error
            else:
                slope[j] += error * x[i, j]
        for j in range(at.shape[1]):
            if at[i, j] >= 0:
                slope[2 * f + at[i, j]] += error
        slope[-1] += error
    return total, slope
