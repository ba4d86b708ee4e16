"""`shortlist serve` and Redis as processes, for benchmarks and for tests that kill them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent


class Command:
    """`shortlist serve` in a process group of its own."""

    def __init__(self, shop: Path, log: str, *options: str, workers: int = 2, port: int = 0) -> None:
        self.shop, self.log, self.options, self.workers = shop, log, options, workers
        self.port = port or free()
        self.process: subprocess.Popen[str] | None = None
        self.said: list[str] = []  # on stderr
        self._listener: threading.Thread | None = None

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
        until = time.monotonic() + seconds
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith("ready: "):
                self._listener = threading.Thread(target=self._listen, args=(self.process.stderr,), daemon=True)
                self._listener.start()
                return
            if time.monotonic() > until:
                break
        raise AssertionError("".join(self.said))

    def _listen(self, heard: IO[str]) -> None:
        with heard:
            self.said += heard.readlines()

    def children(self) -> list[int]:
        """Process ids of the workers and the keeper."""
        assert self.process is not None
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]

    def kill(self) -> None:
        """kill -9 for the command and all its workers at once."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._over()

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(30)
        self._over()
        return code

    def _over(self) -> None:
        """All that it said has been heard."""
        if self._listener is not None:
            self._listener.join(10)


class Redis:
    """A server of our own on a free port, with its files in a folder, as durable as a service asks for."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options, self.port = folder, options, free()
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.process = subprocess.Popen(
            [
                "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
                "--appendonly", "yes", "--appendfsync", "always", "--logfile", "", *self.options,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("redis-server does not start")

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can know."""
        self.process.kill()
        self.process.wait()

    @property
    def address(self) -> str:
        """Of a log in it."""
        return f"redis://127.0.0.1:{self.port}/0?name=test"


def free() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
