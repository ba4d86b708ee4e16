"""The HTTP application of one worker: a service, its line, its hooks, and the groups of routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

from fastapi import FastAPI, Request

import shortlist
from shortlist.serve.eventlog.contract import Ack, Entry, KeyUsed, LogError
from shortlist.serve.figures import Figures
from shortlist.serve.http import Hooks, Refused, Routes, document, plain_errors
from shortlist.serve.line import Line
from shortlist.serve.routes import events, health, items, metrics, others, recommend, users
from shortlist.serve.security import Keys, token
from shortlist.serve.service import Service

GROUPS: tuple[ModuleType, ...] = (recommend, others, events, items, users, health, metrics)  # the order of the document
TITLE = "Shortlist"
PULSE = 0.5  # seconds
LOGGER = logging.getLogger("shortlist.serve")


class App:
    """What the handlers of a worker share. pulses: done twice a second on the event loop, beside the requests."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.line = Line(service.settings.waiting, service.settings.patience)
        self.figures = Figures(service, self.line)
        self.keys = Keys(Path(service.settings.keys)) if service.settings.keys else None
        self.hooks = Hooks(self.allow, self.figures.finished)
        self.pulses: list[Callable[[], None]] = [self.figures.metrics.write, service.swap.beat]
        self.pulses.append(self.renew)
        self.groups: list[Routes] = []
        self._renewal: asyncio.Task[None] | None = None

    def renew(self) -> None:
        """Where somebody was erased, the state is built again in a thread, beside the requests, and then exchanged between two of them."""
        busy = self._renewal is not None and not self._renewal.done()
        if self.service.ready and not busy and any(engine.outdated for _, engine in self.service.swap.engines()):
            self._renewal = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        exchange = await asyncio.get_running_loop().run_in_executor(None, self.service.renew)
        exchange()

    def allow(self, request: Request, scope: str) -> None:
        """Denied unless the request carries a key of this scope, where the service has keys."""
        if scope and self.keys is not None:
            self.keys.allow(token(request.headers), scope)

    async def shade(self) -> None:
        """Requests in the shadow, one at a time and only while nobody waits, until it is cancelled."""
        swap = self.service.swap
        while True:
            if swap.shadows and not len(self.line):
                await self.line.run(swap.shade)
            await asyncio.sleep(0.002 if swap.shadows else PULSE / 10)

    async def pulse(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(PULSE)
            for beat in self.pulses:
                try:
                    beat()
                except Exception:  # the next beat may do
                    LOGGER.exception("a pulse failed")

    async def append(self, entry: Entry) -> Ack:
        """Into the log; returns when it is durable. LogError where it cannot be, KeyUsed where its key belongs to another batch, Refused
        where too many wait for the disk."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Ack | LogError] = loop.create_future()

        def settle(outcome: Ack | LogError) -> None:
            if not future.done():
                future.set_result(outcome)

        def done(outcome: Ack | LogError) -> None:
            loop.call_soon_threadsafe(settle, outcome)

        if not self.service.writer.put(entry, done):
            raise Refused(429, "too many entries wait for the log; ask again later", 1)
        outcome = await future
        if isinstance(outcome, LogError):
            raise outcome
        if outcome.problem:
            raise KeyUsed(f"idempotency key {entry.key!r}: {outcome.problem}")
        return outcome

    def check(self) -> None:
        """Refused (503) until the service is ready."""
        if not self.service.ready:
            raise Refused(503, f"not ready: {self.service.problem}", 1)


def create(app: App, background: Callable[[], None] | None = None) -> FastAPI:
    """The ASGI application. background: run in a thread when the loop has started: bundles are warmed while /healthz answers already."""

    @asynccontextmanager
    async def life(made: FastAPI) -> AsyncIterator[None]:
        task = None if background is None else asyncio.get_running_loop().run_in_executor(None, background)
        loop = asyncio.get_running_loop()
        beside = [loop.create_task(app.pulse()), loop.create_task(app.shade())]
        yield
        for each in beside:
            each.cancel()
        if task is not None:
            await asyncio.wait([task], timeout=10)
        app.service.close()

    made = FastAPI(title=TITLE, version=shortlist.__version__, lifespan=life, redirect_slashes=False)
    for group in GROUPS:
        routes = Routes(app.hooks, app.service.settings.body)
        group.add(routes, app)
        made.include_router(routes.router)
        app.groups.append(routes)
    about = " ".join((shortlist.__doc__ or "").split())
    made.openapi = document(made, app.groups, TITLE, about, shortlist.__version__)  # type: ignore[method-assign]
    plain_errors(made)
    return made
