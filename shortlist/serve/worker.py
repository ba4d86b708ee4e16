"""One worker process: `python -m shortlist.serve.worker`, started by `run`. It shares the socket and the log with the others."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import sys
from contextlib import suppress

import uvicorn

from shortlist.core.errors import ShortlistError
from shortlist.serve.app import App, create
from shortlist.serve.security import Redact
from shortlist.serve.service import Service
from shortlist.serve.settings import Settings

LOGGER = logging.getLogger("shortlist.serve")
BAD, TOLD = 2, 3  # exit code of a worker that cannot start; descriptor on which it says that it is ready, or why not


class Server(uvicorn.Server):
    """Stops when its parent is gone: workers without one would hold the port and the log."""

    def __init__(self, config: uvicorn.Config, leash: int) -> None:
        super().__init__(config)
        self.leash = leash

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does, and watch the parent's end of a pipe: it closes when the parent ends, however it does."""
        await super().startup(sockets)
        asyncio.get_running_loop().add_reader(self.leash, self._left)

    def _left(self) -> None:
        asyncio.get_running_loop().remove_reader(self.leash)
        self.should_exit = True


def work(settings: Settings, listening: int, leash: int, say: int, gate: int, late: bool = False) -> int:
    """Serve until told to stop; the exit code. listening, leash, say, gate: descriptors of the socket, of a pipe that ends with the parent,
    of one on which readiness is told, as a line, and of one that ends when no cold worker takes connections. late: take connections only
    when ready and after that, for others can answer."""
    try:
        service = Service.open(settings)
    except ShortlistError as error:
        _say(say, f"bad {' '.join(str(error).split())}")
        return BAD

    def prepare() -> None:
        try:
            service.start()
            _say(say, "ready")
        except Exception as error:  # the worker stays up and says in /readyz what is wrong
            service.problem = " ".join(str(error).split())
            LOGGER.exception("the service cannot start")
            _say(say, f"bad {service.problem}")

    if late:
        prepare()
        select.select([gate, leash], [], [])
    app = create(App(service), None if late else prepare)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_keep_alive=75, timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=65_536,
    )  # fmt: skip
    Server(config, leash).run(sockets=[socket.socket(fileno=listening)])
    return 0


def _say(descriptor: int, line: str) -> None:
    with suppress(OSError):
        os.write(descriptor, f"{line}\n".encode())


def main() -> None:
    """Settings on stdin; descriptors as arguments."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Redact())
    listening, leash, say, gate = (int(word) for word in sys.argv[1:5])
    sys.exit(work(Settings.of(sys.stdin.read()), listening, leash, say, gate, "late" in sys.argv[5:]))


if __name__ == "__main__":
    main()
