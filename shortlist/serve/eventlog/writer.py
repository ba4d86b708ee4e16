"""The writer of a process: entries of many requests in one transaction, so that one fsync serves them all."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from shortlist.serve.eventlog.contract import Ack, Entry, EventLog, LogError

MOST = 512  # entries of one transaction


class Writer:
    """A thread that appends what is handed to it. While one transaction is being written, the next one gathers.

    room: entries that may wait for the disk; beyond it `put` refuses, and the refused are counted in `dropped` where nobody waits for
    them (served answers) or told to the caller (events).
    """

    def __init__(self, log: EventLog, room: int = 10_000) -> None:
        self.log, self.room = log, room
        self.dropped = 0  # entries without a waiting caller that were refused or could not be written
        self._queue: deque[tuple[Entry, Callable[[Ack | LogError], None] | None]] = deque()
        self._wake = threading.Condition()
        self._closing = self._busy = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, entry: Entry, done: Callable[[Ack | LogError], None] | None = None) -> bool:
        """Hand an entry over. done: called by the writer's thread when the entry is durable, or could not be written. False, and nothing
        done, where too many wait already."""
        with self._wake:
            if self._closing or len(self._queue) >= self.room:
                self.dropped += done is None
                return False
            self._queue.append((entry, done))
            self._wake.notify()
        return True

    def append(self, entry: Entry) -> Ack:
        """Hand an entry over and wait until it is durable. LogError where the log refuses, or too many wait."""
        outcome: list[Ack | LogError] = []
        ready = threading.Event()

        def done(result: Ack | LogError) -> None:
            outcome.append(result)
            ready.set()

        if not self.put(entry, done):
            raise LogError("too many entries wait for the log")
        ready.wait()
        if isinstance(outcome[0], LogError):
            raise outcome[0]
        return outcome[0]

    @property
    def waiting(self) -> int:
        """Entries that are not handed to the log yet."""
        return len(self._queue)

    def flush(self) -> None:
        """Wait until all that was handed over is written or refused."""
        with self._wake:
            self._wake.wait_for(lambda: not self._queue and not self._busy)

    def close(self) -> None:
        """Write what waits, and stop. The log stays open."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                taken = [self._queue.popleft() for _ in range(min(len(self._queue), MOST))]
                self._busy = True
            outcome: list[Ack] | LogError
            try:
                outcome = self.log.append([entry for entry, _ in taken])
            except LogError as error:
                outcome = error
            for i, (_, done) in enumerate(taken):
                if done is not None:
                    done(outcome if isinstance(outcome, LogError) else outcome[i])
                elif isinstance(outcome, LogError):
                    self.dropped += 1
