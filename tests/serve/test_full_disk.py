"""A disk that is really full, under load: log, snapshots, traces and figures are all on it."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from bench.crash import Clients, Told, replayed, standings, verify
from bench.served import Command
from shortlist.core.errors import BundleError
from shortlist.serve import service as service_module
from shortlist.serve.engine import Engine
from shortlist.serve.traces import Kept, Traces
from shortlist.state import snapshot
from tests.disk import disk, fill
from tests.serve.live import opened, serving

FULL = 2.0  # seconds that the disk is full


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of twenty megabytes."""
    with disk(tmp_path / "small", "20m") as folder:
        yield folder


def until(told: Told, count: int, what: str) -> None:
    """Wait until the clients have seen more."""
    end = time.monotonic() + 60
    while getattr(told, what) < count:
        assert time.monotonic() < end, f"{what}: {getattr(told, what)} of {count}; {told.wrong[:3]}"
        time.sleep(0.02)


def test_it_fills_under_load_and_has_room_again(shop: Path, small: Path) -> None:
    """Two workers and the keeper: events are refused in one line, answers go on; with room again writing goes on without a restart; nothing that
    was acknowledged is lost, nothing is there by half or twice, and every state is the replay of the log."""
    address, told = f"sqlite:{small / 'events.log'}", Told()
    command = Command(shop, address, "--snapshot", "0.3")
    command.start()
    try:
        processes = command.children()
        clients = Clients(command.url, told, 1)
        clients.start()
        try:
            until(told, 20, "answers")
            fill(small / "ballast")
            until(told, told.retried + 3, "retried")
            batch = {"events": [{"user_id": "u00001", "item_id": f"item {i}", "event": "click"} for i in range(900)]}
            with httpx.Client(base_url=command.url, timeout=20) as client:
                refused = client.post("/v1/events", json={**batch, "key": "later"})
                assert refused.status_code == 503
                assert "full" in refused.json()["error"]
                answers, end = told.answers, time.monotonic() + FULL
                while time.monotonic() < end:
                    made = client.post("/v1/recommend", json={"user_id": "u00001", "k": 5})
                    assert (made.status_code, len(made.json()["items"])) == (200, 5)
                    assert made.json()["degraded"] == []
                assert told.answers > answers
                acknowledged = len(told.acknowledged)
                (small / "ballast").unlink()
                until(told, told.answers + 20, "answers")
                again = client.post("/v1/events", json={**batch, "key": "later"}).json()
                assert (again["accepted"], again["duplicate"]) == (900, False)
        finally:
            clients.stop()
        assert told.wrong == []
        assert len(told.acknowledged) > acknowledged
        verify(address, told)
        assert set(processes) <= set(command.children())  # nobody had to be started again
        for position, digests in standings(command.url, 2).items():
            assert digests == {replayed(shop, address, position)}
    finally:
        assert command.stop() == 0


def test_a_snapshot_that_finds_no_room(shop: Path, small: Path) -> None:
    """Half-written it is nothing: the one before stays in force, no byte of the other is left, and the next one may come."""
    engine = Engine.load(shop)
    root = small / engine.name
    first = engine.snapshot(small)
    fill(small / "ballast")
    engine.position += 1
    with pytest.raises(BundleError, match="No space left on device"):
        engine.snapshot(small)
    assert list(root.iterdir()) == [first] == snapshot.listed(root)
    assert snapshot.digest(snapshot.load(first)) == snapshot.digest(engine.state)
    left = root / ".at-killed"  # of a keeper that was killed; what it holds is the room that the next one needs
    left.mkdir()
    (small / "ballast").rename(left / "state.npy")
    engine.snapshot(small)
    assert len(snapshot.listed(root)) == 2
    assert not left.exists()


def test_a_service_that_finds_no_room_for_traces(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It starts, says so, and answers; there is nothing to be told of its answers."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(service_module, "Traces", full)
    service = opened(shop, f"sqlite:{tmp_path / 'events.log'}")
    assert "no trace of them is kept" in caplog.text
    with serving(service) as client:
        made = client.post("/v1/recommend", json={"user_id": "u00001", "deadline_ms": 20_000}).json()
        assert len(made["items"]) == 10
        assert client.get(f"/v1/requests/{made['request_id']}/trace").status_code == 404


def test_traces_that_find_no_room(small: Path) -> None:
    """The process lives on (a store into a mapped page would end it), and what there was room for can be told."""
    ring = Traces(small, "0123456789ab")
    blob = np.arange(50_000, dtype=np.int32).tobytes()
    kept = [Kept(ring.name(), "s", "b", 0, {}, [], blob, b"", b"", b"", b"", b"", b"") for _ in range(3)]
    ring.keep(kept[0], "user")
    fill(small / "ballast")
    ring.keep(kept[1], "user")
    assert ring.find(kept[0].request_id) == kept[0]
    assert ring.find(kept[1].request_id) is None
    (small / "ballast").unlink()
    ring.keep(kept[2], "user")
    assert ring.find(kept[2].request_id) == kept[2]
    fill(small / "ballast")
    with pytest.raises(OSError, match="No space left on device"):
        Traces(small, "ba9876543210")
