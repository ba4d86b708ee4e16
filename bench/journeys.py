"""Does every user's own click change the next answer, whichever worker gives it, and how soon? And how many events a second are acknowledged?

    python bench/journeys.py --bundle BUNDLE [--journeys 10000] [--workers 2] [--events 200000] [--json]

A journey: a user (new or known) asks, clicks one of the items shown, and asks again at once, each time on another connection, so that mostly
another worker answers. Read-your-writes: `GET /v1/users/{id}` tells the click as the newest event of the history, and where the
recipe's filters hide what was clicked, the second answer does not show it. Then events: batches of a thousand from several connections
while requests go on."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.served import Command
from shortlist.pipeline.bundle import Bundle

CLIENTS = 8  # journeys at a time
DEADLINE = 10_000  # ms: what is asked here is whether an answer knows, not whether a busy machine gives it within the recipe's deadline


@dataclass(frozen=True)
class Crowd:
    """Ids of a bundle's own users and items: some of the known ones, and new ones of the same type (integers stay integers)."""

    users: list[Any]
    items: list[Any]
    above: int | None  # the largest integer id; None where ids are text

    @classmethod
    def of(cls, bundle: Path) -> Crowd:
        """Up to 2,000 users and 600 items."""
        catalogue = Bundle.load(bundle).state.catalogue
        users, items = (
            [one.ids.name(code) for code in range(len(one.ids))] for one in (catalogue.users, catalogue.items)
        )
        draw = random.Random(0)
        above = max((each for each in users if isinstance(each, int)), default=None)
        return cls(draw.sample(users, min(len(users), 2000)), draw.sample(items, min(len(items), 600)), above)

    def new(self, number: int) -> Any:
        """An id that nobody has."""
        return f"walker {number}" if self.above is None else self.above + 1 + number


async def journeys(url: str, crowd: Crowd, count: int, hidden: bool, seed: int = 0) -> dict[str, Any]:
    """So many journeys; how many were not told of their own click, and the milliseconds from acknowledgement to the answer that knows it."""
    left, stale, shown, effects = iter(range(count)), 0, 0, []
    connections = [httpx.AsyncClient(base_url=url, timeout=30) for _ in range(2 * CLIENTS)]

    async def walk(number: int) -> None:
        nonlocal stale, shown
        draw = random.Random(f"{seed} {number}")
        for journey in left:
            user = crowd.new(journey) if draw.random() < 0.5 else draw.choice(crowd.users)
            first, second, third = draw.sample(connections, 3)
            answer = (
                await first.post("/v1/recommend", json={"user_id": user, "k": 10, "deadline_ms": DEADLINE})
            ).json()
            item = draw.choice(answer["items"])["item_id"]
            event = {"user_id": user, "item_id": item, "event": "click", "request_id": answer["request_id"]}
            sent = await second.post("/v1/events", json={"events": [event]})
            sent.raise_for_status()
            acknowledged = time.perf_counter()
            after = (await third.post("/v1/recommend", json={"user_id": user, "k": 10, "deadline_ms": DEADLINE})).json()
            effects.append(1000 * (time.perf_counter() - acknowledged))
            told = (await draw.choice(connections).get(f"/v1/users/{user}")).json()
            clicks = [each["item_id"] for each in told["history"] if each["event"] == "click"]
            stale += not clicks or item not in clicks[:2]
            shown += hidden and item in [each["item_id"] for each in after["items"]]

    started = time.perf_counter()
    await asyncio.gather(*(walk(number) for number in range(CLIENTS)))
    seconds = time.perf_counter() - started
    for connection in connections:
        await connection.aclose()
    p50, p99 = np.percentile(effects, [50, 99]).round(1)
    return {
        "journeys": count, "not told of the own click": stale, "shown again": shown if hidden else None, "effect ms p50": float(p50),
        "effect ms p99": float(p99), "seconds": round(seconds, 1), "clients": CLIENTS,
    }  # fmt: skip


async def events(url: str, crowd: Crowd, count: int, batch: int = 1000, connections: int = 2) -> dict[str, Any]:
    """So many events in batches, acknowledged, while one client keeps asking; events a second."""
    over = asyncio.Event()
    answers: list[float] = []

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            while not over.is_set():
                started = time.perf_counter()
                response = await client.post("/v1/recommend", json={"user_id": random.choice(crowd.users)})
                response.raise_for_status()
                answers.append(1000 * (time.perf_counter() - started))
                await asyncio.sleep(0.02)

    def body(number: int) -> bytes:
        draw = random.Random(number)
        made = [
            {"user_id": draw.choice(crowd.users), "item_id": draw.choice(crowd.items), "event": "click"}
            for _ in range(batch)
        ]
        return json.dumps({"events": made, "key": f"load {number}"}).encode()

    bodies = [body(number) for number in range(count // batch)]
    left = iter(bodies)

    async def send() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            for raw in left:
                while (response := await client.post("/v1/events", content=raw)).status_code == 429:
                    await asyncio.sleep(0.05)
                response.raise_for_status()

    asking = asyncio.create_task(ask())
    started = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(connections)))
    seconds = time.perf_counter() - started
    over.set()
    await asking
    return {
        "events": len(bodies) * batch, "batch": batch, "connections": connections, "acknowledged per second": round(len(bodies) * batch / seconds),
        "answers meanwhile": len(answers), "answer ms p50": round(float(np.median(answers)), 1),
    }  # fmt: skip


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--journeys", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", default="")
    parser.add_argument("--hidden", action="store_true", help="the recipe hides what was clicked: check that, too")
    given = parser.parse_args()
    crowd = Crowd.of(given.bundle)
    with tempfile.TemporaryDirectory() as folder:
        command = Command(
            given.bundle, given.log or f"sqlite:{folder}/events.log", "--patience", "30", workers=given.workers
        )
        command.start()
        try:
            made: dict[str, Any] = {"workers": given.workers}
            if given.journeys:
                made |= asyncio.run(journeys(command.url, crowd, given.journeys, given.hidden))
            if given.events:
                made |= {"load": asyncio.run(events(command.url, crowd, given.events))}
        finally:
            command.stop()
        print(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
