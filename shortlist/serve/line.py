"""The line: requests of one worker, one after another, with an end: who finds it full is told so at once, before anything collapses."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from shortlist.serve.http import Refused


class Line:
    """Runs pieces of work in turn on the event loop. Between two of them the loop reads, refuses and writes.

    room: requests that may wait. patience: seconds that one may have waited; its caller has given up, so it is refused instead of
    being answered too late, and those behind it are not late as well.
    """

    def __init__(self, room: int = 64, patience: float = 1.0) -> None:
        self.room, self.patience = room, patience
        self.refused = 0  # by a full line
        self.late = 0  # by lost patience
        self._waiting: deque[tuple[float, Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def run(self, work: Callable[[], Any]) -> Any:
        """The result of the work, when its turn has come. Refused (429) where it never does."""
        if len(self._waiting) >= self.room:
            self.refused += 1
            raise Refused(429, f"{self.room} requests wait already; ask again later", 1)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((time.monotonic(), work, future))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.get_running_loop().create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            since, work, future = self._waiting.popleft()
            if future.done():  # the caller went away
                continue
            if time.monotonic() - since > self.patience:
                self.late += 1
                future.set_exception(Refused(429, f"waited longer than {self.patience:g} s; ask again later", 1))
                continue
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)
            await asyncio.sleep(0)
