"""Rank, similar, and traces: also those of another worker, and after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx import Client

from shortlist.serve.engine import Engine
from shortlist.serve.service import Service
from shortlist.serve.traces import Kept, Traces
from tests.serve.live import opened, serving


def ids(answer: dict[str, Any]) -> list[Any]:
    """Items of an answer."""
    return [item["item_id"] for item in answer["items"]]


def test_rank_is_the_ranker_of_recommend(shop: Path) -> None:
    """Items of an answer, handed in upside down, come in its order with its scores: the same columns, the same ranker."""
    engine = Engine.load(shop)
    for user in ("u00001", "u00020", None):
        shown = engine.recommend({"user_id": user, "k": 12})
        ranked = engine.rank({"user_id": user, "items": ids(shown)[::-1]})
        assert ranked["items"] == [{"item_id": item["item_id"], "score": item["score"]} for item in shown["items"]]
        assert ranked["left_out"] == []


def test_rank_keeps_all_that_may_be_shown(client: Client) -> None:
    """Items that no source would find are ranked, too; those that may not be shown are told with the reason; none is lost."""
    client.post("/v1/events", json={"events": [{"user_id": "u00002", "item_id": "i00000", "event": "click"}]})
    there = ids(client.post("/v1/recommend", json={"user_id": "u00002"}).json())[0]
    client.request("DELETE", "/v1/items", json={"item_ids": [there]})
    asked = [f"i{i:05}" for i in range(100)] + ["no such item", "i00050"]
    made = client.post("/v1/rank", json={"user_id": "u00002", "items": asked}).json()
    reasons = {each["item_id"]: each["reason"] for each in made["left_out"]}
    assert reasons["no such item"] == "unknown item"
    assert reasons["i00000"] == "filtered by seen"
    assert reasons[there] == "filtered by the request"
    assert sorted([*ids(made), *reasons]) == sorted(set(asked))
    scores = [item["score"] for item in made["items"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("body", [{}, {"items": []}, {"items": "i00001"}, {"items": ["i"] * 1001}, {"items": [1.5]}])
def test_rank_refuses(client: Client, body: dict[str, Any]) -> None:
    response = client.post("/v1/rank", json=body)
    assert response.status_code == 422
    assert "\n" not in response.json()["error"]


def test_similar_items_are_those_of_one_history(shop: Path, client: Client) -> None:
    """By the sources that look at histories, fused as the docstring says; what is popular with everybody has no say."""
    engine = Engine.load(shop)
    made = engine.similar({"item_id": "i00010", "k": 8})
    assert 0 < len(ids(made)) <= 8
    assert "i00010" not in ids(made)
    assert {source for item in made["items"] for source in item["sources"]} <= {"itemknn", "content"}
    alone = engine.state
    engine.track([{"user_id": "one", "item_id": "i00010", "event": "click"}])
    batch = engine.asked({"user_id": "one"}).batch
    expected: dict[int, float] = {}
    for name in ("itemknn", "content"):
        hits = engine.pipeline.sources[name].retrieve(batch, alone, 20 + 1, None)
        for rank, code in enumerate([code for code in hits.items[0] if code >= 0 and code != 10], 1):
            expected[int(code)] = expected.get(int(code), 0.0) + 1 / (60 + rank)
    names = engine.catalogue.items.ids
    for item in made["items"]:
        assert item["score"] == pytest.approx(expected[names.code(item["item_id"])])
    assert client.post("/v1/similar", json={"item_id": "never heard of"}).json()["items"] == []
    fewer = client.post("/v1/similar", json={"item_id": "i00010", "k": 8, "exclude": ids(made)[:2]}).json()
    assert not set(ids(fewer)) & set(ids(made)[:2])


def test_a_trace_says_why_and_why_not(service: Service, client: Client) -> None:
    """For every item of the catalogue, as the engine itself would say when asked again at the same moment."""
    asked = {"user_id": "u00003", "k": 5}
    shown = client.post("/v1/recommend", json=asked).json()
    whole = client.get(f"/v1/requests/{shown['request_id']}/trace").json()
    assert ids(whole) == ids(shown)
    assert whole["funnel"]["shown"] == 5
    assert all(item["reason"] == "shown" and item["sources"] for item in whole["items"])
    reasons = set()
    engine = service.engine(None)
    for item in engine.catalogue.items.ids.series().to_list():
        told = client.get(f"/v1/requests/{shown['request_id']}/trace", params={"item_id": item}).json()["items"][0]
        again = engine.trace({**asked, "time": whole["request"]["time"]}, item)
        assert told["reason"] == again["reason"], item
        assert told.get("ranked") == again.get("ranked")
        reasons.add(told["reason"])
    assert {"shown", "missed: no source returned it", "ranked below the answer, or ruled out"} <= reasons
    unknown = client.get(f"/v1/requests/{shown['request_id']}/trace", params={"item_id": "no such"}).json()
    assert unknown["items"] == [{"item_id": "no such", "found": False, "reason": "unknown item"}]


def test_any_worker_can_tell_also_after_a_restart(shop: Path, tmp_path: Path) -> None:
    log = f"sqlite:{tmp_path / 'events.log'}"
    services = [opened(shop, log) for _ in range(2)]
    with serving(services[0]) as one, serving(services[1]) as other:
        shown = one.post("/v1/recommend", json={"user_id": "u00004"}).json()
        path = f"/v1/requests/{shown['request_id']}/trace"
        assert ids(other.get(path).json()) == ids(shown)
    with serving(opened(shop, log)) as again:
        assert ids(again.get(path).json()) == ids(shown)
        assert again.request("DELETE", "/v1/users/u00004").status_code == 200
        assert again.get(path).status_code == 404


@pytest.mark.parametrize(
    "name", ["nonsense", "0" * 12 + "-1", "../../etc/passwd", "a" * 300, "0" * 12 + "-" + "9" * 30]
)
def test_a_trace_that_is_not_there(client: Client, name: str) -> None:
    response = client.get(f"/v1/requests/{name}/trace")
    assert response.status_code == 404
    assert "\n" not in response.json()["error"]


def test_the_ring_forgets_the_oldest(tmp_path: Path) -> None:
    """Each is found whole or not at all, whatever has been written over it."""
    ring = Traces(tmp_path, "0123456789ab", slots=64, room=5000)
    draw = np.random.default_rng(0)
    made = []
    for _ in range(300):
        item = draw.integers(0, 99, draw.integers(1, 60)).astype(np.int32).tobytes()
        made.append(Kept(ring.name(), "s", "b", 0, {}, [], item, b"", b"", b"", b"", b"", b""))
        ring.keep(made[-1], "user")
        assert ring.find(made[-1].request_id) == made[-1]
    there = [ring.find(each.request_id) for each in made]
    assert all(found in (None, each) for found, each in zip(there, made, strict=True))
    assert 5 < sum(found is not None for found in there) < 64
    assert ring.forget({"user"}) > 0
    assert [found for each in made if (found := ring.find(each.request_id))] == []
