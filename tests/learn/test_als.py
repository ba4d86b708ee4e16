"""Alternating least squares: subspace steps against plain loops, and the strengths that follow the data."""

import numpy as np
import pytest
from scipy import sparse

from shortlist.core.batch import Array
from shortlist.learn import als

LOSS = als.Loss(0.2, 0.03, 1.0)


def stepped(u: Array, x: Array, w: Array, ridge: Array, block: int) -> Array:
    """One Newton step per block of dimensions, as iALS++ writes it."""
    u = u.astype(float).copy()
    for start in range(0, len(u), block):
        own = slice(start, min(start + block, len(u)))
        gradient = x[:, own].T @ (w * (x @ u - 1)) + ridge[own] * u[own]
        hessian = (x[:, own].T * w) @ x[:, own] + np.diag(ridge[own])
        u[own] -= np.linalg.solve(hessian, gradient)
    return u


@pytest.mark.parametrize("block", [1, 3, 4])
def test_subspace_steps(block: int) -> None:
    """Where they begin, one round of them is what the paper writes; many rounds are the exact answer."""
    draw = np.random.default_rng(0)
    vectors, diagonal = als.diagonalised(draw.normal(size=(40, 8)) * 0.4)
    items, weights = np.arange(30, dtype=np.int32), draw.uniform(0.2, 2, 30).astype(np.float32)
    ridge = LOSS.alpha0 * diagonal + LOSS.reg * (30 + LOSS.alpha0 * 40)
    out = draw.normal(size=(1, 8)).astype(np.float32)
    wanted = out[0].copy()
    exact = als.fold_in(np.array([0, 30]), items, weights, vectors, diagonal, LOSS, 40)
    distance = []
    for _ in range(60):
        wanted = stepped(wanted, vectors[:30].astype(float), weights, ridge, block)
        als._solve(np.array([0, 30]), items, weights, vectors, diagonal, *LOSS, 40, block, out)
        np.testing.assert_allclose(out[0], wanted, atol=1e-4)
        distance.append(float(np.abs(out - exact).max()))
    assert distance[0] > 0.01
    assert distance[-1] < 1e-4


@pytest.mark.parametrize("block", [0, 4])
def test_both_ways_lower_the_loss(block: int) -> None:
    draw = np.random.default_rng(2)
    x = draw.random((60, 40)) < 0.3
    weights = np.where(x, draw.uniform(0.5, 2, x.shape), 0)
    matrix = sparse.csr_array(weights.astype(np.float32))
    losses = []
    for epochs in (1, 2, 4, 12):
        v, diagonal = als.factors(matrix, draw.normal(size=(40, 10)) * 0.03, LOSS, epochs=epochs, block=block)
        np.testing.assert_allclose(v.astype(float).T @ v, np.diag(diagonal), atol=1e-3)
        u = als.fold_in(matrix.indptr.astype(np.int64), matrix.indices, matrix.data, v, diagonal, LOSS, 40)
        scores = u.astype(float) @ v.T
        reach = x.sum(axis=1) + LOSS.alpha0 * 40, x.sum(axis=0) + LOSS.alpha0 * 60
        ridge = LOSS.reg * (reach[0] @ (u**2).sum(axis=1) + reach[1] @ (v**2).sum(axis=1))
        losses.append(float((weights * (scores - 1) ** 2).sum() + LOSS.alpha0 * (scores**2).sum() + ridge))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.99 * losses[0]


def test_strengths_follow_the_data() -> None:
    """All pairs weigh `balance` times the observed ones, the penalty SHARE of them; twice the weights are twice alpha0, and the same
    penalty for the same vectors relative to the rest."""
    matrix = sparse.random_array((500, 400), density=0.01, rng=np.random.default_rng(0), format="csr")
    matrix.data[:] = 1.0
    alpha0, reg = als.strengths(matrix, 0.0, 16.0, 0.0)
    assert alpha0 * 500 * 400 == pytest.approx(16 * matrix.nnz)
    assert reg * (matrix.nnz + alpha0 * 500 * 400) == pytest.approx(als.SHARE * matrix.nnz)
    matrix.data[:] = 2.0
    assert als.strengths(matrix, 0.0, 16.0, 0.0)[0] == pytest.approx(2 * alpha0)
    assert als.strengths(matrix, 0.7, 16.0, 0.3) == (0.7, 0.3)
    full = sparse.csr_array(np.ones((5, 4)))
    assert als.strengths(full, 0.0, 16.0, 0.0)[0] == 1.0


def test_confidence() -> None:
    amounts = np.array([1.0, 3.0])
    np.testing.assert_allclose(als.confidence(amounts, 2.0, 0.0), [2.0, 6.0])
    np.testing.assert_allclose(als.confidence(amounts, 2.0, 0.5), 2 * np.log(1 + amounts / 0.5), rtol=1e-6)


@pytest.mark.parametrize("size", range(1, 20))
def test_a_system_of_any_size(size: int) -> None:
    """Whole panels of four and what is left over, against numpy."""
    draw = np.random.default_rng(size)
    x = draw.normal(size=(size, size + 3))
    table, right = x @ x.T + np.eye(size), draw.normal(size=size)
    side = np.full((32, 32), np.nan, dtype=np.float32)
    side[:size, :size] = np.triu(table)
    got = right.astype(np.float32)
    als._cholesky_solve(side, got, size)
    np.testing.assert_allclose(got, np.linalg.solve(table, right), atol=1e-3 * np.abs(right).max())
