"""Sources on an index: the same answers where it is exact, true ones where it is not, and what an item gets while serving."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core.batch import Batch
from shortlist.core.component import build, config, load, save
from shortlist.core.contracts import FitContext, Mask
from shortlist.core.errors import BundleError, ConfigError
from shortlist.core.rows import offsets_of
from shortlist.data import upsert
from shortlist.data.dataset import from_frames
from shortlist.index.recall import overlap
from shortlist.pipeline.pipeline import Pipeline
from shortlist.pipeline.trace import Trace
from shortlist.retrieve._inner import histories
from shortlist.retrieve.als_content import AlsContent
from shortlist.retrieve.content import Content
from shortlist.retrieve.eals import Eals
from shortlist.retrieve.hybridsvd import Hybridsvd
from shortlist.retrieve.ials import Ials
from shortlist.retrieve.puresvd import Puresvd
from shortlist.retrieve.tensor import Tensor
from shortlist.state.state import State
from shortlist.testing.source import some_mask
from shortlist.testing.suite import told
from tests.index.slow import unequal
from tests.retrieve import slow

ITEMS = 21_000  # the plan takes fewer to be few
USERS = 30


@pytest.mark.parametrize("kind", [Puresvd, Ials, Eals, Hybridsvd, AlsContent, Tensor], ids=lambda kind: kind.__name__)
def test_exact_ways_give_the_same_bits(kind: type[Any]) -> None:
    plain, sharded = kind(d=5), kind(d=5, search="int8", shards=3)
    state, batch = slow.ready(plain), slow.small().requests()
    slow.ready(sharded)
    size = len(state.catalogue.items)
    for mask in (None, Mask(some_mask(1, size).shared), some_mask(batch.n, size)):
        for k in (0, 1, 9, size + 4):
            one, two = plain.retrieve(batch, state, k, mask), sharded.retrieve(batch, state, k, mask)
            np.testing.assert_array_equal(one.items, two.items)
            np.testing.assert_array_equal(one.scores, two.scores)
            np.testing.assert_array_equal(one.full, two.full)
    assert sharded.plan(9, None).startswith("3 shards: int8: all")
    assert plain.plan(9, None) == "exact: vectors by falling length"


def shelf() -> tuple[State, Any, FitContext]:
    """A catalogue beyond the size at which the plan is to be exact, in which every item has a vector."""
    vectors = unequal(ITEMS, 12, 0)
    draw = np.random.default_rng(1)
    events = {
        "user_id": np.repeat(np.arange(USERS), 8),
        "item_id": draw.integers(0, ITEMS, 8 * USERS),
        "time": np.arange(8 * USERS),
    }
    data = from_frames(events, {"item_id": np.arange(ITEMS), "place": list(vectors)})
    ctx = FitContext(data.catalogue, ("interaction",), now=10_000)
    state = State(data.catalogue)
    state.apply(data.log.columns)
    return state, data.log, ctx


def fitted(part: Any, log: Any, ctx: FitContext) -> Any:
    told(part, ctx)
    part.fit(log, ctx)
    return part


def asked(count: int = USERS) -> Batch:
    return Batch.of(np.arange(count, dtype=np.int32), np.array(10_000))


def bans(n: int, size: int) -> Mask:
    """Half of everything, and of each request another number of what it would be shown."""
    draw = np.random.default_rng(2)
    counts = draw.integers(0, 40, n) * (np.arange(n) % 3 > 0)
    return Mask(draw.random(size) < 0.5, offsets_of(counts), draw.integers(0, size, counts.sum()).astype(np.int32))


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_approximate_source(kind: str, tmp_path: Path) -> None:
    if kind == "hnsw":
        pytest.importorskip("faiss", reason="the hnsw index needs faiss, of the extra ann")
    state, log, ctx = shelf()
    plain = fitted(Content(vector="place", last=0), log, ctx)
    part = fitted(Content(vector="place", last=0, search=kind, recall=0.9), log, ctx)
    batch, size = asked(), len(state.catalogue.items)
    assert part.plan(100, None) == f"{kind}: all of {ITEMS} vectors are allowed"
    hard = Mask(np.arange(size) < 300)
    assert part.plan(100, hard).startswith("int8: only 1.43%")
    for mask in (None, Mask(bans(1, size).shared), bans(batch.n, size), hard):
        wanted, got = plain.retrieve(batch, state, 100, mask), part.retrieve(batch, state, 100, mask)
        assert 0.85 < overlap(got.items, wanted.items) <= 1.0
        if mask is hard:
            np.testing.assert_array_equal(got.items, wanted.items)
        for i in range(batch.n):
            alone = None
            if mask is not None and mask.offsets is not None and mask.items is not None:
                own = mask.items[mask.offsets[i] : mask.offsets[i + 1]]
                assert not set(own.tolist()) & set(got.items[i].tolist())
                alone = Mask(mask.shared, np.array([0, len(own)]), own)
            elif mask is not None:
                alone = mask
            one = part.retrieve(batch.request(i), state, 100, alone)
            np.testing.assert_array_equal(one.items[0], got.items[i])
            np.testing.assert_array_equal(one.scores[0], got.scores[i])
        assert mask is None or mask.shared is None or mask.shared[got.items[got.items >= 0]].all()
    save(part, tmp_path)
    recall = json.loads((tmp_path / "index" / "recall.json").read_text())["recall"]
    assert 0.9 <= recall["recall"] <= 1.0
    assert recall["target"] == 0.9
    other = build("retrieve", config(part))
    told(other, ctx)
    load(other, tmp_path)
    np.testing.assert_array_equal(
        other.retrieve(batch, state, 50, None).items, part.retrieve(batch, state, 50, None).items
    )
    np.save(tmp_path / "items.npy", np.zeros((ITEMS, 3), dtype=np.float32))
    with pytest.raises(BundleError, match=r"index: holds vectors of 12 numbers, not 3"):
        load(other, tmp_path)


@pytest.mark.parametrize("search", ["exact", "int8", "ivf"])
def test_what_an_item_gets_is_in_the_next_answer(search: str) -> None:
    state, log, ctx = shelf()
    part = fitted(Content(vector="place", search=search, recall=0.9), log, ctx)
    table = state.catalogue.items
    batch = asked(1)
    before = part.retrieve(batch, state, 5, None)
    profile = part._profile(*histories(log.take(log.user == 0), part.kinds, 0))[0]
    new, old = table.add(ITEMS + 5), int(before.items[0, 0])
    assert part.retrieve(batch, state, 5, None).items.tolist() == before.items.tolist(), "nothing is known of it yet"
    upsert.put(table, new, {"place": profile.tolist()})
    found = part.retrieve(batch, state, 5, None)
    assert new in found.items[0].tolist()
    assert found.full is not None
    assert found.full[0, new] == found.scores[0, found.items[0] == new][0]
    upsert.put(table, old, {"place": (-profile).tolist()})
    upsert.put(table, new, {"place": [0.0] * 12})  # of no direction
    later = part.retrieve(batch, state, 400, None).items[0]
    assert not {new, old} & set(later.tolist())
    upsert.put(table, old, {"place": None})
    assert old not in part.retrieve(batch, state, ITEMS + 1, None).items[0].tolist()
    upsert.put(table, new, {"place": profile.tolist()})
    state.apply({name: column[:1] for name, column in log.columns.items()} | {"item": np.array([new], np.int32)})
    assert part.retrieve(batch, state, 1, None).items[0].tolist() == [new], "it counts as history, too"


def test_the_trace_says_which_way() -> None:
    state, log, ctx = shelf()
    part = fitted(Content(vector="place", search="ivf", recall=0.9), log, ctx)
    pipeline, trace = Pipeline({"like": part}, {"like": 50}), Trace()
    pipeline.recommend(asked(2), state, 5, trace)
    assert trace.plans == {"like": f"ivf: all of {ITEMS} vectors are allowed"}
    assert trace.answer is not None
    told_of: Any = trace.why(int(trace.answer.item[0]), [])
    assert told_of["sources"]["like"]["search"] == trace.plans["like"]


def test_an_index_is_tuned_for_users_of_the_log() -> None:
    _, log, ctx = shelf()
    kinds = ctx.kinds(())
    offsets, items, weights = histories(log, kinds, 0)
    assert len(offsets) == USERS + 1
    met = sorted(tuple(items[a:b].tolist()) for a, b in itertools.pairwise(offsets))
    wanted = [tuple(dict.fromkeys(log.item[log.user == user][::-1].tolist())) for user in range(USERS)]
    assert met == sorted(wanted)
    assert (weights == 1).all()


def test_an_index_without_vectors_is_refused() -> None:
    _, log, ctx = shelf()
    for part in (Content(search="ivf"), Content(vector="place", combine="max", search="int8")):
        with pytest.raises(ConfigError, match=r"content\.search: '(ivf|int8)' needs a `vector` and combine = 'mean'"):
            part.fit(log, ctx)


def test_nothing_has_a_vector() -> None:
    """All of the log is of one kind that the source does not look at: no vectors, no answers, with any index."""
    for search in ("exact", "int8", "ivf"):
        part = Puresvd(d=4, search=search, event=("purchase",))
        world = slow.small()
        log = world.log.of_kinds(world.ctx.kinds(("click",)))
        part.fit(log, world.ctx)
        hits = part.retrieve(world.requests(), world.state(), 5, None)
        assert (hits.items == -1).all()
