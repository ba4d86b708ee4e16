"""Erasure: a user is forgotten by the log, the snapshots and every state, also when somebody is killed in between."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.crash import replayed
from shortlist.core.errors import ShortlistError
from shortlist.serve.service import Service
from shortlist.state.snapshot import digest
from tests.serve.live import opened, serving

USER = "somebody-to-be-forgotten"


def click(user: str, item: str) -> dict[str, str]:
    """An event."""
    return {"user_id": user, "item_id": item, "event": "click"}


def told(folder: Path, word: str) -> list[Path]:
    """Files that hold a word."""
    return [path for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


def live(shop: Path, log: str) -> Service:
    """A service that has seen a good deal of the user, and of others."""
    service = opened(shop, log)
    engine = service.engine(None)
    for i in range(30):
        engine.track(
            [click(USER if i % 3 else f"other {i}", f"i{i:05}"), click(f"other {i}", f"new {i % 4}")], key=f"k{i}"
        )
        service.recommend({"user_id": USER if i % 2 else "other 3", "k": 3})
    service.writer.flush()
    engine.catch_up()
    engine.snapshot(service.settings.place)
    return service


def test_a_user_is_erased(shop: Path, tmp_path: Path) -> None:
    log = f"sqlite:{tmp_path / 'events.log'}"
    one, other = live(shop, log), opened(shop, log)
    assert len(told(tmp_path, USER)) >= 2  # the log and the snapshot
    with serving(one) as client, serving(other) as second:
        known = client.get(f"/v1/users/{USER}").json()
        assert known["known"]
        assert len(known["history"]) == 20
        answer = client.request("DELETE", f"/v1/users/{USER}").json()
        assert answer["erased"]
        assert not answer["in_bundle"]
        assert told(tmp_path, USER) == []
        stranger = client.post("/v1/recommend", json={"user_id": "a stranger"}).json()["items"]
        assert not client.get(f"/v1/users/{USER}").json()["known"]
        assert not second.get(f"/v1/users/{USER}").json()["known"]
        # Asking is coming again: as a stranger, whose impressions count from here on.
        assert second.post("/v1/recommend", json={"user_id": USER}).json()["items"] == stranger
        # Soon every state is the replay of what is left.
        until = time.monotonic() + 20
        while time.monotonic() < until:
            standings = [each.get("/v1/state").json() for each in (client, second)]
            if all(each["digest"] == replayed(shop, log, each["position"]) for each in standings):
                break
            time.sleep(0.2)
        else:
            raise AssertionError("a worker's state is not the replay of the log")
        client.post("/v1/events", json={"events": [click(USER, "i00001")]})
        assert len(second.get(f"/v1/users/{USER}").json()["history"]) == 1
    again = opened(shop, log)
    assert digest(again.engine(None).state) == replayed(shop, log, again.engine(None).position)
    again.close()


def test_a_user_of_the_bundle_is_forgotten_by_the_state(shop: Path, tmp_path: Path) -> None:
    """At once, after a restart, and in a replay; the answer says that the bundle itself was fitted with them."""
    log = f"sqlite:{tmp_path / 'events.log'}"
    service = opened(shop, log)
    with serving(service) as client:
        assert client.get("/v1/users/u00001").json()["attributes"]
        assert client.request("DELETE", "/v1/users/u00001").json()["in_bundle"]
        gone = {"user_id": "u00001", "known": False, "attributes": {}, "history": []}
        assert client.get("/v1/users/u00001").json() == gone
    again = opened(shop, log)
    engine = again.engine(None)
    assert digest(engine.state) == replayed(shop, log, engine.position)
    with serving(again) as client:
        assert client.get("/v1/users/u00001").json() == gone


def test_what_a_crash_left_is_finished_at_the_next_start(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the entry, before the log was cleared."""
    log = f"sqlite:{tmp_path / 'events.log'}"
    service = live(shop, log)

    def killed(*_: object) -> int:
        raise ShortlistError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(type(service.log), "rewrite", killed)
        with pytest.raises(ShortlistError, match="killed"):
            service.erase(USER)
    service.close()
    assert told(tmp_path, USER)
    again = opened(shop, log)
    assert told(tmp_path, USER) == []
    assert digest(again.engine(None).state) == replayed(shop, log, again.engine(None).position)
    again.close()
