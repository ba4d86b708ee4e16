"""Truncated SVD: against the dense one of numpy, by both ways; sums of vectors against plain loops."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import sparse

from shortlist.core.batch import Array
from shortlist.learn import svd


def some(rows: int, columns: int, seed: int = 0) -> Array:
    """A sparse-looking matrix with a clear order of strengths."""
    draw = np.random.default_rng(seed)
    strong = draw.normal(size=(rows, 12)) * 0.7 ** np.arange(12) @ draw.normal(size=(12, columns))
    kept: Array = np.where(draw.random((rows, columns)) < 0.3, strong, 0.0)
    return kept


@pytest.mark.parametrize("dense", [10, 1000], ids=["lanczos", "gram"])
@pytest.mark.parametrize("shape", [(80, 50), (30, 60)])
def test_the_strongest_directions(dense: int, shape: tuple[int, int]) -> None:
    x = some(*shape)
    vectors, values = svd.truncated(sparse.csr_array(x), 7, dense=dense)
    _, s, vt = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(values, s[:7], rtol=1e-6)
    np.testing.assert_allclose(np.abs((vectors * vt[:7].T).sum(axis=0)), 1.0, atol=1e-5)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(7), atol=1e-8)
    assert (vectors[np.abs(vectors).argmax(axis=0), np.arange(7)] > 0).all()


def test_twice_the_same_bits() -> None:
    x = sparse.csr_array(some(90, 70))
    for dense in (10, 1000):
        first, again = svd.truncated(x, 5, dense=dense), svd.truncated(x, 5, dense=dense)
        np.testing.assert_array_equal(first[0], again[0])


def test_no_more_directions_than_there_are() -> None:
    x = np.outer(np.arange(9.0), np.ones(6)) + np.outer(np.ones(9), np.arange(6.0))
    vectors, values = svd.truncated(sparse.csr_array(x), 5)
    assert vectors.shape == (6, 2)
    np.testing.assert_allclose((x @ vectors) @ vectors.T, x, atol=1e-8)
    assert len(values) == 2
    for empty in ((0, 4), (4, 0)):
        assert svd.truncated(sparse.csr_array(empty), 3)[0].shape == (empty[1], 0)
    for columns in (4, 500):
        assert svd.truncated(sparse.csr_array((5, columns)), 3)[0].shape == (columns, 0)


@pytest.mark.parametrize("mean", [False, True])
def test_sums_of_vectors(mean: bool) -> None:
    draw = np.random.default_rng(1)
    vectors = draw.normal(size=(6, 3)).astype(np.float32)
    vectors[2] = np.nan
    offsets, items = np.array([0, 3, 3, 5, 6]), np.array([0, 2, 5, 2, 9, 4], dtype=np.int32)
    weights = draw.random(6).astype(np.float32)
    got = svd.project(offsets, items, weights, vectors, mean=mean)
    for i in range(4):
        own = [j for j in range(offsets[i], offsets[i + 1]) if items[j] < 6 and items[j] != 2]
        wanted = np.full(3, np.nan)
        if own:
            wanted = sum(weights[j] * vectors[items[j]].astype(float) for j in own)
            wanted = wanted / sum(weights[j] for j in own) if mean else wanted
        np.testing.assert_allclose(got[i], wanted, rtol=1e-5)


def test_products_are_shared_out_by_rows() -> None:
    """However the rows are cut: the plain product."""
    x = some(300, 130, 3)
    x[:, :5] *= 50  # columns of very different lengths
    x[20:60] = 0.0
    with ThreadPoolExecutor(2) as pool:
        product = svd._Product(sparse.csr_array(x), pool)
        many = np.random.default_rng(1).normal(size=(130, svd.WIDTH)).astype(np.float32)
        wanted = x.T @ (x @ many)
        np.testing.assert_allclose(product.gram(many), wanted, atol=1e-5 * np.abs(wanted).max())
        forth = x @ many.astype(np.float64)
        np.testing.assert_allclose(product.within(many), forth.T @ forth, atol=1e-6 * np.abs(forth.T @ forth).max())


def slow(columns: int, seed: int) -> Array:
    """Singular values that fall slowly: many products are needed, and restarts."""
    draw = np.random.default_rng(seed)
    left, right = (
        np.linalg.qr(draw.normal(size=(columns + 40, columns)))[0],
        np.linalg.qr(draw.normal(size=(columns, columns)))[0],
    )
    falling: Array = left * np.linspace(1.0, 0.6, columns) @ right.T
    return falling


def test_goes_on_with_the_best_where_the_space_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    keep = svd._Space.keep

    def counted(self: svd._Space, turn: Array) -> None:
        kept.append(turn.shape)
        keep(self, turn)

    monkeypatch.setattr(svd._Space, "keep", counted)
    x = slow(460, 5)
    vectors, values = svd.truncated(sparse.csr_array(x), 12)
    assert len(kept) > 1
    _, s, vt = np.linalg.svd(x)
    np.testing.assert_allclose(values, s[:12], rtol=1e-6)
    np.testing.assert_allclose(np.abs((vectors * vt[:12].T).sum(axis=0)), 1.0, atol=1e-4)
    assert len(kept) < svd.RESTARTS


def test_more_asked_for_than_there_is_where_few_columns_are_filled() -> None:
    """Rank 9 of 600 columns, most of them empty: the space of products ends before it holds d vectors."""
    x = np.zeros((200, 600))
    x[:, ::12] = np.random.default_rng(2).normal(size=(200, 9)) @ np.random.default_rng(3).normal(size=(9, 50))
    vectors, values = svd.truncated(sparse.csr_array(x), 30)
    assert vectors.shape == (600, 9)
    np.testing.assert_allclose(values, np.linalg.svd(x)[1][:9], rtol=1e-6)
    np.testing.assert_allclose((x @ vectors) @ vectors.T, x, atol=1e-5 * np.abs(x).max())


def test_equal_values() -> None:
    """More equal singular values than vectors that are multiplied together: all are found."""
    x = np.zeros((900, 450))
    x[np.arange(450), np.arange(450)] = 1.0
    x[:24] *= 3.0
    vectors, values = svd.truncated(sparse.csr_array(x), 24)
    np.testing.assert_allclose(values, 3.0, rtol=1e-6)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(24), atol=1e-8)
    np.testing.assert_allclose(np.abs(vectors[24:]).max(), 0.0, atol=1e-4)


@pytest.mark.parametrize("rows", [8, 37, 400])
def test_a_space_is_orthonormal(rows: int) -> None:
    draw = np.random.default_rng(0)
    with ThreadPoolExecutor(2) as pool:
        space = svd._Space(rows, 24, pool)
        for _ in range(1 if rows == 8 else 3):
            vectors: Array = space.drawn(draw)
            vectors[:, 3] = vectors[:, 1] * 2 + vectors[:, 2] * np.float32(1e-3)  # nearly nothing of its own
            if space.size:
                vectors += space.basis[:, :8] * np.float32(1000.0)
            was = vectors.astype(float)
            within = space.basis[:, : space.size].astype(float)
            made, left, _ = space.orthonormal(vectors, draw, float(np.abs(was).max()))
            own = was - within @ (within.T @ was)
            np.testing.assert_allclose(made.astype(float) @ left, own, atol=2e-4 * max(1.0, np.abs(was).max()))
            space.add(made)
        basis = space.basis[:rows, : space.size].astype(float)
        np.testing.assert_allclose(basis.T @ basis, np.eye(space.size), atol=1e-5)
        vectors = space.drawn(draw)
        was, wanted = vectors.astype(float), space.basis[:, 8:].astype(float)[:, : max(space.size - 8, 0)]
        shares = space.take_out(vectors, min(8, space.size))
        np.testing.assert_allclose(shares, wanted.T @ was, atol=1e-5)
        np.testing.assert_allclose(vectors, was - wanted @ (wanted.T @ was), atol=1e-5)
