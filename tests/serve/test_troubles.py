"""What goes wrong around a service: the log away, the disk full, a clock that jumps back, an item deleted under a cursor, a stale page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.crash import replayed
from bench.served import Redis
from shortlist.serve.eventlog.sqlite import SqliteLog
from tests.serve.live import opened, serving
from tests.serve.test_eventlog import redis

__all__ = ["redis"]


def click(user: str, item: str, **more: Any) -> dict[str, Any]:
    """An event."""
    return {"user_id": user, "item_id": item, "event": "click", **more}


def ids(response: httpx.Response) -> list[str]:
    """Items of an answer."""
    assert response.status_code == 200, response.text
    return [item["item_id"] for item in response.json()["items"]]


def test_redis_away_and_back(shop: Path, tmp_path: Path, redis: Redis) -> None:
    """Answers go on, and say so; events are refused with 503, and taken in again afterwards; two replicas agree."""
    places = [{"folder": str(tmp_path / name)} for name in ("one", "other")]
    one, other = (opened(shop, redis.address, **place) for place in places)
    with serving(one) as first, serving(other) as second:
        sent = first.post("/v1/events", json={"events": [click("u00001", "i00001")], "key": "a"})
        assert sent.json()["accepted"] == 1
        assert second.get("/v1/users/u00001").json()["history"][0]["item_id"] == "i00001"
        redis.kill()
        answer = first.post("/v1/recommend", json={"deadline_ms": 20_000, "user_id": "u00001"})
        assert len(ids(answer)) == 10
        assert "log" in answer.json()["degraded"]
        refused = first.post("/v1/events", json={"events": [click("u00001", "i00002")], "key": "b"})
        assert refused.status_code == 503
        assert refused.json()["error"].startswith("redis 127.0.0.1:")
        assert first.get("/readyz").status_code == 503
        redis.start()
        again = first.post("/v1/events", json={"events": [click("u00001", "i00002")], "key": "b"}).json()
        assert (again["accepted"], again["duplicate"]) == (1, False)
        assert first.post("/v1/events", json={"events": [click("u00001", "i00001")], "key": "a"}).json()["duplicate"]
        told = [each.get("/v1/state").json() for each in (first, second)]
        assert told[0] == told[1]
        assert told[0]["digest"] == replayed(shop, redis.address, told[0]["position"])
        assert (
            "log"
            not in second.post("/v1/recommend", json={"deadline_ms": 20_000, "user_id": "u00001"}).json()["degraded"]
        )


def test_a_full_disk(shop: Path, tmp_path: Path) -> None:
    """Events are refused, answers go on; what was acknowledged is there, and with room again the refused come in."""
    service = opened(shop, f"sqlite:{tmp_path / 'events.log'}")
    assert isinstance(service.log, SqliteLog)
    with serving(service) as client:
        assert client.post("/v1/events", json={"events": [click("u00001", "i00001")], "key": "a"}).status_code == 200
        pages = service.log._writer.execute("PRAGMA page_count").fetchone()[0]
        service.log._writer.execute(f"PRAGMA max_page_count={pages}")
        batch = {"events": [click("u00002", f"item {i}") for i in range(500)], "key": "b"}
        refused = client.post("/v1/events", json=batch)
        assert refused.status_code == 503
        assert "full" in refused.json()["error"]
        assert len(ids(client.post("/v1/recommend", json={"deadline_ms": 20_000, "user_id": "u00001"}))) == 10
        service.log._writer.execute("PRAGMA max_page_count=1000000")
        assert client.post("/v1/events", json=batch).json()["accepted"] == 500
        told = client.get("/v1/state").json()
    assert told["digest"] == replayed(shop, f"sqlite:{tmp_path / 'events.log'}", told["position"])


def test_a_clock_that_jumps_back(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour, and then a year: nothing is refused, the order of the log stays the truth, and time never runs backwards in the state."""
    log = f"sqlite:{tmp_path / 'events.log'}"
    service = opened(shop, log)
    with serving(service) as client:
        first = ids(client.post("/v1/recommend", json={"deadline_ms": 20_000, "user_id": "u00001"}))
        real = time.time
        for number, back in enumerate((0, 3600, 365 * 86_400)):
            monkeypatch.setattr(time, "time", lambda back=back: real() - back)
            sent = client.post("/v1/events", json={"events": [click("u00001", first[number])]})
            assert sent.json()["accepted"] == 1
            after = ids(client.post("/v1/recommend", json={"deadline_ms": 20_000, "user_id": "u00001"}))
            assert not set(after) & set(first[: number + 1])
            now = service.engine(None).state.now
            assert now >= service.clock() - 1
        history = client.get("/v1/users/u00001").json()["history"]
        assert [each["item_id"] for each in history[:3]] == first[2::-1]
        told = client.get("/v1/state").json()
    assert told["digest"] == replayed(shop, log, told["position"])


def test_repeated_items_across_pages(shop: Path, tmp_path: Path) -> None:
    """The usual complaint: the ranking moves while somebody turns pages. Here it is turned over by other people's clicks."""
    with serving(opened(shop, f"sqlite:{tmp_path / 'events.log'}")) as client:
        seen: list[str] = []
        cursor = None
        for _ in range(4):
            page = client.post(
                "/v1/recommend", json={"deadline_ms": 20_000, "user_id": "u00001", "k": 5, "cursor": cursor}
            )
            assert not set(seen) & set(ids(page))
            seen += ids(page)
            cursor = page.json()["cursor"]
            rising = [click(f"crowd {i}", item) for i in range(30) for item in seen[-2:]]
            client.post("/v1/events", json={"events": rising})
        assert len(seen) == 20


def test_short_pages(shop: Path, tmp_path: Path) -> None:
    """A filter that fits few items, and everything on the first page excluded: pages are full as long as there is anything."""
    service = opened(shop, f"sqlite:{tmp_path / 'events.log'}")
    with serving(service) as client:
        whole = ids(client.post("/v1/recommend", json={"deadline_ms": 20_000, "k": 1000}))
        rare = ids(
            client.post("/v1/recommend", json={"deadline_ms": 20_000, "k": 1000, "filter": {"category": "books"}})
        )
        page = client.post(
            "/v1/recommend", json={"deadline_ms": 20_000, "k": len(rare), "filter": {"category": "books"}}
        )
        assert len(ids(page)) == len(rare) > 0
        rest = client.post("/v1/recommend", json={"deadline_ms": 20_000, "k": 5, "exclude": whole[:-5]})
        assert len(ids(rest)) == 5


def test_stale_deletes(shop: Path, tmp_path: Path) -> None:
    """Deleted by one worker: the next answer and the next page of the other do not show it, nor does anything after a restart."""
    log = f"sqlite:{tmp_path / 'events.log'}"
    services = [opened(shop, log) for _ in range(2)]
    with serving(services[0]) as one, serving(services[1]) as other:
        first = other.post("/v1/recommend", json={"deadline_ms": 20_000, "k": 5})
        following = ids(
            other.post("/v1/recommend", json={"deadline_ms": 20_000, "k": 5, "cursor": first.json()["cursor"]})
        )
        one.request("DELETE", "/v1/items", json={"item_ids": [following[0], ids(first)[0]]})
        assert ids(first)[0] not in ids(other.post("/v1/recommend", json={"deadline_ms": 20_000, "k": 50}))
        assert following[0] not in ids(
            other.post("/v1/recommend", json={"deadline_ms": 20_000, "k": 5, "cursor": first.json()["cursor"]})
        )
        services[0].engine(None).snapshot(services[0].settings.place)
    with serving(opened(shop, log)) as again:
        assert not {following[0], ids(first)[0]} & set(
            ids(again.post("/v1/recommend", json={"deadline_ms": 20_000, "k": 100}))
        )
