"""Quorum: against the definition, in plain loops over users, items and categories."""

import math

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError
from shortlist.retrieve.quorum import Quorum
from shortlist.testing.suite import told
from tests.retrieve import slow


def categories(by: str) -> list[list[int]]:
    """Every item's categories."""
    items = slow.small().catalogue.items
    return [items.tags(by, np.array([item]))[1].tolist() for item in range(len(items))]


def cared(of: list[list[int]], history: list[int], weights: list[float], width: int) -> Array:
    """(categories,) UF: shares of a history, items of several categories split."""
    uf = np.zeros(width)
    for item, weight in zip(history, weights, strict=True):
        for category in of[item]:
            uf[category] += weight / len(of[item])
    return uf / uf.sum() if uf.sum() else uf


@pytest.mark.parametrize("by", ["category", "tags"])
@pytest.mark.parametrize(("gamma", "top", "least"), [(1.5, 1000, 1), (9.0, 4, 6)])
def test_scores(by: str, gamma: float, top: int, least: int) -> None:
    part = Quorum(by=by, gamma=gamma, top=top, least=least, decay=0.8, last=5)
    state = slow.ready(part)
    small, of = slow.small(), categories(by)
    width = max(max(own, default=-1) for own in of) + 1
    takers = [user for user in range(len(small.catalogue.users)) if slow.recent(user)]
    uf = {user: cared(of, slow.recent(user), [1.0] * len(slow.recent(user)), width) for user in takers}
    idf = [min(-math.log(np.mean([uf[user][c] for user in takers]) or 1e-300), gamma) for c in range(width)]
    tf: dict[int, Array] = {}
    for item in range(len(of)):
        public = [user for user in takers if item in slow.recent(user)]
        if len(public) >= least:
            tf[item] = np.mean([uf[user] for user in public], axis=0)
    assert len(tf) > 10
    tops = [
        sorted((i for i in tf if tf[i][c] > 0), key=lambda i: (-np.float32(tf[i][c]), i))[:top] for c in range(width)
    ]
    batch = small.requests(20)
    hits = part.retrieve(batch, state, 100, None)
    found = 0
    for i, user in enumerate(batch.user.tolist()):
        history = slow.recent(user, 5)
        own = cared(of, history, [0.8**place for place in range(len(history))], width)
        chosen = {item for c in range(width) if own[c] > 0 for item in tops[c]}
        wanted = {item: sum(tf[item][c] * own[c] * idf[c] for c in range(width)) for item in chosen}
        count = int((hits.items[i] >= 0).sum())
        found += count
        got = dict(zip(hits.items[i, :count].tolist(), hits.scores[i, :count].tolist(), strict=True))
        assert got == pytest.approx(wanted, rel=1e-4)
    assert found > 50


def test_a_rare_category_counts_more() -> None:
    part = Quorum(gamma=100.0, least=1)
    slow.ready(part)
    of = categories("category")
    share = np.zeros(len(part.rarity))
    takers = [user for user in range(len(slow.small().catalogue.users)) if slow.recent(user)]
    for user in takers:
        share += cared(of, slow.recent(user), [1.0] * len(slow.recent(user)), len(share))
    order = np.argsort(share)
    assert (np.diff(part.rarity[order]) <= 1e-5).all()


def test_the_column_is_checked() -> None:
    part = Quorum(by="price")
    told(part, slow.small().ctx)
    with pytest.raises(
        ConfigError, match=r"quorum.by: item column 'price' is a number column; columns of categories: "
    ):
        part.fit(slow.small().log, slow.small().ctx)
