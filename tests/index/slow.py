"""The oracle of every index: a dictionary, and plain loops over all of it."""

import numpy as np

from shortlist.core.batch import Array


def slow_score(query: Array, vector: Array) -> np.float32:
    """The definition: four running sums, then one rounding."""
    sums = [0.0, 0.0, 0.0, 0.0]
    for c in range(len(query)):
        sums[c % 4] += float(query[c]) * float(vector[c])
    return np.float32((sums[0] + sums[1]) + (sums[2] + sums[3]))


class Slow:
    """Vectors by id, every one of them looked at. Rows of `table` that are not in `held` are left over from before."""

    def __init__(self, d: int, room: int) -> None:
        self.table = np.zeros((room, d), dtype=np.float32)
        self.held = np.zeros(room, dtype=bool)

    def add(self, ids: Array, vectors: Array) -> None:
        for i, vector in zip(ids, vectors, strict=True):
            self.held[i] = bool((np.abs(vector) <= 1e15).all())
            if self.held[i]:
                self.table[i] = vector

    def delete(self, ids: Array) -> None:
        for i in ids:
            self.held[i] = False

    def scores(self, query: Array) -> Array:
        """slow_score of every row: the same sums, all rows at a time."""
        sums = np.zeros((4, len(self.table)))
        for c in range(len(query)):
            sums[c % 4] += float(query[c]) * self.table[:, c].astype(np.float64)
        found: Array = ((sums[0] + sums[1]) + (sums[2] + sums[3])).astype(np.float32)
        return found

    def search(self, queries: Array, k: int, allowed: Array | None = None) -> tuple[Array, Array]:
        ids = np.full((len(queries), k), -1, dtype=np.int32)
        scores = np.full((len(queries), k), np.nan, dtype=np.float32)
        for i, query in enumerate(queries):
            if not (np.abs(query) <= 1e15).all():
                continue
            every = self.scores(query)
            able = self.held.copy()
            if allowed is not None:
                able[len(allowed) :] = False
                able[: len(allowed)] &= allowed[: len(able)]
            rows = np.flatnonzero(able)
            best = rows[np.lexsort((rows, -every[rows]))][:k]
            ids[i, : len(best)] = best
            scores[i, : len(best)] = every[best]
        return ids, scores


def same(got: tuple[Array, Array], wanted: tuple[Array, Array]) -> None:
    """Bit for bit, but that 0.0 is -0.0."""
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_array_equal(got[1], wanted[1])


def unequal(count: int, d: int, seed: int) -> Array:
    """Vectors around centres, of very unequal length."""
    draw = np.random.default_rng(seed)
    spectrum = (1 + np.arange(d)) ** -0.5
    centres = draw.normal(size=(max(count // 50, 1), d)) * spectrum
    vectors = centres[draw.integers(0, len(centres), count)] + 0.6 * draw.normal(size=(count, d)) * spectrum
    found: Array = (vectors * np.exp(0.5 * draw.normal(size=(count, 1)))).astype(np.float32)
    return found
