"""Running a service: one process that holds the port and starts the workers, and starts them again when they die."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from shortlist.core.errors import ConfigError, ShortlistError
from shortlist.serve.metrics import clean
from shortlist.serve.settings import Settings
from shortlist.serve.swap import Wishes

BACKLOG = 1024
PAUSE = 1.0  # seconds before a worker that died is started again
RETRY = 30.0  # seconds before a keeper that died is started again
GRACE = 15.0  # seconds that workers have to finish what they are at


class Process:
    """A process that gets the settings on stdin, and descriptors by number; dead when the parent is."""

    def __init__(self, module: str, settings: Settings, *numbers: int, words: Sequence[str] = ()) -> None:
        command = [sys.executable, "-m", module, *(str(number) for number in numbers), *words]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=numbers, text=True)
        assert self.process.stdin is not None
        self.process.stdin.write(settings.text())
        self.process.stdin.close()
        self.started = time.monotonic()


class Worker(Process):
    """A worker, and the pipe on which it says that it is ready. late: it takes no connection before that, and before the gate opens, so
    that nobody meets a cold one while a warm one could answer."""

    def __init__(self, settings: Settings, listening: socket.socket, leash: int, gate: int, late: bool) -> None:
        self.heard, say = os.pipe()
        os.set_blocking(self.heard, False)
        words = ("late",) if late else ()
        super().__init__("shortlist.serve.worker", settings, listening.fileno(), leash, say, gate, words=words)
        os.close(say)
        self.late, self.ready = late, False


class Runner:
    """All workers. told: called with a line for people when something happens."""

    def __init__(self, settings: Settings, told: Callable[[str], None]) -> None:
        self.settings, self.told = settings, told
        for name in ("metrics", "workers"):  # of an earlier run
            clean(settings.place / name)
        settings.surfaces = Wishes(settings.place).begin(settings.surfaces)
        self.listening = bound(settings.host, settings.port)
        self.port = self.listening.getsockname()[1]
        self._leash, self._hold = os.pipe()  # the workers' end, and ours: it closes when this process ends
        self._gate, self._bar = os.pipe()  # likewise: ours closes when no worker that takes connections is cold
        self._open = False
        self._selector = selectors.DefaultSelector()
        self._workers: list[Worker] = []
        self._admin: Process | None = None
        self._desk = bound(settings.admin_host, settings.admin) if settings.admin else None
        self._keeper: Process | None = None
        self._stopping = False
        self.problem = ""

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; the exit code. ShortlistError when the first workers cannot start."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            for _ in range(self.settings.workers):
                self._start()
            announced = False
            while not self._stopping:
                self._listen(0.5)
                if self.problem:
                    raise ShortlistError(self.problem)
                self._revive()
                self._unbar()
                self._administer()
                self._keep(announced)
                if not announced and all(worker.ready for worker in self._workers):
                    announced = True
                    self.told(f"ready: http://{host_text(self.settings.host)}:{self.port}")
        finally:
            self._end()
        return 0

    def _start(self) -> None:
        wishes = Wishes(self.settings.place).read()  # a worker that is started again starts with what was swapped in
        self.settings.surfaces |= {name: wish.active for name, wish in wishes.items() if name in self.settings.surfaces}
        # One is there from the start, to say that it is alive and not ready yet.
        worker = Worker(self.settings, self.listening, self._leash, self._gate, late=bool(self._workers))
        self._workers.append(worker)
        self._selector.register(worker.heard, selectors.EVENT_READ, worker)

    def _listen(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            worker: Worker = key.data
            text = os.read(worker.heard, 65_536).decode(errors="replace")
            if not text:
                self._selector.unregister(worker.heard)
                os.close(worker.heard)
            for line in text.splitlines():
                worker.ready = worker.ready or line == "ready"
                if line.startswith("bad ") and not worker.ready:
                    self.problem = self.problem or line.removeprefix("bad ")

    def _revive(self) -> None:
        """Workers that died are started again; not at once where they die at once."""
        for worker in list(self._workers):
            code = worker.process.poll()
            if code is None:
                continue
            self._workers.remove(worker)
            self.told(f"worker {worker.process.pid} ended with code {code}: starting another")
            if time.monotonic() - worker.started < PAUSE:
                time.sleep(PAUSE)
            self._start()

    def _unbar(self) -> None:
        """Late workers wait for the first one: a green /readyz of theirs would send requests to it while it is cold."""
        if not self._open and all(worker.late or worker.ready for worker in self._workers):
            self._open = True
            os.close(self._bar)

    def _administer(self) -> None:
        """The admin interface is started, and again when it dies."""
        admin = self._admin
        if self._desk is not None and (
            admin is None or (admin.process.poll() is not None and time.monotonic() - admin.started > PAUSE)
        ):
            self._admin = Process("shortlist.serve.admin", self.settings, self._desk.fileno(), self._leash)

    def _keep(self, ready: bool) -> None:
        """The keeper is started when the workers are ready, so that it does not take the processor from them, and again when it dies."""
        keeper = self._keeper
        if ready and (
            keeper is None or (keeper.process.poll() is not None and time.monotonic() - keeper.started > RETRY)
        ):
            self._keeper = Process("shortlist.serve.keeper", self.settings, self._leash)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _end(self) -> None:
        """Workers finish what they are at and go; those that do not are made to."""
        beside = [process for process in (self._admin, self._keeper) if process is not None]
        processes: list[Process] = [*self._workers, *beside]
        for worker in processes:
            worker.process.terminate()
        until = time.monotonic() + GRACE
        for worker in processes:
            try:
                worker.process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self.listening.close()
        for end in (self._hold, self._leash, self._gate, *(() if self._open else (self._bar,))):
            os.close(end)


def bound(host: str, port: int) -> socket.socket:
    """A listening socket. ConfigError for an address that cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
        made.set_inheritable(True)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--host {host} --port {port}: {getattr(error, 'strerror', None) or error}") from None
    return made


def host_text(host: str) -> str:
    """A host as a URL has it."""
    return f"[{host}]" if ":" in host else host
