"""Drift: which columns look otherwise from one label window to the next. What moved before will have moved again when it counts: a
ranker that split on it splits at places that mean something else by then (an hour of the day, seconds since the last event, short counts
where the pace of the log changes)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.contracts import Frame
from shortlist.core.rng import rng

BINS = 10
FREQUENT = 20  # categories with a bin of their own
FLOOR = 1e-4  # share that an empty bin is given, so that its logarithm is finite
ROWS = 20_000  # of each window, at most, that are compared
FEW = 50  # values that a window must have, or it tells nothing


def drifting(frames: Sequence[Frame], ended: Sequence[int], most: float) -> dict[str, float]:
    """Columns whose drift is above `most`, with it. frames: of the label windows, oldest first; ended: for each the newest one whose
    window had ended by its cut-off, -1 = none: as far as a test window is from the newest one that trains.

    The drift of a column is the median, over windows, of its stability index against that older window, less what chance alone would
    give: (bins - 1) (1 / n + 1 / m). A column that is one value per request counts once per request.
    """
    found: dict[str, float] = {}
    pairs = [(frames[old], new) for new, old in zip(frames, ended, strict=True) if old >= 0]
    for name in frames[0].features if pairs else ():
        moved = [_moved(old, new, name) for old, new in pairs]
        known = [value for value in moved if value is not None]
        if known and float(np.median(known)) > most:
            found[name] = float(np.median(known))
    return found


def _moved(old: Frame, new: Frame, name: str) -> float | None:
    before, after = _values(old, name), _values(new, name)
    if min(len(before), len(after)) < FEW:
        return None
    bins = len(np.unique(_bins_of(before)(np.concatenate([before, after]))))
    return stability(before, after) - (bins - 1) * (1 / len(before) + 1 / len(after))


def _values(frame: Frame, name: str) -> Array:
    """The column's values: one per request where its rows agree, else one per row, thinned."""
    batch, column = frame.batch, frame.batch.cand[name]
    first = batch.offsets[:-1][np.diff(batch.offsets) > 0]
    own = np.repeat(column[first], np.diff(batch.offsets)[np.diff(batch.offsets) > 0])
    if np.array_equal(own, column, equal_nan=column.dtype.kind == "f"):
        return column[first]
    return column if len(column) <= ROWS else column[rng(0, "drift").choice(len(column), ROWS, replace=False)]


def _bins_of(old: Array) -> Callable[[Array], Array]:
    return _categories(old) if old.dtype.kind in "iu" else _quantiles(old)


def stability(old: Array, new: Array) -> float:
    """Population stability index: sum over bins of (q - p) * ln(q / p), with p and q the shares of the old and the new values in each.

    Numbers: ten bins of equal share of the old values, and one for every edge that values repeat; categories: the twenty that were most frequent, and
    one for the others. Missing values have a bin of their own. Shares below 0.0001 count as that. Usual bands: below 0.1 steady,
    0.1 to 0.25 moved, above 0.25 drifted.
    """
    bins_of = _bins_of(old)
    shares = []
    for values in (old, new):
        counts = np.bincount(bins_of(values), minlength=FREQUENT + 2)
        shares.append(np.maximum(counts / max(len(values), 1), FLOOR))
    p, q = shares
    return float(np.sum((q - p) * np.log(q / p)))


def _quantiles(old: Array) -> Callable[[Array], Array]:
    """Bins of numbers; the last one is of the missing."""
    there = old[~np.isnan(old)]
    edges = np.unique(np.quantile(there, np.arange(1, BINS) / BINS)) if len(there) else np.zeros(0)

    def bins(values: Array) -> Array:
        # Odd numbers: the very edges. Without them a value that most rows share would lie in one bin with all that is below it.
        spot = np.searchsorted(edges, values, side="left") + np.searchsorted(edges, values, side="right")
        return np.where(np.isnan(values), FREQUENT + 1, spot)

    return bins


def _categories(old: Array) -> Callable[[Array], Array]:
    """Bins of categories: frequent ones, the rest, the missing."""
    codes, counts = np.unique(old[old >= 0], return_counts=True)
    own = np.sort(codes[np.lexsort((codes, -counts))][:FREQUENT])

    def bins(values: Array) -> Array:
        spot = np.searchsorted(own, values)
        inside = spot < len(own)
        inside[inside] = own[spot[inside]] == values[inside]
        return np.where(values < 0, FREQUENT + 1, np.where(inside, spot, FREQUENT))

    return bins
