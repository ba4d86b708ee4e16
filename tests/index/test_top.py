"""The best k of a row: against a plain sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.batch import Array
from shortlist.core.contracts import Mask
from shortlist.index.top import top, top_among, top_ragged

VALUES = [-np.inf, -2.5, -1.0, -0.0, 0.0, 1e-40, 1.0, 1.5, 3e38, np.inf, np.nan]


def slow(row: Array, k: int, mask: Mask, request: int, floor: float) -> list[int]:
    """Every item looked at, then sorted."""
    banned = set()
    if mask.offsets is not None and mask.items is not None:
        banned = set(mask.items[mask.offsets[request] : mask.offsets[request + 1]].tolist())
    good = []
    for item, score in enumerate(row.tolist()):
        shared = mask.shared is None or (item < len(mask.shared) and bool(mask.shared[item]))
        if np.isfinite(score) and score > floor and shared and item not in banned:
            good.append(item)
    return sorted(good, key=lambda item: (-row[item], item))[:k]


def draw_case(seed: int) -> tuple[Array, Mask, int]:
    """Rows with ties, infinities and NaN or without, and a mask; also more candidates than one buffer holds."""
    draw = np.random.default_rng(seed)
    n, size = int(draw.integers(1, 5)), int(draw.integers(1, 2500))
    kind = seed % 4
    if kind == 0:
        scores = draw.choice(VALUES, size=(n, size))
    elif kind == 1:
        scores = draw.integers(-3, 4, size=(n, size))
    elif kind == 2:
        scores = np.sort(draw.normal(size=(n, size)), axis=1)  # the worst order for a running threshold
    else:
        scores = draw.normal(size=(n, size))
    counts = draw.integers(0, size // 2 + 2, size=n)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    banned = draw.integers(0, size, size=offsets[-1]).astype(np.int32)
    shared = draw.random(size) < 0.8
    masks = [
        Mask(),
        Mask(shared),
        Mask(None, offsets, banned),
        Mask(shared, offsets, banned),
        Mask(shared[: size // 2]),
    ]
    return scores.astype(np.float32), masks[int(draw.integers(len(masks)))], int(draw.integers(0, 150))


def check(items: Array, scores: Array, row: Array, wanted: list[int]) -> None:
    assert items[: len(wanted)].tolist() == wanted
    assert (items[len(wanted) :] == -1).all()
    np.testing.assert_array_equal(scores[: len(wanted)], row[wanted])
    assert np.isnan(scores[len(wanted) :]).all()


@given(st.integers(0, 10_000), st.sampled_from([-np.inf, 0.0, 0.5]))
def test_a_row_per_request(seed: int, floor: float) -> None:
    scores, mask, k = draw_case(seed)
    items, found = top(scores, k, mask, floor)
    assert items.shape == found.shape == (len(scores), k)
    for i, row in enumerate(scores):
        check(items[i], found[i], row, slow(row, k, mask, i, floor))


@given(st.integers(0, 10_000), st.sampled_from([-np.inf, 0.0, 0.5]))
def test_one_row_for_everybody(seed: int, floor: float) -> None:
    scores, mask, k = draw_case(seed)
    n = len(scores)
    items, found = top(scores[:1], k, mask, floor, n)
    assert items.shape == found.shape == (n, k)
    for i in range(n):
        check(items[i], found[i], scores[0], slow(scores[0], k, mask, i, floor))


@given(st.integers(0, 10_000), st.sampled_from([-np.inf, 0.0, 0.5]))
def test_ragged_candidates(seed: int, floor: float) -> None:
    scores, mask, k = draw_case(seed)
    n, size = scores.shape
    draw = np.random.default_rng(seed)
    picked = [draw.permutation(size)[: draw.integers(0, size + 1)].astype(np.int32) for _ in range(n)]
    offsets = np.cumsum([0, *map(len, picked)])
    flat = np.concatenate([scores[i, picked[i]] for i in range(n)])
    items, found = top_ragged(offsets, np.concatenate(picked), flat, k, size, mask, floor)
    for i in range(n):
        row = np.full(size, np.nan, dtype=np.float32)
        row[picked[i]] = scores[i, picked[i]]
        check(items[i], found[i], row, slow(row, k, mask, i, floor))


def test_requests_taken_from_the_mask() -> None:
    row = np.array([[3.0, 1.0, 2.0]], dtype=np.float32)
    items, _ = top(row, 2, Mask(None, np.array([0, 1, 1]), np.array([0], dtype=np.int32)))
    assert items.tolist() == [[2, 1], [0, 2]]


@pytest.mark.parametrize("floor", [-np.inf, 1.0])
def test_a_score_at_the_floor_is_not_above_it(floor: float) -> None:
    items, _ = top(np.array([[1.0, 2.0]], dtype=np.float32), 2, None, floor)
    assert items.tolist() == ([[1, 0]] if floor < 1 else [[1, -1]])


@given(st.integers(0, 10_000), st.sampled_from([-np.inf, 0.0]))
def test_only_some_items_have_a_score(seed: int, floor: float) -> None:
    scores, mask, k = draw_case(seed)
    n, size = scores.shape
    draw = np.random.default_rng(seed)
    among = np.flatnonzero(draw.random(size) < draw.choice([0.0, 0.1, 0.9])).astype(np.int32)
    items, found = top_among(among, scores[:, among], k, mask, floor)
    assert items.dtype == np.int32
    for i in range(n):
        row = np.full(size, np.nan, dtype=np.float32)
        row[among] = scores[i, among]
        check(items[i], found[i], row, slow(row, k, mask, i, floor))
