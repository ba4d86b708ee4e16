"""Quotas: a number or a table by segment; a source is not asked where its quota is 0."""

from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Batch
from shortlist.core.contracts import Hits, Mask, State
from shortlist.core.errors import ConfigError
from shortlist.pipeline.config import parse
from shortlist.pipeline.quota import checked, most, search, segments
from shortlist.testing.toy import shop


class Counting:
    """Gives every user the items from his code on, and remembers who was asked."""

    def __init__(self, size: int, full: bool) -> None:
        self.size, self.full, self.asked = size, full, np.zeros(0)

    def retrieve(self, batch: Batch, state: State, k: int, allowed: Mask | None) -> Hits:
        """See Source."""
        self.asked = batch.user
        items = (batch.user[:, None] + np.arange(k)) % self.size
        banned = np.zeros(items.shape, dtype=bool)
        if allowed is not None and allowed.offsets is not None and allowed.items is not None:
            for i in range(batch.n):
                banned[i] = np.isin(items[i], allowed.items[allowed.offsets[i] : allowed.offsets[i + 1]])
        items = np.where(banned, -1, items).astype(np.int32)
        full = np.tile(batch.user[:, None].astype(np.float32), (1, self.size)) if self.full else None
        return Hits(items, items.astype(np.float32), full)


@pytest.mark.parametrize("full", [False, True])
def test_every_segment_gets_its_own(full: bool) -> None:
    source, batch = Counting(20, full), Batch.of(np.arange(6), np.array(0))
    segment = np.array([0, 1, 2, 2, 1, 0])
    mask = Mask(None, np.arange(7), np.arange(6, dtype=np.int32))  # everybody bans his first item
    quota: Any = {"cold": 0, "light": 2, "heavy": 5}
    hits = search(source, batch, None, quota, segment, mask)  # type: ignore[arg-type]
    assert source.asked.tolist() == [1, 2, 3, 4]
    for i, limit in enumerate([0, 2, 5, 5, 2, 0]):
        expected = [-1 if j == 0 or j >= limit else i + j for j in range(5)]
        assert hits.items[i].tolist() == expected
        assert np.isnan(hits.scores[i][limit:]).all()
        if full:
            assert hits.full is not None
            np.testing.assert_array_equal(hits.full[i], np.full(20, i if limit else np.nan, dtype=np.float32))
    assert most(quota) == 5


def test_segments_are_by_length_of_the_history() -> None:
    world = shop()
    state = world.state()
    batch = Batch.of(np.append(np.arange(len(world.catalogue.users)), -1), np.array(world.ctx.now))
    got = segments(batch, state, (3, 12))
    lengths = np.diff(state.history(batch.user).offsets).tolist()
    assert got.tolist() == [0 if length < 3 else 1 if length < 12 else 2 for length in lengths]
    assert set(got.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, r"here: 0 is out of range"),
        ({"cold": 1}, r"here: no 'light'"),
        ({"cold": 1, "light": 1, "heavy": 1, "heavi": 1}, "unknown segment 'heavi'"),
        ({"cold": -1, "light": 1, "heavy": 1}, r"here.cold: -1 is out of range"),
        ({"cold": 0, "light": 0, "heavy": 0}, "0 for every segment"),
        ("many", "here: expected int, got str 'many'"),
    ],
)
def test_bad_quotas_are_refused(value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        checked(value, "here")


def test_a_recipe_keeps_its_tables() -> None:
    table = {"cold": 5, "light": 50, "heavy": 100}
    tree = {"source": [{"type": "popular", "quota": table}, {"type": "itemknn"}], "pipeline": {"merge": "learned"}}
    recipe = parse(tree)
    assert recipe.quotas == {"popular": table, "itemknn": 100}
    assert parse(recipe.resolved()).resolved() == recipe.resolved()
    for edges in ([1], [5, 5], [0, 4]):
        with pytest.raises(ConfigError, match=r"pipeline.segments"):
            parse({**tree, "pipeline": {"segments": edges}})
    with pytest.raises(ConfigError, match="nothing is merged"):
        parse({"ranker": [{"type": "linear"}], "pipeline": {"candidates": "impressions", "merge": "learned"}})
