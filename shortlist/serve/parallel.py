"""Pieces of work that do not depend on each other, on all cores, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Step = TypeVar("Step")
Done = TypeVar("Done")


def in_order(work: Callable[[Step], Done], steps: Sequence[Step]) -> Iterator[Done]:
    """work(step) for every step, in the order of the steps. Threads, for the kernels let go of the interpreter. The first step is done
    alone: what is made once and kept is made then. An error ends it, and what has not begun is not begun."""
    for step in steps[:1]:
        yield work(step)
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        yield from pool.map(work, steps[1:])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
