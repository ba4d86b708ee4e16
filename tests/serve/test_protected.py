"""`rank` and `similar` come in time whatever a part does, and say what they did without, as `recommend` does; and they are logged as it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import Client

from shortlist.serve import entry
from shortlist.serve.engine import Engine
from shortlist.serve.eventlog.codec import decode
from shortlist.serve.service import Service
from tests.pipeline.moody import MOODS
from tests.pipeline.test_resilient import PLACE, Setting, recipe

ITEMS = [f"i{i:05}" for i in (3, 40, 8, 21, 7, 14)]  # two of them are multiples of seven, which the moody filter drops


@pytest.fixture
def moods() -> Iterator[Any]:
    yield MOODS
    MOODS.release()


def engine_of(**changes: Any) -> Engine:
    """A protected engine with moody parts; it has answered before."""
    chosen = recipe(**changes)
    setting = Setting(chosen)
    made = Engine(setting.pipeline, setting.state, serve=chosen.serve)
    made.protect()
    made.recommend({}, deadline=30)
    made.rank({"items": ITEMS}, deadline=30)
    made.similar({"item_id": ITEMS[0]}, deadline=30)
    return made


def timely(engine: Engine, call: str, **body: Any) -> dict[str, Any]:
    """The answer, in time."""
    started = time.perf_counter()
    made: dict[str, Any] = {"rank": engine.rank, "similar": engine.similar}[call](body)
    assert time.perf_counter() - started < 0.15 + 2  # on a busy machine; bench/load.py measures
    return made


def ids(answer: dict[str, Any]) -> list[Any]:
    return [item["item_id"] for item in answer["items"]]


def test_all_well(moods: Any) -> None:
    """Protected or not, the same to the bit."""
    engine = engine_of()
    plain = Engine(engine.pipeline, engine.state)
    for call, body in (("rank", {"items": ITEMS, "user_id": "u00003"}), ("similar", {"item_id": ITEMS[1], "k": 9})):
        one, other = timely(engine, call, **body), timely(plain, call, **body)
        assert {**one, "took_ms": 0} == {**other, "took_ms": 0}
        assert one["degraded"] == []


@pytest.mark.parametrize("mood", ["raise", "hang"])
@pytest.mark.parametrize(
    ("kind", "degraded"),
    [
        ("source", ["source.moody"]),
        ("feature", ["feature.moody"]),
        ("ranker", ["ranker.moody", "light"]),
        ("filter", ["filter.moody"]),
    ],
)
def test_rank_without_a_part(moods: Any, kind: str, mood: str, degraded: list[str]) -> None:
    """No given item is lost: what is not in the list is in `left_out`."""
    engine = engine_of()
    moods.now = {kind: mood}
    made = timely(engine, "rank", items=ITEMS)
    assert made["degraded"] == degraded
    assert sorted([*ids(made), *(each["item_id"] for each in made["left_out"])]) == sorted(ITEMS)
    dropped = {each["item_id"] for each in made["left_out"] if each["reason"] == "filtered by moody"}
    assert dropped == (set() if kind == "filter" else {"i00021", "i00007", "i00014"})


@pytest.mark.parametrize("mood", ["raise", "hang"])
def test_rank_when_nothing_works(moods: Any, mood: str) -> None:
    """The given items in the order of what is popular, through the filters; nothing that was not given."""
    engine = engine_of(
        source=[{"type": f"{PLACE}.MoodySource", "name": "moody", "quota": 30}],
        filter=[{"type": "seen"}],
        serve={"deadline_ms": 60.0},
    )
    assert engine.resilient is not None
    moods.now = {"source": mood, "feature": mood, "ranker": mood}
    wanted = ["i00044", "i00002", "i00001"]
    reserve = engine.resilient.reserve
    assert reserve is not None
    known = engine.catalogue.items.ids
    place = {known.name(code): i for i, code in enumerate(reserve.item.tolist())}
    for _ in range(3):
        made = engine.rank({"items": wanted})
        assert sorted(ids(made)) == sorted(wanted)
        if "popular" in made["degraded"]:
            assert ids(made) == sorted(wanted, key=lambda name: place.get(name, 1000 + wanted.index(name)))
        assert made["degraded"]


@pytest.mark.parametrize("mood", ["raise", "hang"])
def test_similar_without_its_sources(moods: Any, mood: str) -> None:
    """What the others find; where no source answers, what is popular, and never the item itself."""
    both = engine_of(
        source=[{"type": "itemknn", "quota": 20}, {"type": f"{PLACE}.MoodySource", "name": "moody", "quota": 20}]
    )
    whole = timely(both, "similar", item_id="i00010", k=8)
    moods.now = {"source": mood}
    made = timely(both, "similar", item_id="i00010", k=8)
    assert (made["degraded"], ids(made)) == (["source.moody"], ids(whole))
    moods.release()
    alone = engine_of(source=[{"type": f"{PLACE}.MoodySource", "name": "moody", "quota": 30}])
    moods.now = {"source": mood}
    made = timely(alone, "similar", item_id="i00010", k=8)
    assert made["degraded"] == ["source.moody", "popular"]
    assert len(ids(made)) == 8
    assert "i00010" not in ids(made)


def test_a_deadline_of_its_own(moods: Any) -> None:
    engine = engine_of(serve={"deadline_ms": 30_000.0})
    moods.now = {"ranker": 3.0}
    started = time.perf_counter()
    made = engine.rank({"items": ITEMS}, deadline=0.1)
    assert time.perf_counter() - started < 2.5
    assert made["degraded"]
    assert len(ids(made)) == 3


def test_they_are_logged_as_shown(service: Service, client: Client) -> None:
    """With the request, places, sources, bundle and propensity; as impressions where there is somebody who sees them; and traces tell of them."""

    def asked(path: str, **body: Any) -> tuple[dict[str, Any], int]:
        """The answer, and how many events it was."""
        before = client.get("/v1/state").json()["events"]
        made = client.post(path, json={"deadline_ms": 20_000, **body}).json()
        service.writer.flush()
        return made, client.get("/v1/state").json()["events"] - before

    ranked, events = asked("/v1/rank", user_id="ann", items=[f"i{i:05}" for i in range(20)], k=3)
    assert (len(ids(ranked)), events) == (3, 3)
    assert len(ranked["left_out"]) == 17
    stored = service.log.find(ranked["request_id"])
    assert stored is not None
    content = decode(stored)
    assert (content.call, content.user_id, content.bundle, content.items) == (
        "rank",
        "ann",
        ranked["bundle"],
        ids(ranked),
    )
    assert content.scores == [item["score"] for item in ranked["items"]]
    assert content.propensity == [1.0] * 3
    alike, events = asked("/v1/similar", user_id="ann", item_id="i00010", k=4)
    assert events == len(ids(alike)) > 0
    stored = service.log.find(alike["request_id"])
    assert stored is not None
    assert decode(stored).sources == ["|".join(item["sources"]) for item in alike["items"]]
    assert asked("/v1/similar", item_id="i00010", k=4)[1] == 0  # nobody's
    for path, body in (
        ("/v1/rank", {"items": ids(ranked)}),
        ("/v1/similar", {"item_id": "i00010"}),
        ("/v1/recommend", {}),
    ):
        unseen, events = asked(path, user_id="ann", shown=False, **body)
        assert (bool(ids(unseen)), events) == (True, 0)
        assert service.log.find(unseen["request_id"]) is not None
    for made, call in ((ranked, "ranked"), (alike, "alike")):
        told = client.get(f"/v1/requests/{made['request_id']}/trace").json()
        assert ids(told) == ids(made), call
    sent = client.post("/v1/events", json={"events": [
        {"user_id": "ann", "item_id": ids(ranked)[0], "event": "click", "request_id": ranked["request_id"], "position": 1}
    ]})  # fmt: skip
    assert sent.json()["accepted"] == 1
    served = service.log.read(0, 1000, (entry.SERVED,))
    assert {decode(each).call for each in served} == {"recommend", "rank", "similar"}
