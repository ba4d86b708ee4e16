"""Content against cosines in plain loops; and what the three sources that know attributes say of an item without an event."""

from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import FitContext, Mask
from shortlist.data.dataset import Dataset, encode, from_frames
from shortlist.data.synthetic import world as world_of_titles
from shortlist.data.upsert import checked, put, row
from shortlist.learn import content
from shortlist.retrieve.als_content import AlsContent
from shortlist.retrieve.content import Content
from shortlist.retrieve.hybridsvd import Hybridsvd
from shortlist.retrieve.puresvd import Puresvd
from shortlist.state.state import State
from shortlist.testing.suite import told
from tests.retrieve import slow


def expected(cosine: Array, history: list[int], combine: str, decay: float) -> Array:
    rows = [decay**place * cosine[item] for place, item in enumerate(history)]
    if not rows:
        return np.zeros(len(cosine))
    return np.array(sum(rows) if combine == "mean" else np.max([*rows, np.zeros(len(cosine))], axis=0))


@pytest.mark.parametrize("combine", ["mean", "max"])
@pytest.mark.parametrize("last", [3, 0])
def test_scores(combine: str, last: int) -> None:
    part = Content(combine=combine, last=last, decay=0.8)
    state = slow.ready(part)
    table = slow.small().catalogue.items
    known = content.matrix(table, ["*"], ["*"]).toarray()
    assert table.listed == len(known)
    assert (np.linalg.norm(known, axis=1) > 0).all()
    batch = slow.small().requests(15)
    got = slow.full_rows(part, state, batch)
    for i, user in enumerate(batch.user.tolist()):
        wanted = expected(known @ known.T, slow.recent(user, last), combine, 0.8)
        np.testing.assert_allclose(got[i], wanted, atol=1e-5)
    assert (got > 0).any()


def world() -> Dataset:
    """People who like soup and people who like ships; `new soup` and `new ship` have no event, `thing` has no attribute."""
    rows = [(f"{word}{i}", f"{word} {j}") for i in range(6) for word in ("soup", "ship") for j in range(5) if i != j]
    events = {
        "user_id": [user for user, _ in rows],
        "item_id": [item for _, item in rows],
        "time": list(range(len(rows))),
    }
    names = [f"{word} {j}" for word in ("soup", "ship") for j in (*range(5), "new")] + ["thing"]
    vectors = [[1.0, 0.1 * i] if "soup" in name else [-0.2, 1.0] for i, name in enumerate(names[:-1])]
    items = {
        "item_id": names,
        "kind": [name.split()[0] for name in names[:-1]] + [None],
        "place": [*vectors, None],
    }
    return from_frames(events, items, categories=("kind",))


@pytest.mark.parametrize("combine", ["mean", "max"])
def test_vectors_that_came_with_the_items(combine: str) -> None:
    data = world()
    part = Content(vector="place", combine=combine, decay=0.7, last=0)
    ctx = FitContext(data.catalogue, ("interaction",))
    state = State(data.catalogue, told(part, ctx))
    state.apply(data.log.columns)
    part.fit(data.log, ctx)
    vectors = content.given(data.catalogue.items, "place")
    unit = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    users = np.arange(4, dtype=np.int32)
    got = part.retrieve(Batch.of(users, np.array(state.now)), state, 5, None).full
    assert got is not None
    for user in users.tolist():
        history = data.log.item[data.log.user == user][::-1]
        rows = [0.7**place * (unit @ unit[item]) for place, item in enumerate(history)]
        wanted = np.sum(rows, axis=0) if combine == "mean" else np.max(rows, axis=0)
        np.testing.assert_allclose(got[user], wanted, atol=1e-6)
    assert np.isnan(got[:, -1]).all()


@pytest.mark.parametrize(
    "part",
    [
        Content(),
        Content(vector="place"),
        Content(combine="max"),
        Hybridsvd(d=2),
        AlsContent(d=4),
        AlsContent(d=2, fixed=True),
    ],
    ids=str,
)
def test_a_new_item_is_found_by_its_attributes(part: Any) -> None:
    """Nobody has clicked it; yet among what a person has not met it comes before the other group."""
    data = world()
    ctx = FitContext(data.catalogue, ("interaction",))
    state = State(data.catalogue, told(part, ctx))
    state.apply(data.log.columns)
    part.fit(data.log, ctx)
    items, people = data.catalogue.items.ids, data.catalogue.users.ids
    for word in ("soup", "ship"):
        batch = Batch.of(people.codes([f"{word}2"]), np.array(state.now))
        met = state.history(batch.user)
        hits = part.retrieve(batch, state, 2, Mask(None, met.offsets, met.items))
        assert {items.name(int(code)) for code in hits.items[0]} == {f"{word} 2", f"{word} new"}
        assert hits.full is not None
        assert np.isnan(hits.full[0, items.code("thing")])


def test_without_attributes_it_is_not() -> None:
    """The twin: a source that knows events only has no opinion."""
    data = world()
    part = Puresvd(d=2)
    state = State(data.catalogue)
    state.apply(data.log.columns)
    part.fit(data.log, FitContext(data.catalogue, ("interaction",)))
    hits = part.retrieve(Batch.of(np.array([0], np.int32), np.array(state.now)), state, 5, None)
    assert hits.full is not None
    assert np.isnan(hits.full[0, data.catalogue.items.ids.code("soup new")])


@pytest.mark.parametrize("part", [Content(), Content(combine="max")], ids=str)
def test_an_item_that_comes_while_serving(part: Content) -> None:
    """The twin of an item that the fit knew gets that item's scores; the others keep theirs; gone attributes make it unknown again."""
    data = world()
    items = data.catalogue.items
    state = State(data.catalogue)
    state.apply(data.log.columns)
    part.fit(data.log, FitContext(data.catalogue, ("interaction",)))
    batch = Batch.of(data.catalogue.users.ids.codes(["soup2", "ship2"]), np.array(state.now))
    before = part.retrieve(batch, state, 3, None).full
    assert before is not None
    model = items.ids.code("soup new")
    code = items.add("newest soup")
    put(items, code, checked([items], row(items, model), "twin"))
    part.items_changed(np.array([code], dtype=np.int32), data.catalogue)
    after = part.retrieve(batch, state, 3, None).full
    assert after is not None
    np.testing.assert_allclose(after[:, code], before[:, model], rtol=1e-5)
    assert after[0, code] > 0
    np.testing.assert_allclose(after[:, : before.shape[1]], before, rtol=1e-5)
    put(items, code, dict.fromkeys(items.columns))
    part.items_changed(np.array([code], dtype=np.int32), data.catalogue)
    last = part.retrieve(batch, state, 3, None).full
    assert last is not None
    assert np.isnan(last[:, code]).all()


def test_words_of_an_item_that_comes_while_serving() -> None:
    """Texts, categories and tags together: rows of items that were there are those of `matrix`; new words and values have no term."""
    table = encode(world_of_titles(users=10, items=60, days=2).tables).catalogue.items
    known = content.matrix(table, ["*"], ["*"]).toarray()
    found = content.layout(table, ["*"], ["*"])
    assert found.written
    assert len(found.names) >= 2
    np.testing.assert_allclose(found.rows(table, np.arange(table.listed)).toarray(), known, atol=1e-12)
    code = table.add("later")
    put(table, code, checked([table], {**row(table, 3), "category": "never heard of", "title": "xyzzy"}, "later"))
    assert 0 < (found.rows(table, np.array([code])).toarray() > 0).sum() < (known[3] > 0).sum()
