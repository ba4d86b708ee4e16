"""What does a service do under load? The generator is open-loop at a constant rate, as wrk2: request i is due at i / rate, and its time counts from then,
whether a connection was free or not; so a service that stalls is charged for everybody who would have come meanwhile (no coordinated
omission). It runs on the same cores as the service.

    python bench/load.py BUNDLE [--workers 2] [--seconds 60] [--faults] [--events] [--minutes 10] [--log FOLDER] [--json]

Prints the saturation (requests answered per second by as many connections as it takes), and at half of it the median and the 99th percentile, the
growth of memory, the same with a hung and with a raising source, and how many events per second are acknowledged as durable while serving.
The log goes with the run, unless it is given a folder; then `shortlist parity BUNDLE --log sqlite:FOLDER/events.log` says whether what was
answered under load is what replay gives.
Example: shortlist fit recipes/globo_next.toml --data globo:PATH --out BUNDLE --set pipeline.pool=500, and each source's quota 500.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import selectors
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.served import Command
from shortlist.core.batch import Array
from shortlist.core.component import build
from shortlist.core.rng import rng
from shortlist.data.catalogue import Catalogue
from shortlist.pipeline.bundle import Bundle
from shortlist.pipeline.config import parse
from shortlist.pipeline.pipeline import Pipeline

BATCH = 500  # events of a batch
CONNECTIONS = 256  # open at most
SETTLE = 15  # seconds of a few requests first: the keeper of the service loads its own copy when the workers are ready
KEPT = 48  # open from the start


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.done: asyncio.Future[tuple[int, bytes]] | None = None
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        """See Protocol."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """A response is whole when its Content-Length is there."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        start = lower.index(b"content-length:") + 15
        length = int(lower[start:].partition(b"\r\n")[0])
        if len(body) >= length and self.done is not None and not self.done.done():
            self._buffer = body[length:]
            self.done.set_result((int(head[9:12]), body[:length]))

    def connection_lost(self, error: Exception | None) -> None:
        """See Protocol."""
        self.transport = None
        if self.done is not None and not self.done.done():
            self.done.set_result((0, b""))


class Client:
    """Connections to a service, used in turn, as many users' would be: the same few again and again would all be one worker's."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.free: deque[Connection] = deque()
        self.open = asyncio.Semaphore(CONNECTIONS)

    async def connect(self, raw: bytes, workers: int) -> None:
        """Open as many to each worker, as a proxy that counts connections would. Left to the kernel, one worker accepts two thirds of them, and is
        busy when the other is not: an answer's id tells whose it is."""
        spare: list[Connection] = []
        own: Counter[str] = Counter()
        for _ in range(40 * KEPT):
            made = await self._new()
            worker = json.loads((await self._over(made, raw))[1])["request_id"].rpartition("-")[0]
            (self.free if own[worker] < KEPT // workers else spare).append(made)
            own[worker] += 1
            if len(own) == workers and min(own.values()) >= KEPT // workers:
                break
            await asyncio.sleep(0.005)
        for connection in spare:
            if connection.transport is not None:
                connection.transport.close()

    async def _new(self) -> Connection:
        _, made = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self.port)
        return made

    async def ask(self, raw: bytes) -> tuple[int, bytes]:
        """Status and body; status 0 where the connection broke."""
        async with self.open:
            connection = self.free.popleft() if self.free else await self._new()
            if connection.transport is None:
                connection = await self._new()
            answer = await self._over(connection, raw)
            self.free.append(connection)
            return answer

    async def _over(self, connection: Connection, raw: bytes) -> tuple[int, bytes]:
        connection.done = asyncio.get_running_loop().create_future()
        if connection.transport is None:
            return 0, b""
        connection.transport.write(raw)
        return await connection.done


def post(path: str, body: Any) -> bytes:
    """A request as it goes over the wire."""
    made = json.dumps(body).encode()
    return b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(made), made)


class Traffic:
    """Requests and events of a bundle's own users, items and context."""

    def __init__(self, catalogue: Catalogue, context: list[str], kind: str) -> None:
        draw = rng(0, "load")
        users, items = catalogue.users.ids, catalogue.items.ids
        self.kind = kind
        words = {name: catalogue.context[name].series().to_list()[:20] for name in context if name in catalogue.context}
        self.users = [users.name(int(code)) for code in draw.integers(0, len(users), 20_000)]
        self.items = [items.name(int(code)) for code in draw.integers(0, len(items), 2000)]
        picks = draw.random((20_000, max(len(words), 1)))
        self.asked = []
        for i, user in enumerate(self.users):
            told = {name: word[int(picks[i, j] * len(word))] for j, (name, word) in enumerate(words.items()) if word}
            who = {} if i % 20 == 0 else {"user_id": user}  # one in twenty is nobody known
            self.asked.append(post("/v1/recommend", {**who, "context": told}))

    def batch(self, i: int) -> bytes:
        """A batch of events."""
        events = [
            {"user_id": self.users[(i * 7919 + j) % len(self.users)], "item_id": self.items[(i * 31 + j * 17) % len(self.items)], "event": self.kind}
            for j in range(BATCH)
        ]  # fmt: skip
        return post("/v1/events", {"events": events})


def precisely(work: Coroutine[Any, Any, None]) -> None:
    """Run on a loop that sleeps to the microsecond: `epoll` rounds up to a millisecond, and every request would be that much late."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(work)


class Outcome:
    """What a run saw: seconds from due to answered, statuses, what answers did without, empty answers, bundles named."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.degraded: Counter[str] = Counter()
        self.empty = 0
        self.accepted = 0  # events acknowledged as durable

    def add(self, seconds: float, status: int, body: bytes) -> None:
        """One answer."""
        self.seconds.append(seconds)
        self.statuses[status] += 1
        if status == 200:
            answer = json.loads(body)
            self.empty += not answer["items"]
            self.degraded.update(answer["degraded"] or ["nothing"])

    def told(self) -> dict[str, Any]:
        """Figures in milliseconds."""
        times: Array = np.array(self.seconds) * 1000
        cuts = np.quantile(times, [0.5, 0.9, 0.99, 0.999, 1.0]) if len(times) else np.full(5, np.nan)
        return {
            **dict(zip(("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"), cuts.round(2).tolist(), strict=True)),
            "requests": len(times), "statuses": dict(self.statuses), "degraded": dict(self.degraded), "empty": self.empty,
        }  # fmt: skip


async def constant(client: Client, traffic: Traffic, rate: float, seconds: float, beside: Any = None) -> Outcome:
    """Open loop. beside: a coroutine that runs meanwhile, and is cancelled."""
    outcome, waiting = Outcome(), set()
    task = asyncio.ensure_future(beside) if beside is not None else None
    start = time.perf_counter() + 0.1

    async def one(i: int, due: float) -> None:
        status, body = await client.ask(traffic.asked[i % len(traffic.asked)])
        outcome.add(time.perf_counter() - due, status, body)

    for i in range(int(rate * seconds)):
        due = start + i / rate
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        job = asyncio.ensure_future(one(i, due))
        waiting.add(job)
        job.add_done_callback(waiting.discard)
    if waiting:
        await asyncio.wait(set(waiting), timeout=30)
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return outcome


async def saturated(client: Client, traffic: Traffic, seconds: float, connections: int) -> float:
    """Answers per second when `connections` clients ask without a pause."""
    stop = time.perf_counter() + seconds
    answered = 0

    async def one(first: int) -> None:
        nonlocal answered
        i = first
        while time.perf_counter() < stop:
            status, _ = await client.ask(traffic.asked[i % len(traffic.asked)])
            answered += status == 200
            i += connections

    await asyncio.gather(*(one(i) for i in range(connections)))
    return answered / seconds


async def written(client: Client, traffic: Traffic, rate: float, outcome: Outcome) -> None:
    """Batches of events at a constant rate of events per second, open loop, until cancelled; each batch's time counts from when it was due."""
    prepared = [traffic.batch(i) for i in range(64)]
    start, waiting, i = time.perf_counter(), set(), 0

    async def one(raw: bytes, due: float) -> None:
        status, body = await client.ask(raw)
        outcome.seconds.append(time.perf_counter() - due)
        outcome.statuses[status] += 1
        if status == 200:
            outcome.accepted += json.loads(body)["accepted"]

    while True:
        due = start + i * BATCH / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        job = asyncio.ensure_future(one(prepared[i % len(prepared)], due))
        waiting.add(job)
        job.add_done_callback(waiting.discard)
        i += 1


def workers(service: Command) -> list[int]:
    """Process ids of the workers."""
    return [pid for pid in service.children() if b"shortlist.serve.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def processor(service: Command) -> float:
    """Seconds of processor time that the workers have used."""
    ticks = 0
    for pid in workers(service):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(service: Command) -> float:
    """Megabytes of all workers' own memory."""
    total = 0
    for pid in workers(service):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1])
    return round(total / 1024, 1)


@contextmanager
def served(bundle: Path, count: int, options: list[str], kept: Path | None = None) -> Iterator[Command]:
    """A service with a log of its own in a folder that goes. kept: one that stays."""
    with tempfile.TemporaryDirectory(prefix="load.") as folder:
        service = Command(bundle, f"sqlite:{(kept or Path(folder)) / 'events.log'}", *options, workers=count)
        service.start(120)
        try:
            yield service
        finally:
            service.stop()


def with_fault(bundle: Bundle, trigger: Path, folder: Path) -> Path:
    """The same bundle with one more source, which misbehaves while the trigger is there."""
    tree = bundle.recipe.resolved()
    spec = {"type": "bench.faulty.Faulty", "trigger": str(trigger)}
    tree["source"] = [*tree["source"], {"name": "faulty", **spec}]
    recipe = parse(tree)
    pipeline = Pipeline.of(recipe)
    pipeline.sources = {**bundle.pipeline.sources, "faulty": build("retrieve", spec)}
    for stage in ("filters", "features", "rankers", "rules"):
        setattr(pipeline, stage, getattr(bundle.pipeline, stage))
    pipeline.fallback, pipeline.columns = bundle.pipeline.fallback, bundle.pipeline.columns
    Bundle(recipe, pipeline, bundle.state, bundle.ctx, bundle.fingerprint).save(folder)
    return folder


def measured(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All that was asked for."""
    os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")  # of the workers: each is one core's
    bundle = Bundle.load(path)
    kind = bundle.ctx.positive[0]
    traffic = Traffic(bundle.state.catalogue, list(bundle.recipe.data.context), kind)
    deadline = bundle.recipe.serve.deadline_ms
    told: dict[str, Any] = {"workers": options.workers, "pool": bundle.recipe.pipeline.pool, "deadline_ms": deadline}
    say: Callable[[str], None] = (lambda text: None) if options.json else partial(print, flush=True)
    if options.log is not None:
        options.log.mkdir(parents=True)  # a new one: events of an earlier run would be others
    with served(path, options.workers, options.serve, options.log) as service:
        client = Client(service.port)

        async def run() -> None:
            await client.connect(traffic.asked[1], options.workers)
            await constant(client, traffic, 20, SETTLE)
            if not options.rate:
                spent = processor(service)
                told["saturation"] = round(await saturated(client, traffic, 10, 4 * options.workers), 1)
                spent = processor(service) - spent
                told["worker_cpu_ms_per_request"] = round(1000 * spent / (10 * told["saturation"]), 3)
                told["per_core"] = round(10 * told["saturation"] / spent, 1)  # of processor time that the workers got
                say(
                    f"saturation: {told['saturation']} requests/s, {told['worker_cpu_ms_per_request']} ms of a worker's processor each"
                )
            half = told["rate"] = options.rate or told["saturation"] / 2
            before = resident(service)
            told["half"] = (await constant(client, traffic, half, options.seconds)).told()
            told["half"]["memory_mb"] = [before, resident(service)]
            say(f"at {half:.0f}/s: {told['half']}")
            if options.events:
                batches = Outcome()
                start = time.perf_counter()
                beside = written(client, traffic, options.event_rate, batches)
                outcome = await constant(client, traffic, half / 2, options.seconds, beside)
                told["events_per_second"] = round(batches.accepted / (time.perf_counter() - start))
                told["batches"], told["while_events"] = batches.told(), outcome.told()
                say(f"events: {told['events_per_second']}/s in batches of {BATCH}: {told['batches']}")
                say(f"beside them, at {half / 2:.0f}/s: {told['while_events']}")
            if options.minutes:
                memory = [resident(service)]
                for _ in range(options.minutes):
                    outcome = await constant(client, traffic, half, 60)
                    memory.append(resident(service))
                    say(f"memory {memory[-1]} MB; {outcome.told()}")
                told["memory_mb"] = memory

        precisely(run())
    if options.faults:
        with tempfile.TemporaryDirectory(prefix="fault.") as folder:
            trigger = Path(folder) / "trigger"
            other = with_fault(bundle, trigger, Path(folder) / "bundle")
            for mood in ("hang", "raise"):
                trigger.unlink(missing_ok=True)
                with served(other, options.workers, options.serve) as service:
                    client = Client(service.port)

                    async def faults(client: Client = client, mood: str = mood) -> None:
                        await client.connect(traffic.asked[1], options.workers)
                        await constant(client, traffic, told["rate"], 3)
                        trigger.write_text(mood)
                        told[mood] = (await constant(client, traffic, told["rate"], options.seconds)).told()

                    precisely(faults())
                    trigger.unlink()
                told[mood]["within"] = told[mood]["p99_ms"] <= deadline + 10 and not told[mood]["empty"]
                say(f"one source {mood}s: {told[mood]}")
    return told


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--rate", type=float, default=0.0, help="requests per second, instead of half of the saturation"
    )
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--events", action="store_true")
    parser.add_argument("--event-rate", type=float, default=12_000, help="events per second")
    parser.add_argument("--minutes", type=int, default=0, help="so long at half of the saturation, for memory")
    parser.add_argument("--log", type=Path, help="a new folder for the log of the run without faults, which stays")
    parser.add_argument("--serve", nargs="*", default=[], help="options for `shortlist serve`")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.bundle is None:
        print("load: no bundle given; see --help")
        return
    result = measured(options.bundle, options)
    if options.json:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
