"""Requests at the edge: whatever is missing, empty, doubled or too large, there is an answer, or a refusal in one line; never a 5xx, never a made-up item.

The first seven are the cases of NVIDIA-Merlin/systems issue 207 ("Robust 2-stage recommender system pipeline"), where a two-stage ensemble falls
over. Every case is asked over HTTP and of the engine in plain Python; docs/operations.md lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
import polars as pl
import pytest

from shortlist.core.errors import DataError, ShortlistError
from shortlist.data.dataset import encode, from_frames
from shortlist.data.synthetic import START, world
from shortlist.experiment.fit import fit
from shortlist.pipeline.config import parse
from shortlist.serve import entry
from shortlist.serve.engine import Engine
from shortlist.serve.eventlog.codec import encode as packed
from shortlist.serve.eventlog.contract import Entry
from shortlist.serve.eventlog.open import open_log
from shortlist.serve.eventlog.writer import Writer
from tests.serve.conftest import SHOP
from tests.serve.live import opened, serving

Body = dict[str, Any]
SHORT: Body = {
    "timeline": {"test": 0.9, "window": "12h", "cutoffs": 2},
    "train": {"requests": 60, "validate": 30, "negatives": 5},
    "pipeline": {"pool": 60},
    "serve": {"deadline_ms": 20_000.0},
}
KNOWN, STRANGER = 3, 10**6  # users of the bare world
ITEMS = 12  # in the bare world


class Way(Protocol):
    """How the service is asked: over HTTP, or as a Python object."""

    def ask(self, what: str, **body: Any) -> Body:
        """recommend, rank, similar: the answer. AssertionError for a refusal."""
        ...

    def refused(self, what: str, **body: Any) -> str:
        """The one line of the refusal of recommend, rank, similar or events."""
        ...

    def track(self, *events: Body) -> None:
        """Events, taken in."""
        ...

    def put(self, *rows: Body) -> None:
        """Items, taken in."""
        ...

    def delete(self, *ids: Any) -> None:
        """Items that go."""
        ...


class Http:
    """Over HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def ask(self, what: str, **body: Any) -> Body:
        response = self.client.post(f"/v1/{what}", json=body)
        assert response.status_code == 200, response.text
        made: Body = response.json()
        assert made["degraded"] == []
        return made

    def refused(self, what: str, **body: Any) -> str:
        response = self.client.post(f"/v1/{what}", json=body)
        assert response.status_code == 422, response.text
        return one_line(response.json()["error"])

    def track(self, *events: Body) -> None:
        assert self.client.post("/v1/events", json={"events": events}).json()["accepted"] == len(events)

    def put(self, *rows: Body) -> None:
        assert self.client.put("/v1/items", json={"rows": rows}).json()["changed"] == len(rows)

    def delete(self, *ids: Any) -> None:
        assert self.client.request("DELETE", "/v1/items", json={"item_ids": ids}).json()["changed"] == len(ids)


class Plain:
    """The engine on a log, in plain Python."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.calls: dict[str, Callable[[Body], Body]] = {
            "recommend": engine.recommend, "rank": engine.rank, "similar": engine.similar,
        }  # fmt: skip

    def ask(self, what: str, **body: Any) -> Body:
        return self.calls[what](body)

    def refused(self, what: str, **body: Any) -> str:
        with pytest.raises(ShortlistError) as caught:
            self.engine.track(body["events"]) if what == "events" else self.calls[what](body)
        return one_line(str(caught.value))

    def track(self, *events: Body) -> None:
        assert self.engine.track(events) == len(events)

    def put(self, *rows: Body) -> None:
        self._append(entry.ITEMS, entry.Rows(list(rows), self.engine.now()))

    def delete(self, *ids: Any) -> None:
        self._append(entry.ITEMS_GONE, entry.Gone(list(ids), self.engine.now()))

    def _append(self, kind: int, content: Any) -> None:
        assert self.engine.writer is not None
        self.engine.writer.append(Entry(kind, packed(content)))


def one_line(text: str) -> str:
    """It is one, and says something."""
    assert text
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the bundles of this file are."""
    return tmp_path_factory.mktemp("degenerate")


@pytest.fixture(scope="module")
def bare(folder: Path) -> Path:
    """A world of twelve items without a single attribute, kind or context, and an approximate index with too little in it."""
    events = pl.DataFrame([
        {"user_id": step % 20, "item_id": 100 + (step * step + step // 20) % ITEMS, "time": START + 900 * step}
        for step in range(400)
    ])  # fmt: skip
    tree = {
        **SHORT,
        "source": [
            {"type": "popular", "quota": 20}, {"type": "itemknn", "quota": 20}, {"type": "puresvd", "d": 3, "search": "ivf", "quota": 20},
        ],
        "feature": [{"type": "counts", "by": ["item", "user x item"], "half_life": ["1d"]}],
        "ranker": [{"type": "catboost", "iterations": 5, "depth": 3, "threads": 1}],
    }  # fmt: skip
    fit(parse(tree), from_frames(events)).save(folder / "bare")
    return folder / "bare"


@pytest.fixture(scope="module")
def personal(folder: Path) -> Path:
    """Sources that know nothing for somebody without a history; features and a ranker all the same."""
    tree = {**SHOP, "source": [{"type": "itemknn", "quota": 20}], "filter": []}
    fit(parse(tree), encode(world(0, users=80, items=100, days=8).tables)).save(folder / "personal")
    return folder / "personal"


@pytest.fixture(scope="module")
def lone(folder: Path) -> Path:
    """One user, one item."""
    events = pl.DataFrame(
        {"user_id": ["ann"] * 4, "item_id": ["only"] * 4, "time": [START + 86_400 * i for i in range(4)]}
    )
    tree = {**SHORT, "source": [{"type": "popular"}, {"type": "itemknn"}]}
    fit(parse(tree), from_frames(events, default_kind="click")).save(folder / "lone")
    return folder / "lone"


@pytest.fixture(params=["http", "python"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Path], Way]]:
    """Opens a bundle, in either way, on a log of its own."""
    open_ones: list[Any] = []

    def made(bundle: Path) -> Way:
        address = f"sqlite:{tmp_path / bundle.name}.log"
        if request.param == "http":
            context = serving(opened(bundle, address))
            open_ones.append(lambda: context.__exit__(None, None, None))
            return Http(context.__enter__())
        log = open_log(address)
        writer = Writer(log)
        engine = Engine.load(bundle, verify=False)
        engine.follow(writer)
        open_ones.extend((log.close, writer.close))
        return Plain(engine)

    yield made
    for close in reversed(open_ones):
        close()


Opening = Callable[[Path], Way]


def ids(answer: Body) -> list[Any]:
    """Its items: each once."""
    listed = [item["item_id"] for item in answer["items"]]
    assert len(listed) == len(set(listed))
    return listed


def click(user: Any, item: Any, **more: Any) -> Body:
    """An event of the shop."""
    return {"user_id": user, "item_id": item, "event": "click", **more}


# The cases of Merlin systems, issue 207


def test_a_user_who_is_in_no_store(way: Opening, shop: Path, bare: Path) -> None:
    """`user_id is not available in FEAST`: never seen, or seen in events without a row of attributes."""
    service = way(shop)
    assert len(ids(service.ask("recommend", user_id="nobody has heard of", k=5))) == 5
    service.track(click("a newcomer", "i00003"))
    assert len(ids(service.ask("recommend", user_id="a newcomer", k=5))) == 5
    there = ids(service.ask("recommend", k=2))
    assert set(ids(service.ask("rank", user_id="nobody at all", items=there))) == set(there)
    assert len(ids(way(bare).ask("recommend", user_id=STRANGER, k=5))) == 5


def test_more_wanted_than_there_is(way: Opening, bare: Path) -> None:
    """`topk > FAISS`: the whole catalogue comes, once, and no filler."""
    service = way(bare)
    for user in (KNOWN, STRANGER, None):
        assert sorted(ids(service.ask("recommend", user_id=user, k=1000))) == list(range(100, 100 + ITEMS))
    assert len(ids(service.ask("similar", item_id=100, k=1000))) <= ITEMS - 1


def test_an_index_that_finds_fewer_than_k(way: Opening, bare: Path) -> None:
    """`FAISS cannot return k valid candidates, even topk < n`: what is found is real, and nothing is -1."""
    service = way(bare)
    out = list(range(100, 100 + ITEMS - 2))
    assert set(ids(service.ask("recommend", user_id=KNOWN, k=5, exclude=out))) == {110, 111}
    service.delete(*range(101, 100 + ITEMS))
    assert ids(service.ask("recommend", user_id=KNOWN, k=5)) == [100]
    assert ids(service.ask("similar", item_id=105, k=5)) in ([], [100])


def test_candidates_that_are_in_no_store(way: Opening, shop: Path) -> None:
    """`FAISS returns item_ids which are not available in FEAST`: an item of which nothing but a click is known is a candidate like others,
    with its features missing."""
    service = way(shop)
    service.track(*(click(f"crowd {i}", "no row has it") for i in range(300)))
    found = service.ask("recommend", user_id="a guest", k=100)
    assert "no row has it" in ids(found)
    other = next(name for name in ids(found) if name != "no row has it")
    ranked = service.ask("rank", user_id="a guest", items=["no row has it", other])
    assert set(ids(ranked)) == {other, "no row has it"}
    assert all(isinstance(item["score"], float) for item in ranked["items"])


def test_fewer_candidates_than_k(way: Opening, shop: Path, bare: Path) -> None:
    """`Number of candidates are less than requested topk`: a short list, and it says that there is no more."""
    service = way(shop)
    everything: list[str] = []
    while found := ids(service.ask("recommend", user_id="a guest", k=1000, exclude=everything)):
        everything += found
    short = service.ask("recommend", user_id="a guest", k=50, exclude=everything[3:])
    assert sorted(ids(short)) == sorted(everything[:3])
    assert short.get("cursor") is None
    assert len(ids(way(bare).ask("recommend", user_id=KNOWN, k=ITEMS + 1))) == ITEMS


def test_nulls_in_ids(way: Opening, shop: Path) -> None:
    """`nulls in the user id and item id columns`: a request without a user is nobody's and is answered; an event that names nobody or nothing is
    refused, and nothing of its batch is taken in; tables with such rows are refused with the rows."""
    service = way(shop)
    assert len(ids(service.ask("recommend", user_id=None, k=5))) == 5
    first = ids(service.ask("recommend", user_id="whole", k=1))[0]
    for event in (click(None, "i00001"), click("ann", None)):
        service.refused("events", events=[click("whole", first), event])
    assert ids(service.ask("recommend", user_id="whole", k=1)) == [first]  # or it would have been seen
    rows = {"user_id": ["ann", None], "item_id": ["a", "b"], "time": [START, START + 1]}
    with pytest.raises(DataError, match=r"events.user_id: no id in 1 row .row 1: None."):
        from_frames(pl.DataFrame(rows))


def test_nulls_in_attributes(way: Opening, shop: Path) -> None:
    """A row of an item that says nothing, and one whose every column is null."""
    service = way(shop)
    service.put({"item_id": "blank"}, {"item_id": "null", "category": None, "available_from": None})
    found = ids(service.ask("recommend", user_id="u00001", k=1000))
    assert {"blank", "null"} <= set(found)
    assert set(ids(service.ask("rank", user_id="u00001", items=["blank", "null"]))) == {"blank", "null"}


# What else is empty, single, doubled or too large


def test_nothing_is_left(way: Opening, shop: Path, bare: Path) -> None:
    """A filter that nothing fits, everything excluded, everything deleted: an empty list, which is no error and not degraded."""
    service = way(shop)
    assert ids(service.ask("recommend", user_id="u00001", filter={"category": "no such"})) == []
    assert ids(service.ask("recommend", user_id="u00001", exclude=[f"i{i:05}" for i in range(100)])) == []
    other = way(bare)
    other.delete(*range(100, 100 + ITEMS))
    empty = other.ask("recommend", user_id=KNOWN, k=5, explain=True)
    assert (ids(empty), empty.get("cursor")) == ([], None)
    told = other.ask("rank", user_id=KNOWN, items=[100, 101])
    assert (told["items"], len(told["left_out"])) == ([], 2)
    assert ids(other.ask("similar", item_id=100)) == []
    other.put({"item_id": 105})
    assert ids(other.ask("recommend", user_id=KNOWN, k=5)) == [105]


def test_no_source_finds_anything(way: Opening, personal: Path) -> None:
    """No history, and sources that have nothing to say then: features and ranker of no rows."""
    service = way(personal)
    for user in ("nobody", None):
        assert ids(service.ask("recommend", user_id=user, explain=True)) == []
    assert set(ids(service.ask("rank", user_id="nobody", items=["i00001", "i00002"]))) == {"i00001", "i00002"}


def test_an_empty_history(way: Opening, shop: Path, personal: Path) -> None:
    """A user with a row and no event; and, of one whose only event is a view, no success to go by."""
    assert len(ids(way(shop).ask("recommend", user_id="u00079", k=5))) == 5
    service = way(personal)
    service.track({"user_id": "looks only", "item_id": "i00001", "event": "impression"})
    assert ids(service.ask("recommend", user_id="looks only")) == []


def test_a_history_of_unknown_items_only(way: Opening, shop: Path, personal: Path) -> None:
    """Items that no source was fitted with, and items that have been deleted since."""
    service = way(shop)
    service.track(*(click("ann", f"never seen {i}") for i in range(5)))
    assert len(ids(service.ask("recommend", user_id="ann", k=5))) == 5
    service.delete(*(f"never seen {i}" for i in range(5)))
    found = ids(service.ask("recommend", user_id="ann", k=1000))
    assert len(found) > 20
    assert not any(name.startswith("never") for name in found)
    other = way(personal)
    other.track(click("ann", "never seen"))
    assert ids(other.ask("recommend", user_id="ann")) == []


def test_doubled_items(way: Opening, bare: Path) -> None:
    """Found by every source, named twice in `exclude`, `items` and a batch of events: each counts as what it is."""
    service = way(bare)
    assert len(ids(service.ask("recommend", user_id=KNOWN, k=ITEMS))) == ITEMS
    assert len(ids(service.ask("recommend", user_id=KNOWN, k=ITEMS, exclude=[100, 100, "100"]))) == ITEMS - 1
    assert sorted(ids(service.ask("rank", user_id=KNOWN, items=[101, "101", 102, 101]))) == [101, 102]
    service.track(*[{"user_id": 77, "item_id": 101}] * 3)
    assert len(ids(service.ask("recommend", user_id=77, k=ITEMS))) == ITEMS


def test_a_single_candidate(way: Opening, lone: Path) -> None:
    """A world of one user and one item."""
    service = way(lone)
    for user in ("ann", "bob", None):
        for k in (1, 10):
            assert ids(service.ask("recommend", user_id=user, k=k)) == ["only"]
    assert ids(service.ask("rank", user_id="ann", items=["only"])) == ["only"]
    assert ids(service.ask("similar", item_id="only")) == []
    assert ids(service.ask("recommend", user_id="ann", exclude=["only"])) == []
    service.track({"user_id": "bob", "item_id": "second"})
    assert set(ids(service.ask("recommend", user_id="ann", k=3))) == {"only", "second"}


@pytest.mark.parametrize("k", [0, -1, 1001, 10**9, 2**70, 1.5, "ten", True, [3]])
def test_no_such_k(way: Opening, lone: Path, k: Any) -> None:
    service = way(lone)
    service.refused("recommend", user_id="ann", k=k)
    service.refused("similar", item_id="only", k=k)


def test_empty_lists(way: Opening, shop: Path) -> None:
    """What may be left out may be empty; a list that is the question itself may not."""
    service = way(shop)
    plain = ids(service.ask("recommend"))
    assert ids(service.ask("recommend", exclude=[], filter={}, context={})) == plain
    assert ids(service.ask("recommend", filter={"category": []})) == []
    service.refused("rank", items=[])
    if isinstance(service, Http):
        service.refused("events", events=[])
        routes: list[tuple[str, str, Body]] = [
            ("PUT", "/v1/items", {"rows": []}), ("DELETE", "/v1/items", {"item_ids": []}), ("PUT", "/v1/users", {"rows": []}),
        ]  # fmt: skip
        for method, path, body in routes:
            assert service.client.request(method, path, json=body).status_code == 422
    else:
        service.track()  # in Python no event is no event


def test_every_optional_field_null(way: Opening, shop: Path) -> None:
    service = way(shop)
    null: Body = dict.fromkeys(("user_id", "time", "context", "exclude", "filter"))
    null |= dict.fromkeys(("k", "surface", "cursor", "token", "deadline_ms")) if isinstance(service, Http) else {}
    assert ids(service.ask("recommend", **null)) == ids(service.ask("recommend"))


def test_missing_columns(way: Opening, shop: Path, bare: Path) -> None:
    """A bundle without attributes, kinds and context needs none; asking for them is refused with what there is instead."""
    service = way(bare)
    service.track({"user_id": KNOWN, "item_id": 101})
    service.put({"item_id": 500})
    assert "columns: " in service.refused("recommend", filter={"category": "books"})
    service.refused("recommend", context={"device": "phone"})
    service.refused("events", events=[{"user_id": KNOWN, "item_id": 101, "event": "click"}])
    service.refused("events", events=[{"user_id": KNOWN, "item_id": "text where ids are numbers"}])
    several = way(shop)
    several.refused("events", events=[{"user_id": "ann", "item_id": "i00001"}])  # of several kinds, which?
    several.track(click("ann", "i00001"))  # without time, value, context, request, position
    assert len(ids(several.ask("recommend", user_id="ann", context={"device": None}))) == 10


def test_batches_of_one_and_of_none(shop: Path, personal: Path) -> None:
    """In Python: one user, none, and a batch in which some have candidates and some have not."""
    engine = Engine.load(shop)
    one = engine.recommend_all(["u00001"], k=5)
    assert one["item_id"].to_list() == ids(engine.recommend({"user_id": "u00001", "k": 5}))
    none = engine.recommend_all([], k=5)
    assert (len(none), none.columns) == (0, one.columns)
    mixed = Engine.load(personal).recommend_all(["nobody", "u00001", None, "u00002"], k=5)
    assert mixed["user_id"].unique(maintain_order=True).to_list() == ["u00001", "u00002"]


def test_an_empty_answer_has_a_trace_and_an_end(personal: Path, tmp_path: Path) -> None:
    """Over HTTP: its trace says that nothing was found, and its cursor is null."""
    with serving(opened(personal, f"sqlite:{tmp_path / 'events.log'}")) as client:
        empty = client.post("/v1/recommend", json={"user_id": "nobody"}).json()
        assert (empty["items"], empty["cursor"]) == ([], None)
        told = client.get(f"/v1/requests/{empty['request_id']}/trace").json()
        assert told["funnel"] == {"found": 0, "dropped": 0, "ranked": 0, "shown": 0}
        why = client.get(f"/v1/requests/{empty['request_id']}/trace", params={"item_id": "i00001"}).json()
        assert why["items"][0]["reason"] == "missed: no source returned it"
