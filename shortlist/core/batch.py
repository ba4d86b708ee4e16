"""The batch: n requests and their m candidates, as numpy columns. One online request is n = 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Columns: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class Batch:
    """Request i owns the candidate rows `offsets[i]:offsets[i + 1]`.

    req: columns of length n. Always `user` (int32 code, -1 = unknown) and `time` (int64 unix seconds); then context columns.
    offsets: int64, length n + 1, first 0, last m.
    cand: columns of length m. Always `item` (int32 code); then `score_<source>`, `rank_<source>`, features, scores.

    A batch is never changed in place: each step returns a new one that shares the columns it left alone.
    """

    req: Columns
    offsets: Array
    cand: Columns = field(default_factory=dict)
    # What states looked up for it, by state.
    memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, user: Array, time: Array, **context: Array) -> Batch:
        """Requests without candidates yet. user: (n,) codes; time: (n,) unix seconds, or one number for all."""
        users = np.asarray(user, dtype=np.int32)
        times = np.broadcast_to(np.asarray(time, dtype=np.int64), users.shape)
        req: Columns = {"user": users, "time": times, **context}
        return cls(req, np.zeros(len(users) + 1, dtype=np.int64), {"item": np.zeros(0, dtype=np.int32)})

    @property
    def n(self) -> int:
        """How many requests."""
        return len(self.offsets) - 1

    @property
    def m(self) -> int:
        """How many candidate rows over all requests."""
        return int(self.offsets[-1])

    @property
    def item(self) -> Array:
        """(m,) int32 item codes of the candidates."""
        return self.cand["item"]

    @property
    def user(self) -> Array:
        """(n,) int32 user codes of the requests; -1 where the user is unknown."""
        return self.req["user"]

    @property
    def time(self) -> Array:
        """(n,) int64 unix seconds at which the requests are made."""
        return self.req["time"]

    @cached_property
    def owner(self) -> Array:
        """(m,) int64: the request that owns each row."""
        return np.repeat(np.arange(self.n, dtype=np.int64), np.diff(self.offsets))

    def spread(self, column: Array) -> Array:
        """A request column (length n) repeated for every candidate row (length m)."""
        return np.repeat(column, self.m, axis=0) if self.n == 1 else column[self.owner]

    def with_columns(self, columns: Mapping[str, Array]) -> Batch:
        """The same rows with more (or replaced) candidate columns, each of length m."""
        return Batch(self.req, self.offsets, {**self.cand, **columns})

    def without(self, names: Sequence[str]) -> Batch:
        """The same rows without these candidate columns."""
        gone = set(names)
        return Batch(self.req, self.offsets, {name: column for name, column in self.cand.items() if name not in gone})

    def take(self, rows: Array) -> Batch:
        """Rows by index, in the given order, which must be grouped by request in request order."""
        rows = np.asarray(rows)
        if self.n == 1:
            offsets = np.array([0, len(rows)], dtype=np.int64)
        else:
            offsets = np.zeros(self.n + 1, dtype=np.int64)
            np.cumsum(np.bincount(self.owner[rows], minlength=self.n), out=offsets[1:])
        return Batch(self.req, offsets, {name: column[rows] for name, column in self.cand.items()})

    def keep(self, mask: Array) -> Batch:
        """Rows where the (m,) mask is true."""
        return self.take(np.flatnonzero(mask))

    def only(self, requests: Array) -> Batch:
        """Some of the requests, by index and in that order, each with all its rows."""
        requests = np.asarray(requests, dtype=np.int64)
        counts = np.diff(self.offsets)[requests]
        offsets = np.zeros(len(requests) + 1, dtype=np.int64)
        np.cumsum(counts, out=offsets[1:])
        rows = np.repeat(self.offsets[:-1][requests] - offsets[:-1], counts) + np.arange(offsets[-1])
        req = {name: column[requests] for name, column in self.req.items()}
        return Batch(req, offsets, {name: column[rows] for name, column in self.cand.items()})

    def request(self, i: int) -> Batch:
        """Request i alone, as a batch of one."""
        return self.only(np.array([i]))


def concat(batches: Sequence[Batch]) -> Batch:
    """Batches one after another. All must carry the same columns; at least one batch."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    req = {name: np.concatenate([batch.req[name] for batch in batches]) for name in first.req}
    cand = {name: np.concatenate([batch.cand[name] for batch in batches]) for name in first.cand}
    counts = np.concatenate([np.diff(batch.offsets) for batch in batches])
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return Batch(req, offsets, cand)
