"""k-means (Lloyd 1982) on a sample: the lists of an inverted file."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.rng import rng
from shortlist.index.exact import BEYOND, aligned
from shortlist.index.scan import padded, products, quantised, step_and_slack

SAMPLE = 16  # vectors per centre to learn from: more changes little
STEPS = 8
CHUNK = 8192  # vectors that a thread takes at a time


def centres(vectors: Array, count: int, seed: int) -> Array:
    """(count, d) float32 centres of (rows, d) vectors, count <= rows. A centre that nobody is nearest to takes a random vector.

    Vectors are taken as they are, not by direction alone: with unequal lengths, a list of long vectors is then a list of its own, and
    a search by inner product meets it first (measured, 200,000 x 64, 10% looked at: recall@100 .97 against .79).
    """
    draw = rng(seed, "kmeans")
    sample = vectors[np.sort(draw.choice(len(vectors), min(len(vectors), SAMPLE * count), replace=False))]
    found = sample[np.sort(draw.choice(len(sample), count, replace=False))]
    for _ in range(STEPS):
        near = nearest(sample, found)
        sizes = np.bincount(near, minlength=count)
        order = np.argsort(near, kind="stable")
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        filled = np.flatnonzero(sizes)
        found = sample[draw.integers(0, len(sample), count)]
        found[filled] = np.add.reduceat(sample[order], starts[filled], axis=0) / sizes[filled, None]
    return found


def nearest(vectors: Array, found: Array) -> Array:
    """(rows,) int32: the centre at the least Euclidean distance, but for the rounding of the centres to int8 and the vectors to int16.
    On all cores; a vector's answer does not depend on the others."""
    out = np.empty(len(vectors), dtype=np.int32)
    codes = aligned((len(found) + BEYOND, padded(found.shape[1])), np.int8)
    scales = aligned((len(found),), np.float32)
    quantised(found, codes, scales)
    half = (0.5 * np.square(found, dtype=np.float64).sum(axis=1)).astype(np.float32)

    def part(start: int) -> None:
        _nearest(vectors[start : start + CHUNK], codes, scales, half, out[start : start + CHUNK])

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(part, range(0, len(vectors), CHUNK)))
    return out


@njit(cache=True, nogil=True)
def _nearest(vectors: Array, codes: Array, scales: Array, half: Array, out: Array) -> None:
    small = np.zeros(codes.shape[1], dtype=np.int16)
    totals = np.empty(len(codes), dtype=np.int32)  # and BEYOND
    for i in range(len(vectors)):
        step, _ = step_and_slack(vectors[i], small)
        products(small, codes, 0, len(half), totals, 0, 0)
        best, at = np.float32(-np.inf), 0
        for j in range(len(half)):
            value = scales[j] * (step * np.float32(totals[j])) - half[j]
            if value > best:
                best, at = value, j
        out[i] = at
