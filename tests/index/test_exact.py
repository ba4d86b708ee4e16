"""Exact indexes: bit for bit what plain loops find, whatever the vectors, the bitmap, the batch and the history of changes."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core.batch import Array
from shortlist.core.errors import BundleError, ShortlistError
from shortlist.index.contract import Index
from shortlist.index.exact import Exact, Int8
from shortlist.index.make import load, make, save
from shortlist.index.scan import score
from tests.index.slow import Slow, same, slow_score, unequal

KINDS = [Exact, Int8]


def awkward(draw: np.random.Generator, count: int, d: int) -> Array:
    """Vectors of one of many kinds: ties, zeros, tiny, huge, not finite."""
    kind = draw.integers(8)
    if kind == 0:
        vectors = draw.integers(-1, 2, size=(count, d)).astype(np.float32)  # many ties
    elif kind == 1:
        vectors = np.zeros((count, d), dtype=np.float32)
    elif kind == 2:
        vectors = (draw.normal(size=(count, d)) * 10.0 ** draw.integers(-44, 15, size=(count, 1))).astype(np.float32)
    elif kind == 3:
        vectors = np.ones((count, d), dtype=np.float32) * np.float32(draw.normal())  # all equal
    elif kind == 4:
        vectors = draw.normal(size=(count, d)).astype(np.float32)
        vectors[draw.random(vectors.shape) < 0.02] = draw.choice([np.nan, np.inf, -np.inf, 1e16])
    elif kind == 5:
        vectors = np.zeros((count, d), dtype=np.float32)
        vectors[:, 0] = 1e15 * draw.choice([-1, 1, 0.5], size=count)  # one column says it all
        vectors[:, -1] += 1e-3
    else:
        vectors = unequal(count, d, int(draw.integers(1000)))
    return vectors


@given(st.integers(0, 10_000))
def test_the_score_is_its_definition(seed: int) -> None:
    draw = np.random.default_rng(seed)
    d = int(draw.integers(1, 70))
    query, vector = draw.normal(size=(2, d)).astype(np.float32)
    assert score(query, vector) == slow_score(query, vector)
    slow = Slow(d, 1)
    slow.add(np.array([0]), vector[None])
    assert slow.scores(query)[0] == slow_score(query, vector)


@pytest.mark.parametrize("cls", KINDS)
@given(seed=st.integers(0, 10_000))
def test_search_is_a_sort(cls: type[Exact], seed: int) -> None:
    draw = np.random.default_rng(seed)
    count, d, k = int(draw.integers(0, 400)), int(draw.integers(1, 80)), int(draw.integers(0, 40))
    vectors, queries = awkward(draw, count, d), awkward(draw, 3, d)
    index, slow = cls(d), Slow(d, max(count, 1))
    ids = draw.permutation(count)
    index.add(ids, vectors)
    slow.add(ids, vectors)
    for share in (None, 0.0, 0.01, 0.5, 1.0):
        allowed = None if share is None else draw.random(int(draw.integers(0, count + 70))) < share
        wanted = slow.search(queries, k, allowed)
        same(index.search(queries, k, allowed), wanted)
        if allowed is not None:
            same(index.search(queries, k, np.packbits(allowed, bitorder="little")), wanted)


@pytest.mark.parametrize("cls", KINDS)
def test_ten_thousand_mixed_changes_and_searches(cls: type[Exact]) -> None:
    draw = np.random.default_rng(1)
    d, room = 12, 260
    pool = np.concatenate([unequal(200, d, 0), draw.integers(-1, 2, size=(200, d)).astype(np.float32)])
    pool[7] = np.nan
    index, slow = cls(d), Slow(d, room)
    for turn in range(10_000):
        what = draw.integers(4)
        ids = draw.integers(0, room if turn > 2000 else 50, size=draw.integers(1, 4))
        if what == 0:
            vectors = pool[draw.integers(len(pool), size=len(ids))]
            index.add(ids, vectors)
            slow.add(ids, vectors)
        elif what == 1:
            index.delete(ids)
            slow.delete(ids)
        else:
            allowed = None if what == 2 else draw.random(room) < draw.random() ** 2
            queries = pool[draw.integers(len(pool), size=1)]
            same(index.search(queries, 9, allowed), slow.search(queries, 9, allowed))
        assert index.count == slow.held.sum()


def test_mixed_changes_and_searches_on_shards() -> None:
    draw = np.random.default_rng(3)
    d, room = 7, 90
    pool = np.concatenate([unequal(60, d, 0), draw.integers(-1, 2, size=(60, d)).astype(np.float32)])
    index, slow = make("int8", pool[:40], shards=4), Slow(d, room)
    slow.add(np.arange(40), pool[:40])
    for _ in range(1500):
        ids = draw.integers(0, room, size=draw.integers(1, 4))
        what = draw.integers(4)
        if what == 0:
            vectors = pool[draw.integers(len(pool), size=len(ids))]
            index.add(ids, vectors)
            slow.add(ids, vectors)
        elif what == 1:
            index.delete(ids)
            slow.delete(ids)
        else:
            allowed = None if what == 2 else draw.random(room) < draw.random() ** 2
            queries = pool[draw.integers(len(pool), size=2)]
            same(index.search(queries, 9, allowed), slow.search(queries, 9, allowed))
        assert index.count == slow.held.sum()


@pytest.mark.parametrize("kind", ["exact", "int8"])
def test_one_query_is_a_batch_and_shards_are_one(kind: str) -> None:
    vectors, queries = unequal(9000, 33, 2), unequal(150, 33, 3)
    vectors[100:120] = vectors[99]
    whole = make(kind, vectors)
    assert whole.count * len(queries) > 1_000_000, "enough for all cores to share it"
    together = whole.search(queries, 50)
    for i in range(0, 150, 11):
        ids, scores = whole.search(queries[i : i + 1], 50)
        np.testing.assert_array_equal(ids[0], together[0][i])
        np.testing.assert_array_equal(scores[0].view(np.uint32), together[1][i].view(np.uint32))
    same(make("int8" if kind == "exact" else "exact", vectors).search(queries, 50), together)
    for shards in (2, 3, 7):
        parts = make(kind, vectors, shards)
        assert (parts.size, parts.count) == (whole.size, whole.count)
        same(parts.search(queries, 50), together)


def test_a_search_sees_a_change_whole_or_not_at_all() -> None:
    index: Index = Int8(16)
    ones = np.ones((2000, 16), dtype=np.float32)
    index.add(np.arange(2000), ones)
    going, wrong = [True], []

    def look() -> None:
        while going[0]:
            _, scores = index.search(ones[:1], 2000)
            if len(np.unique(scores)) != 1:
                wrong.append(scores)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for step in range(1, 60):
        index.add(np.arange(2000), ones * np.float32(step))
        assert index.search(ones[:1], 1)[1][0, 0] == 16 * step
    going[0] = False
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("kind", ["exact", "int8"])
@pytest.mark.parametrize("shards", [1, 3])
def test_saved_and_mapped(kind: str, shards: int, tmp_path: Path) -> None:
    vectors, queries = unequal(500, 20, 4), unequal(5, 20, 5)
    index = make(kind, vectors, shards)
    index.delete(np.array([3, 4, 499]))
    save(index, tmp_path / "index")
    loaded = load(tmp_path / "index")
    same(loaded.search(queries, 30), index.search(queries, 30))
    for one in (index, loaded):
        one.add(np.array([3, 700]), queries[:2] * 9)
        one.delete(np.array([0]))
    same(loaded.search(queries, 30), index.search(queries, 30))
    same(load(tmp_path / "index").search(queries, 30), load(tmp_path / "index").search(queries, 30))
    assert load(tmp_path / "index").count == 497


def test_damaged_files_are_named(tmp_path: Path) -> None:
    save(make("int8", unequal(100, 8, 0)), tmp_path)
    np.save(tmp_path / "scales.npy", np.zeros(3, dtype=np.float32))
    with pytest.raises(
        BundleError, match=r"scales\.npy: expected float32 of shape \(128,\), found float32 of shape \(3,\)"
    ):
        load(tmp_path)
    (tmp_path / "scales.npy").unlink()
    with pytest.raises(BundleError, match=r"scales\.npy"):
        load(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(BundleError, match=r"index\.json"):
        load(tmp_path)


@pytest.mark.parametrize("cls", KINDS)
def test_what_cannot_be_meant(cls: type[Exact]) -> None:
    index = cls(4)
    with pytest.raises(ShortlistError, match=r"search: expected vectors of shape \(n, 4\), not \(1, 5\)"):
        index.search(np.zeros((1, 5)), 3)
    with pytest.raises(ShortlistError, match="add: 2 ids for 1 vectors"):
        index.add(np.arange(2), np.zeros((1, 4)))
    with pytest.raises(ShortlistError, match=r"add: ids must lie in .* got -1 to -1"):
        index.add(np.array([-1]), np.zeros((1, 4)))
    with pytest.raises(ShortlistError, match="allowed: expected one row of bool"):
        index.search(np.zeros((1, 4)), 3, np.zeros(4))
    with pytest.raises(ShortlistError, match="unknown index 'annoy'"):
        make("annoy", np.zeros((1, 4)))


@pytest.mark.parametrize("kind", ["exact", "int8", "ivf"])
def test_nothing_and_hardly_anything(kind: str) -> None:
    empty = make(kind, np.zeros((0, 4), dtype=np.float32))
    assert empty.search(np.ones((2, 4)), 3)[0].tolist() == [[-1] * 3] * 2
    assert empty.search(np.ones((0, 4)), 3)[0].shape == (0, 3)
    assert empty.search(np.ones((2, 4)), 0)[0].shape == (2, 0)
    empty.delete(np.array([5]))
    empty.add(np.array([5]), np.ones((1, 4)))
    assert empty.search(np.ones((1, 4)), 3)[0].tolist() == [[5, -1, -1]]
    assert empty.search(np.ones((1, 4)), 3, np.zeros(6, dtype=bool))[0].tolist() == [[-1, -1, -1]]
