"""Approximate indexes: they may miss, but what they say is so; and how much they miss is measured."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from shortlist.core.batch import Array
from shortlist.core.contracts import Mask
from shortlist.core.errors import BundleError
from shortlist.index import bitmap
from shortlist.index.approximate import Approximate
from shortlist.index.make import load, make, save
from shortlist.index.masked import under
from shortlist.index.plan import choose
from shortlist.index.recall import overlap
from tests.index.slow import Slow, same, unequal

KINDS = ["ivf", "hnsw"]


def built(kind: str, vectors: Array, target: float = 0.95) -> Approximate:
    """An index whose plan does not matter: tests ask for the approximate way by name."""
    if kind == "hnsw":
        pytest.importorskip("faiss", reason="the hnsw index needs faiss, of the extra ann")
    index = make(kind, vectors, target=target, k=20)
    assert isinstance(index, Approximate)
    return index


def true(index: Approximate, slow: Slow, queries: Array, k: int, allowed: Array | None) -> float:
    """Everything that must hold of an approximate answer; returns its recall."""
    ids, scores = index.search(queries, k, allowed, how="approximate")
    wanted, _ = slow.search(queries, k, allowed)
    for i, query in enumerate(queries):
        found = ids[i][ids[i] >= 0]
        assert (ids[i][len(found) :] == -1).all()
        assert np.isnan(scores[i][len(found) :]).all()
        assert len(set(found.tolist())) == len(found)
        assert slow.held[found].all()
        assert allowed is None or allowed[found].all()
        right = slow.scores(query)
        np.testing.assert_array_equal(scores[i][: len(found)], right[found])
        np.testing.assert_array_equal(found, found[np.lexsort((found, -right[found]))])
    return overlap(ids, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_mixed_changes_and_searches(kind: str) -> None:
    draw = np.random.default_rng(2)
    d, room = 12, 700
    vectors = unequal(600, d, 0)
    pool = np.concatenate([unequal(200, d, 1), draw.integers(-1, 2, size=(100, d)).astype(np.float32)])
    pool[7] = np.nan
    index, slow = built(kind, vectors), Slow(d, room)
    slow.add(np.arange(600), vectors)
    recalls = []
    for turn in range(10_000):
        what = draw.integers(8)
        ids = draw.integers(0, room, size=draw.integers(1, 4))
        if what < 3:
            new = pool[draw.integers(len(pool), size=len(ids))]
            index.add(ids, new)
            slow.add(ids, new)
        elif what < 5:
            index.delete(ids)
            slow.delete(ids)
        elif what < 7:
            allowed = None if what == 5 else draw.random(room) < draw.random()
            recalls.append(true(index, slow, pool[draw.integers(8, len(pool), size=1)], 9, allowed))
        elif turn % 50 == 7:
            index.settle()
        assert index.count == slow.held.sum()
    assert np.mean(recalls) > 0.75  # the lists are those of the first vectors, of which hardly one is left


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_is_seen_by_the_next_search(kind: str) -> None:
    vectors = unequal(3000, 16, 0)
    index = built(kind, vectors)
    query = vectors[:1] / np.linalg.norm(vectors[0])
    long = 100 * query
    index.add(np.array([5000]), long)
    assert index.search(query, 3, how="approximate")[0][0, 0] == 5000
    index.add(np.array([17]), 2 * long)
    assert index.search(query, 3, how="approximate")[0][0, :2].tolist() == [17, 5000]
    index.settle()
    assert index.search(query, 3, how="approximate")[0][0, :2].tolist() == [17, 5000]
    index.add(np.array([17]), -long)
    index.delete(np.array([5000]))
    assert not {17, 5000} & set(index.search(query, 30, how="approximate")[0][0].tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_many_changes_are_settled_and_what_is_gone_is_left_out(kind: str) -> None:
    vectors = unequal(6000, 8, 0)
    index, slow = built(kind, vectors), Slow(8, 9000)
    index.add(np.arange(6000, 9000), unequal(3000, 8, 1))
    slow.add(np.arange(9000), np.concatenate([vectors, unequal(3000, 8, 1)]))
    assert len(index.outside) == 0
    index.delete(np.arange(8000))
    slow.delete(np.arange(8000))
    assert len(index.place) < 2 * 1000 + 2100
    assert true(index, slow, unequal(20, 8, 2), 10, None) > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_recall_reaches_its_target_and_is_written_down(kind: str, tmp_path: Path) -> None:
    vectors = unequal(8000, 24, 0)
    index = built(kind, vectors, 0.97)
    queries = unequal(100, 24, 7)
    wanted, _ = index.search(queries, 20, how="exact")
    assert overlap(index.search(queries, 20, how="approximate")[0], wanted) > 0.93
    assert 0.97 <= index.recall["recall"] <= 1.0
    index.add(np.array([8100]), 50 * queries[:1])
    index.delete(np.array([1, 2, 3]))
    save(index, tmp_path)
    told = json.loads((tmp_path / "recall.json").read_text())
    assert told["recall"] == {
        "k": 20,
        "recall": index.recall["recall"],
        "queries": 200,
        "target": 0.97,
        "effort": index.effort,
        "count": 8000,
    }
    loaded = load(tmp_path)
    assert isinstance(loaded, Approximate)
    allowed = np.random.default_rng(0).random(8101) < 0.5
    for _ in range(2):
        for bits in (None, allowed):
            same(loaded.search(queries, 20, bits, "approximate"), index.search(queries, 20, bits, "approximate"))
        for one in (loaded, index):
            one.add(np.arange(3), vectors[-3:])
            one.settle()


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_alone_is_a_query_among_many(kind: str) -> None:
    index = built(kind, unequal(4000, 24, 0))
    queries = unequal(40, 24, 1)
    queries[5] = np.nan
    together = index.search(queries, 20, how="approximate")
    assert (together[0][5] == -1).all()
    for i in range(40):
        same(index.search(queries[i : i + 1], 20, how="approximate"), (together[0][i : i + 1], together[1][i : i + 1]))


@pytest.mark.parametrize("kind", KINDS)
def test_changes_while_others_search(kind: str) -> None:
    """Threads search while vectors come, change and go, and are settled: no answer holds a wrong score or what was never there, and
    what is added is found at once."""
    index, d = built(kind, unequal(3000, 8, 0), 0.5), 8
    ones = np.ones(d, dtype=np.float32)
    going, wrong = [True], []

    def look() -> None:
        while going[0]:
            ids, scores = index.search(ones[None], 50, how="approximate")
            moved = ids[0] >= 3000  # these are multiples of ones, by whole numbers
            whole = scores[0][moved] / d
            found = ids[0][ids[0] >= 0]
            if (whole != np.rint(whole)).any() or len(np.unique(found)) != len(found) or (found >= 3600).any():
                wrong.append((ids, scores))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for step in range(1, 31):
        fresh = np.arange(3000 + 20 * (step - 1), 3000 + 20 * step)
        index.add(fresh, np.tile(ones * (1000 + step), (20, 1)))
        assert set(fresh.tolist()) <= set(index.search(ones[None], 30, how="approximate")[0][0].tolist())
        index.add(fresh[:5], np.tile(ones * 5000, (5, 1)))
        index.delete(fresh[:15])
        assert not set(fresh[:15].tolist()) & set(index.search(ones[None], 50, how="approximate")[0][0].tolist())
        if step % 10 == 0:
            index.settle()
    going[0] = False
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("kind", ["exact", "int8", *KINDS])
@pytest.mark.parametrize("shards", [1, 3])
def test_degenerate_vectors(kind: str, shards: int) -> None:
    """Nothing, one item, zeros, all equal, all but one not finite: under every mask, for every k, an answer, and nothing banned."""
    if kind == "hnsw":
        pytest.importorskip("faiss", reason="the hnsw index needs faiss, of the extra ann")
    lone = np.full((70, 4), np.nan, dtype=np.float32)
    lone[3] = 1.0
    worlds = {
        "nothing": np.zeros((0, 4), dtype=np.float32),
        "one item": np.ones((1, 4), dtype=np.float32),
        "zeros": np.zeros((70, 4), dtype=np.float32),
        "equal": np.ones((70, 4), dtype=np.float32),
        "one sound": lone,
    }
    queries = np.array([[1, 0, 2, 0], [0, 0, 0, 0], [np.nan, 0, 0, 0]], dtype=np.float32)
    for name, vectors in worlds.items():
        index, slow = make(kind, vectors, shards), Slow(4, max(len(vectors), 1))
        slow.add(np.arange(len(vectors)), vectors)
        for how in ("", "approximate"):
            for allowed in (None, np.zeros(70, dtype=bool), np.arange(70) % 3 == 0, np.ones(200, dtype=bool)):
                for k in (0, 1, 10, 300):
                    if how and isinstance(index, Approximate):
                        ids, _ = index.search(queries, k, allowed, how)
                        found = ids[ids >= 0]
                        assert slow.held[found].all(), name
                        assert allowed is None or allowed[found].all(), name
                    else:
                        same(index.search(queries, k, allowed), slow.search(queries, k, allowed))


def test_all_equal_and_all_zero() -> None:
    for value in (0.0, 1.0):
        index = built("ivf", np.full((300, 5), value, dtype=np.float32), 0.5)
        ids, scores = index.search(np.ones((1, 5)), 7, how="approximate")
        assert (ids >= 0).all()
        assert (scores == 5 * value).all()


def test_damaged_lists_are_named(tmp_path: Path) -> None:
    index = make("ivf", unequal(500, 8, 0))
    save(index, tmp_path)
    place = np.load(tmp_path / "place.npy")
    np.save(tmp_path / "place.npy", place[::-1])
    with pytest.raises(BundleError, match="do not belong together"):
        load(tmp_path)
    np.save(tmp_path / "place.npy", place)
    np.save(tmp_path / "offsets.npy", np.load(tmp_path / "offsets.npy")[:-1])
    with pytest.raises(BundleError, match="do not belong together"):
        load(tmp_path)
    (tmp_path / "recall.json").write_text("[]")
    with pytest.raises(BundleError, match=r"recall\.json"):
        load(tmp_path)


def test_the_plan_says_which_way() -> None:
    assert choose("ivf", 1000, 10, 1000).why == "int8: 1000 vectors are few"
    assert choose("ivf", 1_000_000, 100, 1_000_000).why == "ivf: all of 1000000 vectors are allowed"
    assert not choose("ivf", 1_000_000, 100, 500_000).exact
    assert choose("ivf", 1_000_000, 100, 500_000).effort > choose("ivf", 1_000_000, 100, 900_000).effort > 1
    assert choose("ivf", 1_000_000, 100, 1000).why == "int8: only 0.1% of 1000000 vectors are allowed"
    assert choose("ivf", 1_000_000, 20_000, 1_000_000).why == "int8: k = 20000 is more than 10000"


def test_the_plan_is_followed() -> None:
    vectors, queries = unequal(21_000, 8, 0), unequal(6, 8, 1)
    index = make("ivf", vectors, shards=1, target=0.3, k=10)
    assert isinstance(index, Approximate)
    few = np.arange(21_000) < 1000
    assert index.plan(10) == "ivf: all of 21000 vectors are allowed"
    assert index.plan(10, few) == "int8: only 4.76% of 21000 vectors are allowed"
    same(index.search(queries, 10), index.search(queries, 10, how="approximate"))
    same(index.search(queries, 10, few), index.search(queries, 10, few, how="exact"))
    assert make("int8", vectors[:50], shards=2).plan(3) == "2 shards: int8: all 25 vectors"


@pytest.mark.parametrize("kind", ["int8", "ivf"])
def test_shards_of_any_kind_hold_what_is_put_in(kind: str) -> None:
    vectors, queries = unequal(900, 8, 0), unequal(5, 8, 1)
    index, slow = make(kind, vectors, shards=3), Slow(8, 1000)
    slow.add(np.arange(900), vectors)
    for one in (index, slow):
        one.add(np.array([990, 4]), 5 * vectors[:2])
        one.delete(np.array([0, 1, 2, 3, 899]))
    allowed = np.random.default_rng(0).random(991) < 0.6
    packed = np.packbits(allowed, bitorder="little")
    assert (index.count, index.size) == (896, 991)
    same(index.search(queries, 20), slow.search(queries, 20))  # few: planned exact
    same(index.search(queries, 20, allowed), slow.search(queries, 20, allowed))
    same(index.search(queries, 20, packed), slow.search(queries, 20, allowed))


def test_under_a_mask() -> None:
    vectors, queries = unequal(400, 8, 0), unequal(3, 8, 1)
    index, slow = make("int8", vectors), Slow(8, 400)
    slow.add(np.arange(400), vectors)
    shared = np.random.default_rng(0).random(400) < 0.5
    best = slow.search(queries, 5, shared)[0]
    offsets, items = np.array([0, 3, 3, 5]), np.concatenate([best[0, :3], best[2, :2]]).astype(np.int32)
    for k in (0, 4, 390):
        for some in (shared, None):
            got = under(index, queries, k, Mask(some, offsets, items))
            for i in range(3):
                allowed = np.ones(400, dtype=bool) if some is None else some.copy()
                allowed[items[offsets[i] : offsets[i + 1]]] = False
                wanted = slow.search(queries[i : i + 1], k, allowed)
                same((got[0][i : i + 1], got[1][i : i + 1]), wanted)
    same(under(index, queries, 4, Mask(shared)), slow.search(queries, 4, shared))
    same(under(index, queries, 4, None), slow.search(queries, 4))


def test_bits() -> None:
    draw = np.random.default_rng(0)
    for size in (0, 1, 63, 64, 65, 1000):
        flags = draw.random(size) < 0.3
        words = bitmap.packed(flags, size)
        assert bitmap.members(words).tolist() == np.flatnonzero(flags).tolist()
        np.testing.assert_array_equal(bitmap.flags(words, size), flags)
        np.testing.assert_array_equal(bitmap.packed(words, size), words)
        full = np.full(size + 90, True)
        for given in (full, np.packbits(full, bitorder="little"), bitmap.packed(full, size + 90)):
            assert bitmap.count(bitmap.packed(given, size)) == size
