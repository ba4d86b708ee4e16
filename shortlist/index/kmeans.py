"""k-means (Lloyd 1982) on a sample: the lists of an inverted file."""

from __future__ import annotations

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.rng import rng

SAMPLE = 40  # vectors per centre to learn from: more changes little
STEPS = 8
CHUNK = 8192  # vectors compared at a time: (CHUNK, centres) float32 of memory


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
    """(rows,) int32: the centre at the least Euclidean distance."""
    out = np.empty(len(vectors), dtype=np.int32)
    half = 0.5 * np.square(found).sum(axis=1)
    for start in range(0, len(vectors), CHUNK):
        part = slice(start, start + CHUNK)
        out[part] = np.argmax(vectors[part] @ found.T - half, axis=1)
    return out
