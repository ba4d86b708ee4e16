"""The admin interface, a process of its own on a port of its own: `python -m shortlist.serve.admin`, started by `run`. It holds no bundle: it writes what is
wanted into a file, and the workers do it."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI, Request
from msgspec import Meta, Struct

import shortlist
from shortlist.serve.http import Hooks, Refused, Routes, document, plain_errors
from shortlist.serve.security import Keys, Redact, token
from shortlist.serve.settings import Settings
from shortlist.serve.swap import Desk, Wish, named
from shortlist.serve.worker import Server

TITLE = "Shortlist admin"
WAIT = 300.0  # seconds that a call waits for the workers, at most

Share = Annotated[float, Meta(ge=0, le=1)]
Mode = Literal["hold", "shadow", "canary"]


class Load(Struct, forbid_unknown_fields=True):
    """A candidate. bundle: a folder on the service's machine; after: entries of the log up to it are in its data."""

    bundle: Annotated[str, Meta(min_length=1, max_length=4096)]
    surface: str = "default"
    mode: Mode = "hold"
    share: Share = 0.0
    after: Annotated[int, Meta(ge=0)] = 0


class Do(Struct, forbid_unknown_fields=True):
    """With the candidate of a surface."""

    surface: str = "default"
    mode: Mode = "hold"
    share: Share = 0.0


class State(Struct):
    """What is wanted, by surface, and what every worker has."""

    surfaces: dict[str, Any]
    workers: list[Any]


def create(settings: Settings) -> FastAPI:
    """The ASGI application."""
    desk, keys = Desk(settings.place), Keys(Path(settings.keys))

    def allow(request: Request, scope: str) -> None:
        keys.allow(token(request.headers), scope)

    routes = Routes(Hooks(allow), 100_000)

    async def waited(surface: str, wish: Wish, done: Any) -> State:
        problem = await asyncio.to_thread(desk.wait, surface, wish, done, WAIT)
        if problem:
            raise Refused(409, f"surface {surface!r}: {problem}")
        return State(**desk.state())

    async def state(request: Request) -> State:
        """What is wanted, and what every worker has: bundles, problems, and what the shadow found."""
        return State(**desk.state())

    async def load(request: Request, body: Load) -> State:
        """Loads a candidate: every file is hashed, then all workers load it beside the old one, check that it can take its place, catch up with the log and
        warm it. Comes back when all have it, or says why one has not; then the candidate is given up."""
        wish = await asyncio.to_thread(desk.load, body.surface, body.bundle, body.mode, body.share, body.after)
        try:
            return await waited(body.surface, wish, lambda told: wish.candidate in told.get("loaded", ()))
        except Refused:
            desk.drop(body.surface)
            raise

    async def mode(request: Request, body: Do) -> State:
        """Says what the candidate does: `hold`: nothing; `shadow`: a share of the requests is answered by it, too, compared, and not shown; `canary`: a share
        of the users is answered by it."""
        desk.mode(body.surface, body.mode, body.share)
        return State(**desk.state())

    async def swap(request: Request, body: Do) -> State:
        """The candidate takes the place of the active bundle in all workers, each between two requests."""
        return await _moved(body.surface, desk.swap(body.surface))

    async def rollback(request: Request, body: Do) -> State:
        """The bundle before answers again: it stood by."""
        return await _moved(body.surface, desk.rollback(body.surface))

    async def _moved(surface: str, wish: Wish) -> State:
        name = named(wish.active)
        return await waited(surface, wish, lambda told: told.get("active") == name)

    async def drop(request: Request, body: Do) -> State:
        """The candidate is given up."""
        desk.drop(body.surface)
        return State(**desk.state())

    add = routes.add
    add(
        "GET",
        "/admin/v1/bundles",
        state,
        scope="admin",
        name="state",
        summary="What is wanted, and what is",
        answer=State,
    )
    for name, handler, body, summary in (
        ("load", load, Load, "Load a candidate"), ("mode", mode, Do, "Shadow or canary"), ("swap", swap, Do, "Put the candidate in place"),
        ("rollback", rollback, Do, "Back to the bundle before"), ("drop", drop, Do, "Give the candidate up"),
    ):  # fmt: skip
        add(
            "POST", f"/admin/v1/bundles/{name}", handler, scope="admin", name=name, summary=summary, body=body, answer=State, errors=(409,),
        )  # fmt: skip
    made = FastAPI(title=TITLE, version=shortlist.__version__, redirect_slashes=False)
    made.include_router(routes.router)
    made.openapi = document(made, [routes], TITLE, "Bundles of a running service.", shortlist.__version__)  # type: ignore[method-assign]
    plain_errors(made)
    return made


def main() -> None:
    """Settings on stdin; descriptors of the socket and of the pipe that ends with the parent as arguments."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Redact())
    listening, leash = (int(word) for word in sys.argv[1:3])
    settings = Settings.of(sys.stdin.read())
    config = uvicorn.Config(create(settings), log_config=None, access_log=False, server_header=False)
    Server(config, leash).run(sockets=[socket.socket(fileno=listening)])


if __name__ == "__main__":
    main()
