"""itemKNN: against dense matrices."""

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.data.log import Log
from shortlist.retrieve.itemknn import Itemknn, newest
from tests.retrieve import slow


def similarity(weighting: str, shrink: float) -> Array:
    """(items, items) by the definition, in plain steps."""
    world = slow.small()
    counts = np.zeros((len(world.catalogue.users), len(world.catalogue.items)))
    for user, item, _ in slow.events():
        counts[user, item] += 1
    binary = counts > 0
    met = binary.any(axis=0).sum()
    weight = np.zeros_like(counts)
    for user, item in zip(*np.nonzero(binary), strict=True):
        rarity = np.log(1 + met / binary[user].sum())
        length = 0.25 + 0.75 * binary[:, item].sum() / (binary.sum() / met)
        f = counts[user, item]
        weight[user, item] = {
            "cosine": 1.0,
            "tfidf": np.sqrt(f) * rarity,
            "bm25": f * 2.2 / (f + 1.2 * length) * rarity,
        }[weighting]
    norm = np.sqrt((weight**2).sum(axis=0))
    with np.errstate(invalid="ignore"):
        out = weight.T @ weight / (np.outer(norm, norm) + shrink)
    np.fill_diagonal(out, 0)
    return np.nan_to_num(out)


@pytest.mark.parametrize("weighting", ["cosine", "tfidf", "bm25"])
@pytest.mark.parametrize("shrink", [0.0, 5.0])
def test_scores(weighting: str, shrink: float) -> None:
    part = Itemknn(weighting=weighting, shrink=shrink, k=1000, decay=0.9, last=7, cap=0)
    state = slow.ready(part)
    near = similarity(weighting, shrink)
    batch = slow.small().requests(15)
    got = slow.full_rows(part, state, batch)
    for i, user in enumerate(batch.user.tolist()):
        wanted = np.zeros(near.shape[0])
        for place, item in enumerate(slow.recent(user, 7)):
            wanted += 0.9**place * near[item]
        np.testing.assert_allclose(got[i], wanted, rtol=1e-4, atol=1e-6)


def test_only_the_nearest_are_kept() -> None:
    part = Itemknn(k=4, shrink=1.0)
    slow.ready(part)
    near = similarity("cosine", 1.0).astype(np.float32)
    for item in range(len(part.indptr) - 1):
        row = slice(part.indptr[item], part.indptr[item + 1])
        assert len(part.indices[row]) == min(4, (near[item] > 0).sum())
        np.testing.assert_allclose(part.values[row], np.sort(near[item])[::-1][: len(part.indices[row])], rtol=1e-5)


def test_the_cap_keeps_the_newest_events_of_each_user() -> None:
    user = np.array([0, 1, 0, 0, 1], dtype=np.int32)
    log = Log({"user": user, "item": np.arange(5, dtype=np.int32), "time": np.arange(5)})
    assert newest(log, 2).item.tolist() == [1, 2, 3, 4]
    assert newest(log, 1).item.tolist() == [3, 4]
    assert newest(log, 0) is log
