"""itemKNN: against dense matrices."""

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.data.log import Log
from shortlist.retrieve.itemknn import Itemknn, newest
from shortlist.testing.toy import alone
from tests.retrieve import slow


def similarity(weighting: str, shrink: float, idf: str = "smooth") -> Array:
    """(items, items) by the definition, in plain steps."""
    world = slow.small()
    counts = np.zeros((len(world.catalogue.users), len(world.catalogue.items)))
    for user, item, _ in slow.events():
        counts[user, item] += 1
    binary = counts > 0
    met = binary.any(axis=0).sum()
    weight = np.zeros_like(counts)
    for user, item in zip(*np.nonzero(binary), strict=True):
        many = binary[user].sum()
        rarity = np.log(1 + met / many) if idf == "smooth" else max(np.log(met / (1 + many)), 1e-6)
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


@pytest.mark.parametrize("weighting", ["tfidf", "bm25"])
def test_plain_idf(weighting: str) -> None:
    part = Itemknn(weighting=weighting, idf="plain", shrink=2.0, k=1000, cap=0)
    state = slow.ready(part)
    near = similarity(weighting, 2.0, "plain")
    batch = slow.small().requests(15)
    got = slow.full_rows(part, state, batch)
    for i, user in enumerate(batch.user.tolist()):
        np.testing.assert_allclose(got[i], near[slow.recent(user)].sum(axis=0), rtol=1e-4, atol=1e-6)


def test_the_candidate_keeps_its_neighbours() -> None:
    part = Itemknn(k=4, shrink=1.0, keep="candidate", cap=0)
    state = slow.ready(part)
    near = similarity("cosine", 1.0)
    for column in near.T:
        column[np.argsort(-column, kind="stable")[4:]] = 0
    assert (near > 0).sum(axis=1).max() > 4
    batch = slow.small().requests(15)
    got = slow.full_rows(part, state, batch)
    for i, user in enumerate(batch.user.tolist()):
        np.testing.assert_allclose(got[i], near[slow.recent(user)].sum(axis=0), rtol=1e-4, atol=1e-6)


def test_sar() -> None:
    """Jaccard's likeness, and histories of decayed values: SAR, in plain loops over the events."""
    world = slow.small()
    values = np.random.default_rng(3).integers(0, 6, len(world.log)).astype(np.float32)
    values[::7] = np.nan
    rated = alone(world, Log({**world.log.columns, "value": values}), world.ctx.now)
    part = Itemknn(weighting="jaccard", shrink=0.0, k=1000, weigh="value", half_life="12h", cap=0)
    state = slow.ready(part, rated)
    who = [set(np.flatnonzero(column)) for column in slow.clicked().T]
    near = np.array([[len(a & b) / max(len(a | b), 1) for b in who] for a in who])
    np.fill_diagonal(near, 0.0)
    batch = world.requests(15)
    got = slow.full_rows(part, state, batch)
    clicks = np.flatnonzero(world.log.kind == world.catalogue.kinds.code("click"))
    now = max(world.ctx.now, state.now)
    for i, user in enumerate(batch.user.tolist()):
        wanted = np.zeros(len(near))
        for event in clicks:
            if world.log.user[event] == user and values[event] > 0:
                age = (now - int(world.log.time[event])) / 43_200
                wanted += float(values[event]) * 0.5**age * near[world.log.item[event]]
        np.testing.assert_allclose(got[i], wanted, rtol=1e-3, atol=1e-6)
    assert (got > 0).any(axis=1).sum() > 10
