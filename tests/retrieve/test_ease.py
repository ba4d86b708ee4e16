"""EASE: against the closed form on dense matrices."""

import numpy as np
import pytest

from shortlist.core.errors import ConfigError
from shortlist.retrieve import ease
from shortlist.retrieve.ease import Ease, modelled
from tests.retrieve import slow


@pytest.mark.parametrize("limit", [1000, 25])
def test_scores(limit: int) -> None:
    part = Ease(reg=7.0, max_items=limit, decay=0.8, last=9)
    state = slow.ready(part)
    matrix = slow.clicked()
    popularity = matrix.sum(axis=0)
    items = sorted(sorted(range(matrix.shape[1]), key=lambda item: (-popularity[item], item))[:limit])
    items = [item for item in items if popularity[item] > 0]
    assert part.items.tolist() == items
    x = matrix[:, items]
    inverse = np.linalg.inv(x.T @ x + 7.0 * np.eye(len(items)))
    b = -inverse / np.diag(inverse)
    np.fill_diagonal(b, 0.0)
    np.testing.assert_allclose(part.weights, b, rtol=1e-4, atol=1e-7)
    batch = slow.small().requests(20)
    got = slow.full_rows(part, state, batch)
    for i, user in enumerate(batch.user.tolist()):
        wanted = np.full(matrix.shape[1], np.nan)
        history = [(place, item) for place, item in enumerate(slow.recent(user, 9)) if item in items]
        if history:
            wanted[items] = sum(
                (0.8**place * b[items.index(item)] for place, item in history), start=np.zeros(len(items))
            )
        np.testing.assert_allclose(got[i], wanted, rtol=1e-3, atol=1e-6)
    assert np.isfinite(got).any(axis=1).sum() > 10


def test_b_is_a_minimum() -> None:
    """No small step that keeps the diagonal zero lowers the loss: true of the optimum only, whatever the formula."""
    part = Ease(reg=5.0)
    slow.ready(part)
    x = slow.clicked()[:, part.items]
    b = part.weights.astype(np.float64)
    slope = -2 * x.T @ (x - x @ b) + 2 * 5.0 * b
    np.fill_diagonal(slope, 0.0)
    assert np.abs(slope).max() < 1e-3 * np.abs(x.T @ x).max()


def test_memory_is_guarded() -> None:
    part = Ease(memory_mb=1)
    with pytest.raises(
        ConfigError, match=r"ease: 5000 items need 286 MB, and memory_mb is 1; .* lower max_items to 295"
    ):
        part._check_memory(5000, slow.small().ctx)


def test_items_of_equal_popularity_go_by_code() -> None:
    assert modelled(np.array([2, 0, 3, 2, 2]), 3).tolist() == [0, 2, 3]
    assert modelled(np.array([0, 0]), 3).tolist() == []


@pytest.mark.parametrize("whole", [7, 20, 100])
def test_large_matrices_are_inverted_by_halves(whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is halved, also where a half is uneven, it is the inverse; what is not positive definite is None."""
    monkeypatch.setattr(ease, "WHOLE", whole)
    x = np.random.default_rng(2).normal(size=(90, 61))
    table = x.T @ x + np.eye(61)
    got = ease.inverted(np.tril(table))
    assert got is not None
    np.testing.assert_allclose(np.tril(got), np.tril(np.linalg.inv(table)), rtol=1e-9, atol=1e-12)
    table[40, 40] = -1.0
    assert ease.inverted(np.tril(table)) is None
