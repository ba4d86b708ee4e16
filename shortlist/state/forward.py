"""Forward decay (Cormode et al., ICDE 2009), as every decaying fold uses it: an event adds 2^((t - origin) / h) once, and reading
divides by the same of the reading time. Where that would leave the range of floats, all sums are scaled down by an exact factor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.component import parameters
from shortlist.core.errors import ConfigError
from shortlist.core.units import seconds

RANGE = 512.0  # half-lives after which all sums are scaled down by 2^-512, an exact operation


def lives_of(texts: tuple[str, ...], place: str) -> Array:
    """(h,) half-lives in seconds; "" is one that never ends. ConfigError for one without a unit, and where there is none."""
    if not texts:
        raise ConfigError(f"{place}: half_life is empty; write at least one, for example ['1d']")
    try:
        return np.array([seconds(text) if text else np.inf for text in texts])
    except ConfigError as error:
        raise ConfigError(f"{place}: half_life: {error}") from None


def origin_of(lives: Array) -> Array:
    """(1 + h,) time of the first event (NaN: none yet), and per half-life how many have been shifted since."""
    origin = np.zeros(1 + len(lives))
    origin[0] = np.nan
    return origin


def rows_within(part: Any, whole: Any) -> list[int] | None:
    """Which readings of a fold are those of another that is the same but for its half-lives; None where it does not have them all. A
    half-life's sums do not depend on which others lie beside them, so they are the same to the bit."""
    if type(part) is not type(whole) or not set(part.half_life) <= set(whole.half_life):
        return None
    for field in parameters(part):
        if field.name != "half_life" and getattr(part, field.name) != getattr(whole, field.name):
            return None
    return [whole.half_life.index(life) for life in part.half_life]


@njit(cache=True, nogil=True, inline="always")
def scale(origin: Array, lives: Array, j: int, time: int) -> float:
    """What sums of half-life j are multiplied by when they are read at a time."""
    factor: float = 2.0 ** (origin[1 + j] - (time - origin[0]) / lives[j])
    return factor


@njit(cache=True, nogil=True)
def weights(sums: Array, stride: int, totals: Array, origin: Array, lives: Array, time: int, weight: Array) -> None:
    """What an event at a time adds, per half-life, into `weight` (h,). When it is time, the sums of a half-life are scaled down: of
    `sums` (slots, at least h * stride) the columns j * stride to (j + 1) * stride, of `totals` (h * any,) the j-th part."""
    share = len(totals) // len(lives)
    if np.isnan(origin[0]):
        origin[0] = time
    for j in range(len(lives)):
        exponent = (time - origin[0]) / lives[j] - origin[1 + j]
        if exponent > RANGE:
            steps = np.floor(exponent / RANGE)
            origin[1 + j] += steps * RANGE
            for _ in range(min(steps, 5)):  # five steps take any float to zero
                for slot in range(len(sums)):
                    for column in range(j * stride, (j + 1) * stride):
                        sums[slot, column] *= 2.0 ** (-RANGE)
                for column in range(j * share, (j + 1) * share):
                    totals[column] *= 2.0 ** (-RANGE)
            exponent = (time - origin[0]) / lives[j] - origin[1 + j]
        weight[j] = 2.0**exponent
