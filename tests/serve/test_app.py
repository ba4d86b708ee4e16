"""The HTTP interface of one worker: what it answers, what it learns, and what it refuses in one line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from httpx import Client, Response

from shortlist.serve.service import Service
from shortlist.serve.settings import Settings
from tests.serve.live import opened, serving


def ask(client: Client, **body: Any) -> dict[str, Any]:
    """An answer."""
    # Not by the recipe's deadline: a busy machine must not be taken for a wrong answer.
    response = client.post("/v1/recommend", json={"deadline_ms": 20_000, **body})
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def ids(answer: dict[str, Any]) -> list[str]:
    """Its items."""
    return [item["item_id"] for item in answer["items"]]


def send(client: Client, *events: dict[str, Any], **headers: str) -> dict[str, Any]:
    """Events, accepted."""
    response = client.post("/v1/events", json={"events": list(events)}, headers=headers)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def said(response: Response, status: int) -> str:
    """The one line of a refusal."""
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"]
    assert "\n" not in body["error"]
    return str(body["error"])


def click(user: str, item: str, **more: Any) -> dict[str, Any]:
    """An event."""
    return {"user_id": user, "item_id": item, "event": "click", **more}


def test_an_answer(client: Client, service: Service) -> None:
    made = ask(
        client, user_id="u00001", k=5, deadline_ms=20_000
    )  # what is asked here is not how fast a busy machine is
    assert len(ids(made)) == len(set(ids(made))) == 5
    assert made["bundle"] == service.engine(None).name
    assert made["degraded"] == []
    assert made["request_id"]
    assert made["cursor"]
    assert made["took_ms"] > 0


def test_own_click_changes_the_next_answer(client: Client) -> None:
    """Also that of somebody who was never heard of."""
    first = ask(client, user_id="a newcomer")
    sent = send(client, click("a newcomer", ids(first)[0], request_id=first["request_id"], position=1))
    assert sent["accepted"] == 1
    after = ask(client, user_id="a newcomer", token=sent["token"])
    assert ids(first)[0] not in ids(after)
    assert ids(ask(client, user_id="another newcomer")) != ids(after)


def test_a_batch_is_taken_in_once(client: Client, service: Service) -> None:
    """By header or by field; another batch under the key is refused."""
    batch = {"events": [click("u00001", "i00001"), click("u00001", "i00002")]}
    first = client.post("/v1/events", json=batch, headers={"Idempotency-Key": "one"}).json()
    time.sleep(1.1)  # sent again, it would be given another time
    assert (first["accepted"], first["duplicate"]) == (2, False)
    again = client.post("/v1/events", json={**batch, "key": "one"}).json()
    assert again == {"accepted": 0, "duplicate": True, "token": first["token"]}
    other = client.post("/v1/events", json={"events": batch["events"][:1]}, headers={"Idempotency-Key": "one"})
    assert said(other, 409) == "idempotency key 'one': the key belongs to an earlier batch with other content"
    before = service.engine(None).state.count
    ask(client)
    assert service.engine(None).state.count == before + 2


def test_two_workers_know_the_same(shop: Path, tmp_path: Path) -> None:
    """What one has acknowledged, the other's next answer knows."""
    services = [opened(shop, f"sqlite:{tmp_path / 'events.log'}") for _ in range(2)]
    with serving(services[0]) as one, serving(services[1]) as other:
        for i in range(10):
            first = ids(ask(other, user_id=f"walker {i}"))
            send(one, click(f"walker {i}", first[0]))
            assert first[0] not in ids(ask(other, user_id=f"walker {i}"))
            assert ids(ask(one, user_id=f"walker {i}")) == ids(ask(other, user_id=f"walker {i}"))


def test_pages_never_repeat_an_item(client: Client) -> None:
    """Though the state moves between the pages; all pages but the last are full."""
    seen: list[str] = []
    page = ask(client, user_id="u00002", k=7)
    while True:
        assert not set(ids(page)) & set(seen)
        seen += ids(page)
        if page["cursor"] is None:
            break
        assert len(ids(page)) == 7
        send(client, click("u00003", ids(page)[0]), click("u00002", ids(page)[1]))
        page = ask(client, user_id="u00002", k=7, cursor=page["cursor"])
    assert len(seen) == len(set(seen)) > 60  # more than the pool holds: later pages search for the rest


def test_exclude_and_filter(client: Client, service: Service) -> None:
    items = service.engine(None).catalogue.items
    plain = ask(client, user_id="u00004", k=10)
    without = ask(client, user_id="u00004", k=10, exclude=ids(plain)[:3])
    assert ids(without)[:7] == ids(plain)[3:]
    assert len(ids(without)) == 10
    books = ask(client, user_id="u00004", k=5, filter={"category": ["books", "garden"]})
    words = items.columns["category"].vocabulary
    assert words is not None
    found = {words.name(int(code)) for code in items.values("category", items.ids.codes(ids(books)))}
    assert found <= {"books", "garden"}
    assert len(ids(books)) == 5
    assert "unknown column 'colour'" in said(client.post("/v1/recommend", json={"filter": {"colour": "red"}}), 422)


def test_a_new_item_is_found_and_a_deleted_one_is_hidden(client: Client) -> None:
    """By its age at once, by its likeness when somebody likes such things, and for everybody."""
    row = {"item_id": "brand new", "category": "books"}
    assert client.put("/v1/items", json={"rows": [row]}).json()["changed"] == 1
    found = ask(client, user_id="u00005", k=100, explain=True)
    assert "brand new" in ids(found)
    why = next(item["why"] for item in found["items"] if item["item_id"] == "brand new")
    assert why["sources"]["newest"]["rank"] == 1
    likes = [
        item["item_id"] for item in ask(client, k=100, filter={"category": "books"}, exclude=["brand new"])["items"]
    ][:3]
    send(client, *(click("a reader", item) for item in likes))
    found = ask(client, user_id="a reader", k=100, explain=True)
    assert "content" in next(item["why"]["sources"] for item in found["items"] if item["item_id"] == "brand new")
    assert client.request("DELETE", "/v1/items", json={"item_ids": ["brand new", "never was"]}).status_code == 200
    assert "brand new" not in ids(ask(client, user_id="u00005", k=100))
    first = ids(ask(client, user_id="u00005"))[0]
    client.request("DELETE", "/v1/items", json={"item_ids": [first]})
    assert first not in ids(ask(client, user_id="u00005", k=100))
    client.put("/v1/items", json={"rows": [{"item_id": first}]})
    assert first in ids(ask(client, user_id="u00005", k=100))


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/v1/recommend", {"k": 0}, 422, "Expected `int` >= 1"),
        ("/v1/recommend", {"k": 10**9}, 422, "<= 1000"),
        ("/v1/recommend", {"k": "ten"}, 422, "Expected `int | null`, got `str`"),
        ("/v1/recommend", {"user": "u1"}, 422, "unknown field `user`"),
        ("/v1/recommend", {"surface": "nowhere"}, 422, "Invalid enum value 'nowhere'"),
        ("/v1/recommend", {"context": {"divice": "phone"}}, 422, "unknown field `divice`"),
        ("/v1/recommend", {"cursor": "bm9uc2Vuc2U"}, 422, "not a cursor of this service"),
        ("/v1/recommend", {"exclude": ["i"] * 10_001}, 422, "length <= 10000"),
        ("/v1/recommend", {"exclude": ["i00001"] * 10**6}, 413, "at most 2000000"),
        ("/v1/recommend", {"time": "yesterday"}, 422, "not a time: 'yesterday'"),
        ("/v1/events", {"events": []}, 422, "length >= 1"),
        ("/v1/events", {"events": [click("u", "i")] * 1001}, 422, "length <= 1000"),
        ("/v1/events", {"events": [{"user_id": "u", "item_id": "i", "event": "stare"}]}, 422, "Invalid enum value"),
        ("/v1/events", {"events": [click("u", "i", time=10**15)]}, 422, "looks like milliseconds"),
        ("/v1/events", {"events": [click("u", "i", time=int(time.time()) + 10**6)]}, 422, "more than a day ahead"),
        ("/v1/events", {"events": [click("u", "i", value=1e300)]}, 422, "value must be a finite number"),
    ],
)
def test_bad_bodies(client: Client, path: str, body: Any, status: int, text: str) -> None:
    assert text in said(client.post(path, json=body), status)


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        ("POST", "/v1/recommend", {"user": "u1"}, "; fields: user_id, k, surface, "),
        ("POST", "/v1/recommend", {"context": {"divice": "phone"}}, "`$.context`; fields: device"),
        ("POST", "/v1/recommend", {"surface": "nowhere"}, "; choices: default"),
        ("POST", "/v1/events", {"events": [click("u", "i"), click("u", "i", how="fast")]}, "`$.events[1]`; fields: user_id, item_id, event, "),
        ("POST", "/v1/events", {"events": [click("u", "i") | {"event": "stare"}]}, "; choices: cart, click, impression, purchase"),
        ("PUT", "/v1/items", {"items": [{"item_id": "i1"}]}, "; fields: rows"),
    ],
)  # fmt: skip
def test_what_a_body_could_have_held_is_told(client: Client, method: str, path: str, body: Any, text: str) -> None:
    assert text in said(client.request(method, path, json=body), 422)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b'{"k": NaN}', b"\xff\xfe", b'{"filter": {"a": ' + b"[" * 100_000, b'{"user_id": "\xed\xa0\x80"}'],
)
def test_what_is_no_json(client: Client, raw: bytes) -> None:
    assert "not JSON" in said(client.post("/v1/recommend", content=raw), 400)


def test_unknown_paths_and_methods(client: Client) -> None:
    assert said(client.get("/v2/recommend"), 404) == "Not Found"
    assert said(client.get("/v1/recommend"), 405) == "Method Not Allowed"


@pytest.mark.parametrize("user", ["never heard of", None, "", 17, "ü" * 500, 2**70, -1, "日本", "\u0000"])
def test_any_user_gets_an_answer(client: Client, user: Any) -> None:
    assert len(ids(ask(client, user_id=user))) == 10


def test_health_and_readiness(shop: Path, tmp_path: Path) -> None:
    """Alive at once; ready when it has caught up and replayed."""
    service = Service.open(Settings({"default": str(shop)}, f"sqlite:{tmp_path / 'log'}", verify=False, warm=3))
    with serving(service) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        waiting = client.get("/readyz")
        assert waiting.status_code == 503
        assert waiting.json()["problem"] == "starting"
        assert "not ready" in said(client.post("/v1/recommend", json={}), 503)
        service.start()
        assert service.warmed == 4
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["bundles"] == {"default": service.engine(None).name}


def test_the_warm_up_replays_real_requests(shop: Path, tmp_path: Path) -> None:
    """What was served before the restart, and it leaves no trace in the log."""
    first = opened(shop, f"sqlite:{tmp_path / 'log'}")
    for i in range(3):
        first.recommend({"user_id": f"guest {i}", "k": 4, "context": {"device": "phone"}})
    first.close()
    again = Service.open(Settings({"default": str(shop)}, f"sqlite:{tmp_path / 'log'}", verify=False, warm=3))
    asked = again._requests(again.engine(None))
    assert [request["user_id"] for request in asked] == ["guest 2", "guest 1", "guest 0", None]
    assert asked[0]["context"] == {"device": "phone"}
    again.start()
    assert again.log.last() == 3
    again.close()


def test_the_document_describes_what_is_taken(client: Client) -> None:
    document = client.get("/openapi.json").json()
    assert {"/v1/recommend", "/v1/events", "/v1/items", "/healthz", "/readyz"} <= set(document["paths"])
    schemas = document["components"]["schemas"]
    assert "click" in schemas["Event"]["properties"]["event"]["enum"]
    assert "device" in schemas["Context"]["properties"]
    assert client.get("/docs").status_code == 200
