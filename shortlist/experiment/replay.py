"""Replay: the state run forward over the log, and the pipeline asked on the way. Offline is serving, fast-forwarded."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.contracts import silent
from shortlist.core.units import seconds
from shortlist.data.dataset import Dataset
from shortlist.data.log import Log
from shortlist.data.timeline import Requests
from shortlist.state.state import State


class Replay:
    """A log and a state that has folded in its first `position` events. It only goes forward."""

    def __init__(self, log: Log, state: State) -> None:
        self.log = log
        self.state = state
        self.position = 0
        self.since = 0  # unix seconds: where the window began that is being asked about

    def to(self, position: int) -> None:
        """Fold in the events below a log position. ValueError for one that lies behind: the state would know too much."""
        if position < self.position:
            raise ValueError(f"the replay stands at event {self.position} and cannot go back to {position}")
        if position > self.position:
            self.state.apply(self.log.slice(self.position, position).columns)
            self.position = position


def batches(
    replay: Replay,
    requests: Requests,
    data: Dataset,
    context: list[str],
    chunk: int,
    progress: Callable[..., Iterable[Any]] = silent,
    title: str = "requests",
    freeze: bool = False,
    refresh: str = "",
) -> Iterator[tuple[int, int, Batch]]:
    """The requests in log order, as batches (first, last, batch) of at most `chunk` that are asked at one log position, with their
    candidates where these are given. Before each batch is handed out, the state has folded in exactly the events before that
    position; with freeze it stays where the window began, or catches up every `refresh` since then, and requests of any position in
    between go together."""
    positions = _held(replay, requests, refresh) if freeze else requests.position
    edges = _edges(positions, chunk)
    steps = list(itertools.pairwise(edges))
    every = asked(requests, 0, len(requests), data, context)  # at once: most batches are of one request
    names = list(every.req)
    for first, last in progress(steps, title, len(steps)):
        replay.to(int(positions[first]))
        req = {name: every.req[name][first:last] for name in names}
        start, stop = every.offsets[first], every.offsets[last]
        cand = {name: column[start:stop] for name, column in every.cand.items()}
        yield first, last, Batch(req, every.offsets[first : last + 1] - start, cand)


def _held(replay: Replay, requests: Requests, refresh: str) -> Array:
    """(n,) log positions of the last catching up before each request, never behind where the replay stands."""
    if not refresh:
        return np.full(len(requests), replay.position, dtype=np.int64)
    length = int(seconds(refresh))
    moments = replay.since + (requests.time - replay.since) // length * length
    caught_up = np.searchsorted(replay.log.time, moments, side="left")
    # Never more than the request may know, and a late request does not turn the state back.
    positions = np.maximum(np.minimum(caught_up, requests.position), replay.position)
    return np.maximum.accumulate(positions).astype(np.int64)


def _edges(positions: Array, chunk: int) -> list[int]:
    """Where one batch ends and the next begins."""
    if not len(positions):
        return [0]
    edges = [0]
    starts = np.flatnonzero(np.diff(positions)) + 1
    for start in [*starts.tolist(), len(positions)]:
        while start - edges[-1] > chunk:
            edges.append(edges[-1] + chunk)
        edges.append(start)
    return edges


def asked(requests: Requests, first: int, last: int, data: Dataset, context: list[str]) -> Batch:
    """Requests first to last as a batch, with the context columns that a live request would carry: those of the event that the
    request stands for, or missing where it stands for a whole window; and with their candidates, where these are given."""
    columns: Columns = {}
    events = requests.event[first:last]
    for name in context:
        column = data.log.columns[name]
        missing = column.dtype.type(-1 if column.dtype.kind == "i" else np.nan)
        columns[name] = np.where(events >= 0, column[np.maximum(events, 0)], missing).astype(column.dtype)
    batch = Batch.of(requests.user[first:last], requests.time[first:last], **columns)
    if requests.shown is None:
        return batch
    shown = requests.shown.take(np.arange(first, last))
    place = {} if shown.position is None else {"position": shown.position}
    return Batch(batch.req, shown.offsets, {"item": shown.items, **place})
