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
    assert svd.truncated(sparse.csr_array((5, 4)), 3)[0].shape == (4, 0)


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
    """However the rows are cut, and whether one vector or many: the plain product."""
    x = some(300, 130, 3)
    x[:, :5] *= 50  # columns of very different lengths
    x[20:60] = 0.0
    with ThreadPoolExecutor(2) as pool:
        product = svd._Product(sparse.csr_array(x), pool)
        one, many = np.random.default_rng(0).normal(size=130), np.random.default_rng(1).normal(size=(130, 4))
        wanted = x.T @ (x @ one)
        np.testing.assert_allclose(product.gram(one.astype(np.float32)), wanted, atol=1e-4 * np.abs(wanted).max())
        wanted = x.T @ (x @ many)
        np.testing.assert_allclose(product.gram(many), wanted, atol=1e-6 * np.abs(wanted).max())
