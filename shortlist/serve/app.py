"""The HTTP application of one worker: a service, its line, its hooks, and the groups of routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType

from fastapi import FastAPI

import shortlist
from shortlist.serve.eventlog.contract import Ack, Entry, KeyUsed, LogError
from shortlist.serve.http import Hooks, Refused, Routes, document, plain_errors
from shortlist.serve.line import Line
from shortlist.serve.routes import events, health, items, recommend, users
from shortlist.serve.service import Service

GROUPS: tuple[ModuleType, ...] = (recommend, events, items, users, health)  # the order of the document
TITLE = "Shortlist"


class App:
    """What the handlers of a worker share. hooks: where access control and figures are plugged in."""

    def __init__(self, service: Service, hooks: Hooks | None = None) -> None:
        self.service = service
        self.hooks = hooks or Hooks()
        self.line = Line(service.settings.waiting, service.settings.patience)
        self.groups: list[Routes] = []

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
        yield
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
