"""Learned merging: one logistic regression over the places and scores that all sources give an item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted

EACH = 11  # columns per source
RIDGE = 1.0  # penalty on squared coefficients of standardised columns, in rows
STEPS = 12  # Newton steps at most
CHUNK = 1 << 16


@dataclass
class Learned:
    """chance = 1 / (1 + exp(-(slope x + intercept))), fitted by penalised maximum likelihood (Newton's method). x holds, of every
    source, with r the rank and z the score standardised over the request's candidates that have one (those that only other sources
    returned, too, where the source scores everything):

        returned, ln r, (ln r)^2; the first two again for cold and for heavy users; scored, z, z^2, sqrt(max(z, 0))

    each 0 where the source did not return, or score, the item; and whether at least 2, 3, ... sources returned it. So sources that
    find the same things are not counted twice, and one that is bad for some users is not heard for them."""

    slope: Array = fitted("(columns,) float64")
    intercept: Array = fitted("(1,) float64")

    def rows(self, union: Batch, names: Sequence[str], segment: Array) -> Array:
        """(m, 11 * sources + sources - 1) float32 what is learned from and judged."""
        rank = np.stack([union.cand[f"rank_{name}"] for name in names])
        score = np.stack([union.cand[f"score_{name}"] for name in names])
        out = np.zeros((union.m, EACH * len(names) + len(names) - 1), dtype=np.float32)
        _rows(union.offsets, rank, score, segment, out)
        return out

    def learn(self, rows: Array, label: Array, weight: Array) -> None:
        """Fit. rows: as `rows` gives them; label: (r,) bool; weight: (r,)."""
        weight = weight.astype(np.float64)
        total = weight.sum()
        mean = (weight @ rows) / total
        deviation = np.sqrt(np.maximum((weight @ np.square(rows, dtype=np.float64)) / total - mean**2, 0.0))
        deviation[deviation < 1e-6] = np.inf  # a constant column says nothing
        share = float(weight @ label) / total
        at = np.append(np.zeros(rows.shape[1]), np.log(share / (1.0 - share)))
        loss, gradient, curvature = _likelihood(at, rows, label, weight, mean, deviation)
        for _ in range(STEPS):
            step = np.linalg.solve(curvature, gradient)
            size = 1.0
            while size > 1e-3:
                tried = _likelihood(at - size * step, rows, label, weight, mean, deviation)
                if tried[0] <= loss:
                    break
                size /= 2
            else:
                break
            at, gained = at - size * step, loss - tried[0]
            loss, gradient, curvature = tried
            if gained < 1e-6 * abs(loss):
                break
        self.slope = at[:-1] / deviation
        self.intercept = np.array([at[-1] - mean @ self.slope])

    def chance(self, rows: Array) -> Array:
        """(m,) float32."""
        out = np.empty(len(rows), dtype=np.float32)
        _chance(rows, self.slope, float(self.intercept[0]), out)
        return out


def _likelihood(
    at: Array, rows: Array, label: Array, weight: Array, mean: Array, deviation: Array
) -> tuple[float, Array, Array]:
    """Penalised log loss, its gradient and its second derivative, a piece of the rows at a time."""
    penalty = np.append(np.full(len(at) - 1, RIDGE), 1e-9)
    loss, gradient, curvature = float(penalty @ at**2) / 2, penalty * at, np.diag(penalty)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        x = np.ones((len(rows[part]), len(at)))
        x[:, :-1] = (rows[part] - mean) / deviation
        odds = x @ at
        loss += float(weight[part] @ (np.logaddexp(0.0, odds) - label[part] * odds))
        chance = 1.0 / (1.0 + np.exp(-np.clip(odds, -500.0, 500.0)))
        gradient = gradient + x.T @ (weight[part] * (chance - label[part]))
        curvature = curvature + x.T @ (x * (weight[part] * chance * (1.0 - chance))[:, None])
    return loss, gradient, curvature


@njit(cache=True, nogil=True)
def _rows(offsets: Array, rank: Array, score: Array, segment: Array, out: Array) -> None:
    sources = len(rank)
    for i in range(len(offsets) - 1):
        start, stop = offsets[i], offsets[i + 1]
        for s in range(sources):
            first, count, total = s * EACH, 0, 0.0
            for row in range(start, stop):
                if np.isfinite(score[s, row]):
                    count += 1
                    total += score[s, row]
            mean, spread = total / max(count, 1), 0.0
            for row in range(start, stop):
                if np.isfinite(score[s, row]):
                    spread += (score[s, row] - mean) ** 2
            deviation = np.sqrt(spread / max(count, 1))
            for row in range(start, stop):
                if not np.isnan(rank[s, row]):
                    place = np.log(rank[s, row])
                    out[row, first], out[row, first + 1], out[row, first + 2] = 1.0, place, place * place
                    if segment[i] == 0:
                        out[row, first + 3], out[row, first + 4] = 1.0, place
                    elif segment[i] == 2:
                        out[row, first + 5], out[row, first + 6] = 1.0, place
                if np.isfinite(score[s, row]):
                    z = (score[s, row] - mean) / deviation if deviation > 0.0 else 0.0
                    z = min(max(z, -4.0), 8.0)
                    out[row, first + 7], out[row, first + 8], out[row, first + 9] = 1.0, z, z * z
                    out[row, first + 10] = np.sqrt(max(z, 0.0))
        for row in range(start, stop):
            found = 0
            for s in range(sources):
                if not np.isnan(rank[s, row]):
                    found += 1
            for least in range(2, found + 1):
                out[row, sources * EACH + least - 2] = 1.0


@njit(cache=True, nogil=True)
def _chance(rows: Array, slope: Array, intercept: float, out: Array) -> None:
    """In a fixed order of summation, so that a row's chance does not depend on the rows beside it."""
    for i in range(len(rows)):
        odds = intercept
        for c in range(len(slope)):
            odds += rows[i, c] * slope[c]
        out[i] = 1.0 / (1.0 + np.exp(-odds))
