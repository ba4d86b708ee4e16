"""iALS: against dense least squares, for one row and for whole passes."""

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.core.rng import rng
from shortlist.learn.als import diagonalised
from shortlist.retrieve.ials import Ials
from tests.retrieve import slow


def solved(part: Ials, vectors: Array, chosen: list[int], weights: list[float]) -> Array:
    """One row's vector by the normal equations, as they are written in the paper."""
    count, d = vectors.shape
    penalty = part.reg * (len(chosen) + part.alpha0 * count) ** part.nu
    x, w = vectors[chosen], np.array(weights)
    return np.linalg.solve(part.alpha0 * vectors.T @ vectors + penalty * np.eye(d) + (x.T * w) @ x, x.T @ w)


@pytest.mark.parametrize(("d", "nu"), [(3, 1.0), (16, 0.5), (40, 0.0)])
def test_fold_in_is_least_squares(d: int, nu: float) -> None:
    """Histories shorter and longer than d take different ways to one answer."""
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(50, d)) * 0.4
    part = Ials(d=d, nu=nu, reg=0.05, alpha0=0.3)
    part.pairs = np.array([0.3, 0.05])
    part.items, part.diagonal = diagonalised(vectors.astype(np.float32))
    part.count = np.array([50])
    lengths = [1, 2, 3, 15, 16, 17, 40, 50]
    histories = [draw.permutation(50)[:length] for length in lengths]
    weights = [draw.uniform(0.1, 1.0, size=length) for length in lengths]
    got = part.fold_in(
        np.cumsum([0, *lengths]), np.concatenate(histories).astype(np.int32), np.concatenate(weights).astype(np.float32)
    )
    for i in range(len(lengths)):
        wanted = vectors @ solved(part, vectors, histories[i].tolist(), weights[i].tolist())
        np.testing.assert_allclose(part.items @ got[i], wanted, atol=1e-4)


def test_nothing_known_gives_no_vector() -> None:
    part = Ials(d=4)
    part.pairs = np.array([0.3, 0.05])
    part.items = np.full((3, 4), np.nan, dtype=np.float32)
    part.items[0] = 1.0
    part.diagonal, part.count = np.ones(4, dtype=np.float32), np.array([1])
    items = np.array([1, 9, 0, 1], dtype=np.int32)
    got = part.fold_in(np.array([0, 0, 2, 4]), items, np.ones(4, dtype=np.float32))
    assert np.isnan(got).all(axis=1).tolist() == [True, True, False]
    only = part.fold_in(np.array([0, 1]), items[2:3], np.ones(1, dtype=np.float32))
    np.testing.assert_array_equal(only[0], got[2])


@pytest.mark.parametrize("d", [4, 24])
def test_passes(d: int) -> None:
    part = Ials(d=d, epochs=3, reg=0.02, alpha0=0.2)
    state = slow.ready(part)
    matrix = slow.clicked()
    users, items = np.flatnonzero(matrix.any(axis=1)), np.flatnonzero(matrix.any(axis=0))
    x = matrix[np.ix_(users, items)]
    v = rng(0, "ials").standard_normal((len(items), d)) * (0.1 / np.sqrt(d))
    for _ in range(3):
        chosen = [np.flatnonzero(row).tolist() for row in x]
        u = np.array([solved(part, v, row, [1.0] * len(row)) for row in chosen])
        chosen = [np.flatnonzero(row).tolist() for row in x.T]
        v = np.array([solved(part, u, row, [1.0] * len(row)) for row in chosen])
    batch = slow.small().requests(15)
    got = slow.full_rows(part, state, batch)
    answered = 0
    for i, user in enumerate(batch.user.tolist()):
        history = [int(np.flatnonzero(items == item)[0]) for item in slow.recent(user)]
        wanted = np.full(matrix.shape[1], np.nan)
        if history:
            wanted[items] = v @ solved(part, v, history, [1.0] * len(history))
            answered += 1
        np.testing.assert_allclose(got[i], wanted, atol=2e-3)
    assert answered > 10


def test_every_pass_lowers_the_loss() -> None:
    matrix = slow.clicked()
    losses = []
    for epochs in (1, 2, 4, 8):
        part = Ials(d=6, epochs=epochs, reg=0.02, alpha0=0.2)
        slow.ready(part)
        known = np.flatnonzero(~np.isnan(part.items[:, 0]))
        v = part.items[known].astype(np.float64)
        x = matrix[:, known]
        u = np.array([solved(part, v, np.flatnonzero(row).tolist(), [1.0] * int(row.sum())) for row in x])
        scores = u @ v.T
        reach = (x.sum(axis=1) + 0.2 * len(known), x.sum(axis=0) + 0.2 * x.any(axis=1).sum())
        ridge = 0.02 * (reach[0] @ (u**2).sum(axis=1) + reach[1] @ (v**2).sum(axis=1))
        losses.append((x * (scores - 1) ** 2).sum() + 0.2 * (scores**2).sum() + ridge)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("weigh", "alpha", "eps"), [("count", 2.0, 0.5), ("count", 0.5, 0.0), ("value", 0.1, 3.0)])
def test_weights(weigh: str, alpha: float, eps: float) -> None:
    """By how often, or for how much: in the passes and in the fold-in."""
    part = Ials(d=4, epochs=3, reg=0.02, alpha0=0.2, weigh=weigh, alpha=alpha, eps=eps, event=("click", "purchase"))
    state = slow.ready(part)
    world = slow.small()
    amounts = np.zeros((len(world.catalogue.users), len(world.catalogue.items)))
    log = world.log.of_kinds(world.ctx.kinds(("click", "purchase")))
    for user, item, value in zip(log.user.tolist(), log.item.tolist(), log.columns["value"].tolist(), strict=True):
        amounts[user, item] += 1.0 if weigh == "count" else np.nan_to_num(value)
    weights = alpha * (np.log(1 + amounts / eps) if eps else amounts)
    users, items = np.flatnonzero(weights.any(axis=1)), np.flatnonzero(weights.any(axis=0))
    assert len(np.unique(weights)) > 3
    x = weights[np.ix_(users, items)]

    def step(vectors: Array, row: Array) -> Array:
        chosen = np.flatnonzero(row).tolist()
        return solved(part, vectors, chosen, row[chosen].tolist())

    v = rng(0, "ials").standard_normal((len(items), 4)) * (0.1 / np.sqrt(4))
    for _ in range(3):
        u = np.array([step(v, row) for row in x])
        v = np.array([step(u, row) for row in x.T])
    batch = world.requests(50)
    got = slow.full_rows(part, state, batch)
    answered = 0
    for i, user in enumerate(batch.user.tolist()):
        row = weights[user][items]
        if user >= 0 and row.any():
            np.testing.assert_allclose(got[i][items], v @ step(v, row), atol=2e-3)
            answered += 1
        else:
            assert np.isnan(got[i]).all()
    assert answered > 5
