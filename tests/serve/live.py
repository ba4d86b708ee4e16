"""Running services for tests: in a thread of this process, or as the command with its workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from shortlist.serve.app import App, create
from shortlist.serve.service import Service
from shortlist.serve.settings import Settings

ROOT = Path(__file__).parent.parent.parent


def opened(shop: Path, log: str, **options: Any) -> Service:
    """A service on a bundle, caught up and warm."""
    service = Service.open(Settings({"default": str(shop)}, log, verify=False, warm=4, **options))
    service.start()
    return service


@contextmanager
def serving(service: Service, prepare: Callable[[], None] | None = None) -> Iterator[httpx.Client]:
    """A client of an application that answers on a free port of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create(App(service), prepare), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


class Command:
    """`shortlist serve` in a process group of its own."""

    def __init__(self, shop: Path, log: str, *options: str, workers: int = 2, port: int = 0) -> None:
        self.shop, self.log, self.options, self.workers = shop, log, options, workers
        self.port = port or free()
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, seconds: float = 60) -> None:
        """Start, and wait until all workers are ready."""
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "shortlist", "serve", str(self.shop), "--port", str(self.port), "--log", self.log,
                "--workers", str(self.workers), *self.options,
            ],
            stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert self.process.stderr is not None
        until, lines = time.monotonic() + seconds, []
        for line in self.process.stderr:
            lines.append(line)
            if line.startswith("ready: "):
                threading.Thread(target=self.process.stderr.read, daemon=True).start()
                return
            assert time.monotonic() < until, lines
        raise AssertionError("".join(lines))

    def kill(self) -> None:
        """kill -9 for the command and all its workers at once."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)


def free() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
