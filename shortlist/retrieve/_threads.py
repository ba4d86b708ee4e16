"""Rows that are worked out apart from each other, on all cores: how they are cut changes nothing in the result."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from shortlist.core.batch import Array

PIECES = 8  # per core: enough that none waits long for the last


def in_pieces(work: Callable[[int, int], Any], costs: Array, progress: Callable[..., Any], title: str) -> list[Any]:
    """work(start, stop) for consecutive runs of rows of about equal cost, results in row order.

    costs: (rows,) how much work each row is, roughly. work: a kernel that lets go of the interpreter (nogil). progress: that of
    FitContext.
    """
    rows = len(costs)
    if rows == 0:
        return []
    cores = os.cpu_count() or 1
    total = np.zeros(rows + 1)
    np.cumsum(costs + 1.0, out=total[1:])
    cuts = np.searchsorted(total, np.linspace(0, total[-1], PIECES * cores + 1))
    cuts[0], cuts[-1] = 0, rows
    pieces = [(int(a), int(b)) for a, b in itertools.pairwise(cuts) if a < b]
    with ThreadPoolExecutor(cores) as pool:
        return list(progress(pool.map(lambda piece: work(*piece), pieces), title, len(pieces)))
