"""Calibrated merging: what a place in a source's list is worth, as a chance, and the chances of several sources combined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.optimize import isotonic_regression

from shortlist.core.batch import Array, Batch
from shortlist.core.component import fitted
from shortlist.pipeline.quota import SEGMENTS

PRIOR = 200.0  # rows at the rate of all segments together that every place of a segment's curve is given
SURE = 0.999  # no place is worth more: another source may always add something


@dataclass
class Calibrated:
    """The chance that an item is a target, given that source s returned it at rank r to a user of segment g, is a curve p_s,g(r) that
    never rises with r: isotonic regression (Barlow et al. 1972) of the share of targets at each rank, those of a segment
    shrunk towards the rank's share over all segments by PRIOR rows. Sources are taken as independent: chance = 1 - prod (1 - p)
    over the sources that returned it (noisy-or). It has few parameters and learns from a few hundred targets; what sources have in
    common is counted twice, which `learned` avoids."""

    curves: Array = fitted("(sources, segments, ranks) float32: chance at each rank, the first at 0")

    def rows(self, union: Batch, names: Sequence[str], segment: Array) -> Array:
        """(m, sources + 1) float32 what is learned from and judged: the rank in each source (NaN = not returned), and the segment."""
        columns = [union.cand[f"rank_{name}"] for name in names]
        return np.stack([*columns, union.spread(segment).astype(np.float32)], axis=1)

    def learn(self, rows: Array, label: Array, weight: Array) -> None:
        """Fit the curves. rows: as `rows` gives them; label: (r,) bool; weight: (r,)."""
        ranks, segment = rows[:, :-1], rows[:, -1].astype(np.int64)
        longest = int(np.nanmax(ranks, initial=1.0))
        self.curves = np.zeros((ranks.shape[1], len(SEGMENTS), longest), dtype=np.float32)
        for s in range(ranks.shape[1]):
            there = np.flatnonzero(np.isfinite(ranks[:, s]))
            place = segment[there] * longest + ranks[there, s].astype(np.int64) - 1
            size = len(SEGMENTS) * longest
            met = np.bincount(place, weight[there], size).reshape(-1, longest)
            hits = np.bincount(place, weight[there] * label[there], size).reshape(-1, longest)
            whole = falling(hits.sum(axis=0), met.sum(axis=0))
            for g in range(len(SEGMENTS)):
                self.curves[s, g] = falling(hits[g] + PRIOR * whole, met[g] + PRIOR)

    def chance(self, rows: Array) -> Array:
        """(m,) float32."""
        out = np.empty(len(rows), dtype=np.float32)
        _noisy_or(rows, self.curves, SURE, out)
        return out


def falling(hits: Array, met: Array) -> Array:
    """(ranks,) float64 shares hits / met that never rise, least squares weighted by `met`; ranks never met have the share of the
    nearest met one before them, else after them; zeros where there is nothing."""
    there = np.flatnonzero(met > 0)
    if not len(there):
        return np.zeros(len(met))
    fit = isotonic_regression(hits[there] / met[there], weights=met[there], increasing=False).x
    spot = np.maximum(np.searchsorted(there, np.arange(len(met)), side="right") - 1, 0)
    filled: Array = np.clip(fit, 0.0, 1.0)[spot]
    return filled


@njit(cache=True, nogil=True)
def _noisy_or(rows: Array, curves: Array, sure: float, out: Array) -> None:
    sources, longest = curves.shape[0], curves.shape[2]
    for i in range(len(rows)):
        segment = int(rows[i, sources])
        missed = 1.0
        for s in range(sources):
            rank = rows[i, s]
            if not np.isnan(rank):
                missed *= 1.0 - min(curves[s, segment, min(int(rank), longest) - 1], sure)
        out[i] = 1.0 - missed
