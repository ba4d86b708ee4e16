"""The order by length: against every score, sorted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.batch import Array
from shortlist.core.contracts import Mask
from shortlist.index.ranked import Ranked, scores_of
from tests.index.slow import slow_score


def drawn(seed: int) -> tuple[Array, Array]:
    """Vectors and queries: of lengths that differ much or not at all, some equal, some zero, some not there."""
    draw = np.random.default_rng(seed)
    rows, n, d = int(draw.integers(1, 400)), int(draw.integers(1, 8)), int(draw.integers(1, 70))
    kind = seed % 4
    vectors = draw.normal(size=(rows, d))
    if kind == 0:
        vectors *= np.exp(2 * draw.normal(size=(rows, 1)))
    elif kind == 1:
        vectors = draw.integers(-1, 2, size=(rows, d)).astype(float)
    elif kind == 2:
        vectors[:] = vectors[0]
    vectors[draw.random(rows) < 0.1] = np.nan
    vectors[draw.random(rows) < 0.1] = 0.0
    queries = draw.normal(size=(n, d)) if kind != 1 else draw.integers(-1, 2, size=(n, d)).astype(float)
    queries[draw.random(n) < 0.1] = np.nan
    return vectors.astype(np.float32), queries.astype(np.float32)


def masks(rows: int, n: int, seed: int) -> list[Mask | None]:
    draw = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(draw.integers(0, rows + 1, size=n))])
    banned = draw.integers(0, rows, size=offsets[-1]).astype(np.int32)
    shared = draw.random(rows) < 0.7
    return [None, Mask(shared), Mask(None, offsets, banned), Mask(shared, offsets, banned), Mask(shared[: rows // 2])]


def best(scores: Array, k: int, mask: Mask | None, request: int) -> list[int]:
    """Every row looked at, then sorted."""
    good = []
    for row, found in enumerate(scores.tolist()):
        allowed = np.isfinite(found)
        if mask is not None and mask.shared is not None:
            allowed = allowed and row < len(mask.shared) and bool(mask.shared[row])
        if mask is not None and mask.offsets is not None and mask.items is not None:
            allowed = allowed and row not in mask.items[mask.offsets[request] : mask.offsets[request + 1]]
        if allowed:
            good.append(row)
    return sorted(good, key=lambda row: (-scores[row], row))[:k]


@given(st.integers(0, 10_000))
def test_the_best_are_the_best(seed: int) -> None:
    vectors, queries = drawn(seed)
    rows, n = len(vectors), len(queries)
    ranked = Ranked(vectors)
    size = rows + 3 if seed % 3 else rows // 2 + 1
    scores = np.array([[slow_score(query, vector) for vector in vectors] for query in queries], dtype=np.float32)
    draw = np.random.default_rng(seed)
    for mask in masks(rows, n, seed):
        k = int(draw.integers(0, rows + 5))
        items, found = ranked.search(queries, k, size, mask)
        assert items.shape == found.shape == (n, k)
        for i in range(n):
            wanted = best(scores[i][:size], k, mask, i)
            assert items[i, : len(wanted)].tolist() == wanted
            assert (items[i, len(wanted) :] == -1).all()
            np.testing.assert_array_equal(found[i, : len(wanted)], scores[i][wanted])
            assert np.isnan(found[i, len(wanted) :]).all()
            only = mask
            if mask is not None and mask.offsets is not None and mask.items is not None:
                own = mask.items[mask.offsets[i] : mask.offsets[i + 1]]
                only = Mask(mask.shared, np.array([0, len(own)]), own)
            alone = ranked.search(queries[i : i + 1], k, size, only)
            np.testing.assert_array_equal(alone[0][0], items[i])
            np.testing.assert_array_equal(alone[1][0], found[i])


def test_pairs_are_scored_as_in_a_search() -> None:
    vectors, queries = drawn(4)
    owner = np.repeat(np.arange(len(queries)), len(vectors) + 2)
    item = np.tile(np.arange(len(vectors) + 2, dtype=np.int32), len(queries))
    got = scores_of(queries, vectors, owner, item).reshape(len(queries), -1)
    wanted = [[slow_score(query, vector) for vector in vectors] for query in queries]
    np.testing.assert_array_equal(got[:, : len(vectors)], np.array(wanted, dtype=np.float32))
    assert np.isnan(got[:, len(vectors) :]).all()


@pytest.mark.parametrize("rows", [0, 1, 64, 65])
def test_few_vectors(rows: int) -> None:
    ranked = Ranked(np.ones((rows, 3), dtype=np.float32))
    items, scores = ranked.search(np.ones((2, 3), dtype=np.float32), 2, 70)
    assert items.tolist() == [[0, 1] if rows > 1 else [0, -1] if rows else [-1, -1]] * 2
    assert scores[0, 0] == 3.0 or not rows
