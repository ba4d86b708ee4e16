"""Is anything lost, doubled or different when the service is killed? `python bench/crash.py --bundle BUNDLE [--times 50] [--log sqlite|redis]`.

Clients send batches of events under keys, ask for answers, put and delete items; at a random moment everything (or one worker, or with `--log
redis` a Redis of our own, or that and everything) is killed with -9 and started again, and each client sends again what was not acknowledged. Then:
every acknowledged event is in the log, none is twice, and the state of every worker is, bit for bit, that of a replay of the log from the bundle."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.served import Command, Redis
from shortlist.serve import entry
from shortlist.serve.engine import Engine
from shortlist.serve.eventlog.codec import decode
from shortlist.serve.eventlog.contract import EventLog
from shortlist.serve.eventlog.open import open_log
from shortlist.serve.fold import PIECE
from shortlist.state.snapshot import digest

WRITERS, READERS = 3, 2
PATIENCE = 60.0  # seconds after which a batch that nobody acknowledges is a failure


@dataclass
class Told:
    """What the clients know: acknowledged batches by key, with their position and events; answers; what was refused for another reason
    than that nobody answered."""

    acknowledged: dict[str, tuple[int, list[dict[str, Any]]]] = field(default_factory=dict)
    answers: int = 0
    retried: int = 0
    wrong: list[str] = field(default_factory=list)


class Clients:
    """Mixed load in threads, until told to stop. A writer goes on with the batch that it has in hand until it is acknowledged."""

    def __init__(self, url: str, told: Told, seed: int) -> None:
        self.url, self.told, self.seed = url, told, seed
        self.over = threading.Event()
        jobs = [self._write] * WRITERS + [self._read] * READERS + [self._change]
        self.threads = [threading.Thread(target=job, args=(i,)) for i, job in enumerate(jobs)]

    def start(self) -> None:
        """Begin."""
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """End; writers first get an answer to what they have in hand."""
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _post(self, client: httpx.Client, method: str, path: str, body: Any, until: int = 200) -> dict[str, Any] | None:
        """The answer; None where nobody answers or the service is starting. Anything else is wrong."""
        try:
            response = client.request(method, path, json=body)
        except httpx.TransportError:
            return None
        if response.status_code in (429, 503):
            return None
        if response.status_code != until:
            self.told.wrong.append(f"{path}: {response.status_code} {response.text[:200]}")
            return None
        made: dict[str, Any] = response.json()
        return made

    def _write(self, name: int) -> None:
        draw, number = random.Random(f"{self.seed} {name}"), 0
        with httpx.Client(base_url=self.url, timeout=10) as client:
            while not self.over.is_set():
                number += 1
                key = f"{self.seed}-{name}-{number}"
                events = [
                    {"user_id": f"u{draw.randrange(200):05}", "item_id": f"{key}-{j}", "event": "click"}
                    for j in range(draw.randint(1, 5))
                ]
                until = time.monotonic() + PATIENCE
                while (made := self._post(client, "POST", "/v1/events", {"events": events, "key": key})) is None:
                    self.told.retried += 1
                    time.sleep(0.05)
                    if self.told.wrong or time.monotonic() > until:
                        self.told.wrong.append(f"batch {key} is not acknowledged within {PATIENCE} s")
                        return
                self.told.acknowledged[key] = (made["token"], events)

    def _read(self, name: int) -> None:
        draw = random.Random(f"{self.seed} {name}")
        with httpx.Client(base_url=self.url, timeout=10) as client:
            while not self.over.is_set():
                made = self._post(client, "POST", "/v1/recommend", {"user_id": f"u{draw.randrange(200):05}", "k": 5})
                self.told.answers += made is not None
                time.sleep(0.001 if made is not None else 0.05)

    def _change(self, name: int) -> None:
        draw = random.Random(f"{self.seed} {name}")
        with httpx.Client(base_url=self.url, timeout=10) as client:
            while not self.over.is_set():
                item = f"i{draw.randrange(100):05}"
                if draw.random() < 0.5:
                    self._post(client, "DELETE", "/v1/items", {"item_ids": [item]})
                else:
                    self._post(
                        client,
                        "PUT",
                        "/v1/items",
                        {"rows": [{"item_id": item}, {"item_id": f"late {draw.randrange(50)}"}]},
                    )
                time.sleep(0.02)


def verify(address: str, told: Told) -> dict[str, int]:
    """Figures of the log. AssertionError unless everything acknowledged is in it where it was said to be, and nothing is there twice."""
    log = open_log(address)
    try:
        events: Counter[str] = Counter()
        at: dict[int, entry.Events] = {}
        for stored in entries(log, entry.EVENTS):
            content = decode(stored)
            events.update(content.item_id)
            at[stored.position] = content
        doubled = [name for name, count in events.items() if count > 1]
        assert not doubled, f"{len(doubled)} events are in the log twice: {doubled[:5]}"
        for key, (position, batch) in told.acknowledged.items():
            assert position in at, f"batch {key}, acknowledged at {position}, is not in the log"
            assert at[position].item_id == [event["item_id"] for event in batch], f"batch {key} is not at {position}"
        sent = sum(len(batch) for _, batch in told.acknowledged.values())
        return {"entries": log.last(), "events": sum(events.values()), "acknowledged": sent}
    finally:
        log.close()


def entries(log: EventLog, *kinds: int) -> Any:
    """All entries of these kinds."""
    position = 0
    while found := log.read(position, PIECE, kinds):
        yield from found
        position = found[-1].position


def replayed(bundle: Path, address: str, upto: int) -> str:
    """The digest of a state that was folded from the bundle to a log position, by nobody who ever died."""
    log, engine = open_log(address), Engine.load(bundle, verify=False)
    try:
        engine.begin(log, 0)
        position = 0
        while position < upto:
            found = [each for each in log.read(position, PIECE) if each.position <= upto]
            engine.fold(found)
            position = found[-1].position
        return digest(engine.state)
    finally:
        log.close()


def standings(url: str, workers: int) -> dict[int, set[str]]:
    """Digests by log position, as many workers tell them: connections are shared out, so each is asked on one of its own."""
    found: dict[int, set[str]] = {}
    for _ in range(4 * workers):
        told = httpx.get(f"{url}/v1/state", timeout=30).json()
        found.setdefault(told["position"], set()).add(told["digest"])
    return found


def crash(
    bundle: Path, log: str, folder: Path, times: int, workers: int = 2, seconds: float = 1.5, seed: int = 0, say: Any = print,
    options: tuple[str, ...] = ("--snapshot", "0.5"),
) -> dict[str, Any]:  # fmt: skip
    """Kill the service so many times under load, and verify after each. log: sqlite, or redis: a server of our own, which is killed, too; folder:
    for its files and the snapshots. The figures; AssertionError for what should not be."""
    draw, told, place = random.Random(seed), Told(), folder / "place"
    redis = Redis(folder) if log == "redis" else None
    address = redis.address if redis is not None else f"sqlite:{folder / 'events.log'}"
    command = Command(bundle, address, "--folder", str(place), *options, workers=workers)
    kills: Counter[str] = Counter()
    restarts, states = [], 0
    try:
        command.start()
        for number in range(times):
            clients = Clients(command.url, told, seed * 1000 + number)
            clients.start()
            time.sleep(draw.uniform(0.2, seconds))
            if number == 1:  # a later restart shall have a snapshot to begin with, however slow the machine
                until = time.monotonic() + 90
                while not _snapshots(place) and time.monotonic() < until:
                    time.sleep(0.1)
            victim = ("all", "all", "one process")[number % 3]
            if redis is not None:
                victim = ("all", "redis", "one process", "redis and all")[number % 4]
            kills[victim] += 1
            if "redis" in victim and redis is not None:
                redis.kill()
                time.sleep(draw.uniform(0, 1))  # some requests meet nobody
            if "all" in victim:
                command.kill()
            if victim == "one process":  # a worker or the keeper: the others go on, and another takes its place
                os.kill(draw.choice(command.children()), signal.SIGKILL)
                time.sleep(1)
            if "redis" in victim and redis is not None:
                redis.start()
            if "all" in victim:
                started = time.monotonic()
                command.start()
                restarts.append(time.monotonic() - started)
            time.sleep(0.3)
            clients.stop()
            assert not told.wrong, told.wrong[:5]
            figures = verify(address, told)
            _quiet(command, workers)
            for position, digests in standings(command.url, workers).items():
                assert digests == {replayed(bundle, address, position)}, (
                    f"round {number}: a state differs from its replay"
                )
                states += 1
            say(f"round {number}: {victim} killed; {len(told.acknowledged)} batches acknowledged, {figures}")
        assert command.stop() == 0
    finally:
        if command.process is not None and command.process.poll() is None:
            command.kill()
        if redis is not None:
            redis.kill()
    return {
        "log": log, "kills": dict(kills), "workers": workers, "batches": len(told.acknowledged), "sent again": told.retried,
        "answers": told.answers, "restart s (median)": round(sorted(restarts)[len(restarts) // 2], 1) if restarts else None,
        "snapshots kept": _snapshots(place), **figures, "lost": 0, "twice": 0, "states compared": states, "states that differ": 0,
    }  # fmt: skip


def _snapshots(place: Path) -> int:
    """How many snapshots stand in a service's folder."""
    return len(list(place.glob("*/at-*")))


def _quiet(command: Command, workers: int) -> None:
    """Wait until all workers answer, those that were started again too."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if all(httpx.get(f"{command.url}/readyz", timeout=30).status_code == 200 for _ in range(4 * workers)):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError("the service does not become ready again")


def main() -> None:
    """Run it on a bundle, or on the demo's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", choices=("sqlite", "redis"), default="sqlite")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(crash(given.bundle, given.log, Path(folder), given.times, given.workers), indent=1))


if __name__ == "__main__":
    main()
