"""HybridSVD against the paper's own way: a Cholesky root of the whole similarity matrix, dense."""

import numpy as np
import pytest
from scipy import sparse

from shortlist.core.batch import Array
from shortlist.learn import content
from shortlist.retrieve import hybridsvd
from shortlist.retrieve.hybridsvd import Hybridsvd, Root, Whole, in_whole
from shortlist.retrieve.puresvd import Puresvd
from tests.retrieve import slow


def similarity(likeness: str, weight: float) -> Array:
    """(items, items) S by the definition."""
    table = slow.small().catalogue.items
    attributes = content.matrix(table, ["*"]).toarray()
    assert attributes.shape[1] > 10  # categories and tags
    alike = attributes @ attributes.T
    if likeness == "common":
        having = [
            {(name, int(code)) for name in ("category", "tags") for code in table.tags(name, np.array([item]))[1]}
            for item in range(len(alike))
        ]
        alike = np.array([[len(a & b) for b in having] for a in having], dtype=np.float64)
        alike /= alike.max()
        assert len(set(np.diag(alike))) > 1
        np.fill_diagonal(alike, 1.0)
    return np.asarray((1 - weight) * np.eye(len(alike)) + weight * alike)


@pytest.mark.parametrize(("weight", "scale"), [(0.5, 1.0), (0.2, 0.5)])
@pytest.mark.parametrize("likeness", ["cosine", "common"])
@pytest.mark.parametrize("whole", [False, True])
def test_scores(weight: float, scale: float, likeness: str, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any root of the similarity gives the same scores."""
    monkeypatch.setattr(hybridsvd, "in_whole", lambda rows, rank: whole)
    by = ["*"] if likeness == "cosine" else ["category", "tags"]
    part = Hybridsvd(d=5, weight=weight, scale=scale, likeness=likeness, by=by)
    state = slow.ready(part)
    x = slow.clicked()
    events = x.sum(axis=0)
    attributes = content.matrix(slow.small().catalogue.items, part.by).toarray()
    s = similarity(likeness, weight)
    np.testing.assert_allclose(np.diag(s), 1.0)
    root = np.linalg.cholesky(s)
    scaled = x * np.sqrt(events) ** np.where(events > 0, scale - 1, 0)
    w = np.linalg.svd(scaled @ root)[2][:5].T
    asks, scored = root @ w, np.linalg.solve(root.T, w)
    np.testing.assert_allclose(asks, s @ scored, atol=1e-8)
    for new in np.flatnonzero(events == 0):
        alike = attributes[events > 0] @ attributes[new]
        scored[new] = alike @ scored[events > 0] / alike.sum()
    batch = slow.small().requests(15)
    got = slow.full_rows(part, state, batch)
    answered = 0
    for i, user in enumerate(batch.user.tolist()):
        history = slow.recent(user)
        if history:
            np.testing.assert_allclose(got[i], scored @ asks[history].sum(axis=0), atol=1e-4)
            answered += 1
        else:
            assert np.isnan(got[i]).all()
    assert answered > 10


def test_without_attributes_it_is_puresvd() -> None:
    batch = slow.small().requests(15)
    hybrid, pure = Hybridsvd(d=5, weight=0.0), Puresvd(d=5)
    rows = [slow.full_rows(part, slow.ready(part), batch) for part in (hybrid, pure)]
    known = slow.clicked().any(axis=0)
    np.testing.assert_allclose(rows[0][:, known], rows[1][:, known], atol=1e-5)


@pytest.mark.parametrize("kind", [Root, Whole])
def test_the_root_is_one(kind: type[Root] | type[Whole]) -> None:
    """With its transpose it is the similarity; undone it is nothing; items without attributes are like themselves only."""
    rows = content.matrix(slow.small().catalogue.items, ["category"])
    rows.data[rows.indptr[3] : rows.indptr[4]] = 0.0
    rows.eliminate_zeros()
    size = rows.shape[0] + 2
    root = kind.of(rows, size, 0.4, 100)
    wide = np.zeros((size, rows.shape[1]))
    wide[:-2] = rows.toarray()
    s = 0.6 * np.eye(size) + 0.4 * wide @ wide.T
    s[[3, -2, -1], [3, -2, -1]] = 1.0
    np.testing.assert_allclose(root.times(root.back(np.eye(size))), s, atol=1e-9)
    np.testing.assert_allclose(root.inverse_back(root.back(np.eye(size))), np.eye(size), atol=1e-9)
    np.testing.assert_allclose(root.times(np.ones(size)), root.times(np.eye(size)).sum(axis=1), atol=1e-9)


def test_which_root() -> None:
    """The dense one where it leaves nothing out, and the directions are no fewer than half the items."""
    for shape, rank, wanted in [
        ((40, 30), 30, True), ((40, 30), 29, False), ((40, 20), 30, False), ((40, 90), 40, True), ((40, 90), 39, False),
        ((hybridsvd.MOST_IN_WHOLE + 1, 9000), 9000, False), ((0, 0), 10, False),
    ]:  # fmt: skip
        assert in_whole(sparse.csr_array(shape), rank) == wanted
