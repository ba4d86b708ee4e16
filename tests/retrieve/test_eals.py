"""eALS: every step against the loss itself, written out over all pairs; folding in against dense least squares."""

from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.core.rng import rng
from shortlist.retrieve.eals import Eals
from tests.retrieve import slow


def written_out(part: Eals, x: Array) -> tuple[Array, Array]:
    """User and item vectors after the passes, by minimising the dense loss in one number at a time."""
    n, m = x.shape
    share = x.sum(axis=0) ** part.alpha
    missing = (part.c0 or x.sum() / n) * share / share.sum()
    weight = np.where(x > 0, 1.0, missing)
    width, penalty = part.d + 2, part.reg or 0.08 * x.sum() / n
    p, q = np.zeros((n, width)), np.zeros((m, width))
    q[:, : part.d] = rng(0, "eals").standard_normal((m, part.d)) * (part.spread / np.sqrt(part.d))
    if part.biases:
        q[:, part.d] = p[:, part.d + 1] = 1.0
    for _ in range(part.epochs):
        for own, other, w, target, bias in ((p, q, weight, x, part.d), (q, p, weight.T, x.T, part.d + 1)):
            for row in range(len(own)):
                for f in [*range(part.d), *([bias] if part.biases else [])]:
                    rest = other @ own[row] - own[row, f] * other[:, f]
                    top = (w[row] * (target[row] - rest) * other[:, f]).sum()
                    own[row, f] = top / ((w[row] * other[:, f] ** 2).sum() + penalty)
    return p, q


def compact() -> tuple[Array, Array]:
    """The clicks of those who clicked on what was clicked, and the items' codes."""
    matrix = slow.clicked()
    items = np.flatnonzero(matrix.any(axis=0))
    return matrix[matrix.any(axis=1)][:, items], items


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize(("c0", "alpha"), [(0.0, 0.5), (3.0, 0.0), (40.0, 1.0)])
def test_passes(biases: bool, c0: float, alpha: float) -> None:
    part = Eals(d=5, epochs=3, c0=c0, alpha=alpha, reg=0.7 if c0 else 0.0, biases=biases)
    slow.ready(part)
    x, items = compact()
    _, q = written_out(part, x)
    np.testing.assert_allclose(part.items[items], q, atol=2e-4)
    assert np.isnan(np.delete(part.items, items, axis=0)).all()


@pytest.mark.parametrize("biases", [False, True])
def test_scores(biases: bool) -> None:
    """Folding in is the dense least squares of all numbers of the user together."""
    part = Eals(d=5, epochs=3, reg=0.7, biases=biases, decay=0.8, last=6)
    state = slow.ready(part)
    _, items = compact()
    q, missing = part.items[items].astype(np.float64), part.missing[items]
    free = 5 + biases
    batch = slow.small().requests(15)
    got = slow.full_rows(part, state, batch)
    answered = 0
    for i, user in enumerate(batch.user.tolist()):
        history = slow.recent(user, 6)
        wanted = np.full(got.shape[1], np.nan)
        if history:
            weight, target = missing.astype(np.float64), np.zeros(len(items))
            for place, item in enumerate(history):
                weight[items == item], target[items == item] = 0.8**place, 1.0
            bias = q[:, 6]
            side = (q[:, :free].T * weight) @ q[:, :free] + part.reg * np.eye(free)
            solved = np.linalg.solve(side, q[:, :free].T @ (weight * (target - bias)))
            wanted[items] = q[:, :free] @ solved + bias
            answered += 1
        np.testing.assert_allclose(got[i], wanted, atol=1e-4)
    assert answered > 10


def test_every_pass_lowers_the_loss() -> None:
    x, _ = compact()
    losses = []
    for epochs in (1, 2, 4, 8):
        part = Eals(d=4, epochs=epochs, reg=0.3, biases=True)
        p, q = written_out(part, x)
        share = x.sum(axis=0) ** part.alpha
        weight = np.where(x > 0, 1.0, x.sum() / len(x) * share / share.sum())
        numbers = (p[:, :5] ** 2).sum() + (q[:, [0, 1, 2, 3, 5]] ** 2).sum()
        losses.append((weight * (x - p @ q.T) ** 2).sum() + part.reg * numbers)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_nothing_known_gives_no_vector() -> None:
    part: Any = Eals(d=3)
    slow.ready(part)
    items = np.array([10**6, 0], dtype=np.int32)
    got = part.fold_in(np.array([0, 0, 1, 2]), items, np.ones(2, dtype=np.float32))
    assert np.isnan(got).all(axis=1).tolist() == [True, True, False]
