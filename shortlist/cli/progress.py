"""Progress on stderr: on a terminal, bars with rate and remaining time that vanish when done; elsewhere one plain line per stage with the
time it took, and, while it lasts, one now and then with the same."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

EVERY = 30.0  # seconds between two lines about a stage that lasts, in a plain log
QUIET = 1.0  # seconds: a stage inside a stage that is over sooner gets no line of its own in a plain log


class Watch:
    """Is called as `progress(steps, title, total)` by whatever takes long (see core.contracts.silent), loops in loops
    included. Use it as a context manager, so that the terminal is given back whatever happens."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """stream: stderr when None."""
        self._stream = stream or sys.stderr
        self._depth = 0
        console = Console(file=self._stream, highlight=False)
        self._bars = _bars(console) if console.is_terminal else None

    def __enter__(self) -> Watch:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, steps: Iterable[Any], title: str = "", total: int | None = None) -> Iterator[Any]:
        """The steps, watched. total: how many there are, when known."""
        if total is None and isinstance(steps, Sized):
            total = len(steps)
        return self._plain(steps, title, total) if self._bars is None else self._live(self._bars, steps, title, total)

    def _live(self, bars: Progress, steps: Iterable[Any], title: str, total: int | None) -> Iterator[Any]:
        task = bars.add_task(title, total=total)
        try:
            for step in steps:
                yield step
                bars.advance(task)
        finally:
            bars.remove_task(task)

    def _plain(self, steps: Iterable[Any], title: str, total: int | None) -> Iterator[Any]:
        start, depth = time.perf_counter(), self._depth
        begun = told = time.monotonic()
        self._depth += 1
        try:
            for done, step in enumerate(steps, 1):
                yield step
                now = time.monotonic()
                if title and now - told >= EVERY and done != total:
                    told = now
                    self._stream.write(f"{'  ' * depth}{title}: {_so_far(done, total, now - begun)}\n")
                    self._stream.flush()
        finally:
            self._depth = depth
        elapsed = time.perf_counter() - start
        if title and (depth == 0 or elapsed >= QUIET):
            self._stream.write(f"{'  ' * depth}{title}: {elapsed:.1f} s\n")
            self._stream.flush()


def _so_far(done: int, total: int | None, elapsed: float) -> str:
    """How many steps, how fast, and how long it will take at that rate."""
    said = f"{done:,}" if total is None else f"{done:,} of {total:,}"
    said += f", {_rate(done / elapsed)}"
    return said if total is None else f"{said}, about {elapsed / done * (total - done):.0f} s left"


def _rate(speed: float) -> str:
    return f"{speed:,.1f} a second" if speed >= 1 else f"{1 / max(speed, 1e-9):,.1f} s each"


class Rate(ProgressColumn):
    """Steps per second, or seconds per step."""

    def render(self, task: Task) -> Text:
        """Empty before the first step is done."""
        speed = task.finished_speed or task.speed
        return Text(_rate(speed) if speed else "", style="progress.data.speed")


def _bars(console: Console) -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)
