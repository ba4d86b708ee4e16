"""iALS with attributes against dense least squares over the users and the attributes as more of them."""

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.rng import rng
from shortlist.learn import content
from shortlist.retrieve.als_content import AlsContent
from tests.retrieve import slow


def solved(vectors: Array, weights: Array, alpha0: float, reg: float) -> Array:
    """One row by the normal equations. weights: (items,) 0 where not met."""
    met = int((weights > 0).sum())
    ridge = reg * (met + alpha0 * len(vectors)) * np.eye(vectors.shape[1])
    return np.linalg.solve(alpha0 * vectors.T @ vectors + ridge + (vectors.T * weights) @ vectors, vectors.T @ weights)


def test_passes() -> None:
    part = AlsContent(d=6, epochs=3, alpha0=0.2, reg=0.02, side=1.5)
    state = slow.ready(part)
    x = slow.clicked()
    x = x[x.any(axis=1)]
    known = content.matrix(slow.small().catalogue.items, ["*"]).toarray()
    below = 1.5 * known / known.sum(axis=1, keepdims=True)
    whole = np.concatenate([x, below.T[below.any(axis=0)]])
    assert whole.any(axis=0).all()
    v = rng(0, "als_content").standard_normal((whole.shape[1], 6)) * (0.1 / np.sqrt(6))
    for _ in range(3):
        u = np.array([solved(v, row, 0.2, 0.02) for row in whole])
        v = np.array([solved(u, column, 0.2, 0.02) for column in whole.T])
    batch = slow.small().requests(15)
    got = slow.full_rows(part, state, batch)
    answered = 0
    for i, user in enumerate(batch.user.tolist()):
        history = slow.recent(user)
        if history:
            asked = np.zeros(len(v))
            asked[history] = 1.0
            np.testing.assert_allclose(got[i], v @ solved(v, asked, 0.2, 0.02), atol=2e-3)
            answered += 1
        else:
            assert np.isnan(got[i]).all()
    assert answered > 10


def test_fixed_vectors_are_the_attributes() -> None:
    """Only the user is solved for: inner products of items are those of their attributes."""
    part = AlsContent(d=80, fixed=True)
    slow.ready(part)
    known = content.matrix(slow.small().catalogue.items, ["*"])
    np.testing.assert_allclose(part.items @ part.items.T, (known @ known.T).toarray(), atol=1e-4)
