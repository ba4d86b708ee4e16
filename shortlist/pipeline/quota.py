"""Quotas: how many items a source is asked for, for everybody or by how long the user's history is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.component import check
from shortlist.core.contracts import Hits, Mask, Pairs, State
from shortlist.core.errors import ConfigError, unknown

SEGMENTS = ("cold", "light", "heavy")
Quota: TypeAlias = int | dict[str, int]  # as a recipe writes it; a table has all three segments


def checked(value: Any, where: str) -> Quota:
    """A recipe's quota: a number of at least 1, or a table with one number for each of SEGMENTS, not all of them 0."""
    if not isinstance(value, Mapping):
        number: int = check(value, int, {"low": 1}, where)
        return number
    for name in value:
        if name not in SEGMENTS:
            raise ConfigError(f"{where}: {unknown('segment', str(name), SEGMENTS, 'segments')}")
    for name in SEGMENTS:
        if name not in value:
            raise ConfigError(f"{where}: no {name!r}; a quota is a number, or a table of {', '.join(SEGMENTS)}")
    table = {name: int(check(value[name], int, {"low": 0}, f"{where}.{name}")) for name in SEGMENTS}
    if not any(table.values()):
        raise ConfigError(f"{where}: 0 for every segment: leave the source out instead")
    return table


def most(quota: Quota) -> int:
    """The largest number that anybody is given."""
    return max(quota.values()) if isinstance(quota, dict) else quota


def segments(batch: Batch, state: State, edges: tuple[int, int]) -> Array:
    """(n,) which of SEGMENTS each request is of: its user has done fewer than `edges[0]` things that the state keeps, fewer than
    `edges[1]`, or more."""
    lengths = np.diff(state.history(batch.user, edges[1]).offsets)
    return (lengths >= edges[0]).astype(np.int64) + (lengths >= edges[1])


def search(source: Any, batch: Batch, state: State, quota: Quota, segment: Array | None, mask: Mask | None) -> Hits:
    """What a source finds, each request by its segment's quota ((n,), needed for a table only). A source is not asked for requests
    whose quota is 0: no items, and no scores of what others found."""
    if not isinstance(quota, dict) or segment is None:
        hits: Hits = source.retrieve(batch, state, most(quota), mask)
        return hits
    limit = np.array([quota[name] for name in SEGMENTS], dtype=np.int64)[segment]
    asked = np.flatnonzero(limit)
    if len(asked) == batch.n:
        hits = source.retrieve(batch, state, most(quota), mask)
    else:
        part = source.retrieve(batch.only(asked), state, most(quota), None if mask is None else mask.only(asked))
        hits = _spread(part, asked, batch.n)
    beyond = np.arange(hits.items.shape[1]) >= limit[:, None]
    return Hits(
        np.where(beyond, np.int32(-1), hits.items), np.where(beyond, np.float32(np.nan), hits.scores), hits.rest
    )


def _spread(part: Hits, asked: Array, n: int) -> Hits:
    """The hits of some of n requests as those of all."""
    items = np.full((n, part.items.shape[1]), -1, dtype=np.int32)
    scores = np.full((n, part.items.shape[1]), np.nan, dtype=np.float32)
    items[asked], scores[asked] = part.items, part.scores
    if part.rest is None:
        return Hits(items, scores)
    place = np.full(n, -1, dtype=np.int64)
    place[asked] = np.arange(len(asked))
    if isinstance(part.rest, Pairs):
        return Hits(items, scores, Pairs(n, part.rest.size, partial(_of_some, part.rest, place)))
    full = np.full((n, part.rest.shape[1]), np.nan, dtype=np.float32)
    full[asked] = part.rest
    return Hits(items, scores, full)


def _of_some(rest: Pairs, place: Array, owner: Array, item: Array) -> Array:
    """Scores of pairs where only some requests were asked. place: (n,) which of those a request is, -1 = none."""
    out = np.full(len(owner), np.nan, dtype=np.float32)
    there = np.flatnonzero(place[owner] >= 0)
    if len(there):
        out[there] = rest.of(place[owner[there]], item[there])
    return out
