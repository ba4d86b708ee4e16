"""Sources that read scores of all items from the state: requests that would read the same row share one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import Hits, Mask, State
from shortlist.index.top import struck, top

SPARE = 256  # items beyond k that a kept list has, for requests that ban some


def moments(batch: Batch, state: State) -> Array:
    """(n,) the moment as of which each request reads the state: time never runs backwards."""
    return np.maximum(batch.time, state.now)


def shared_rows(
    groups: Sequence[Array],
    row: Callable[[int], Array],
    k: int,
    allowed: Mask | None,
    floor: float,
    once: tuple[State, Hashable] | None = None,
) -> Hits:
    """The best k for every request, where those with equal values in all of `groups` ((n,) integers each) share a row.

    row: request index -> (items,) float32 scores, called once per group, with its first request. once: the state, and a name for rows that
    depend on it and on the groups alone: what live requests of one moment share is then made once, until an event comes.
    """
    n = len(groups[0])
    if n == 0:
        return Hits(np.full((0, k), -1, dtype=np.int32), np.full((0, k), np.nan, dtype=np.float32))
    if n == 1 or all(bool((group == group[0]).all()) for group in groups):
        if once is None:
            full = row(0).reshape(1, -1)
            return Hits(*top(full, k, allowed, floor, n), full)
        state, name = once
        key = (name, *(int(group[0]) for group in groups))
        full = state.once(key, lambda: row(0).reshape(1, -1))
        if allowed is not None and (allowed.shared is not None or _longest(allowed) > SPARE):
            return Hits(*top(full, k, allowed, floor, n), full)
        # One longer list for everybody, of which each request strikes out what it bans.
        longer = state.once((*key, k), lambda: top(full, k + SPARE, None, floor, 1))
        return Hits(*struck(longer, k, n, full.shape[1], allowed), full)
    _, first, which = np.unique(np.stack(groups, axis=1), axis=0, return_index=True, return_inverse=True)
    items = np.full((n, k), -1, dtype=np.int32)
    scores = np.full((n, k), np.nan, dtype=np.float32)
    full = np.empty((0, 0), dtype=np.float32)
    for group, request in enumerate(first):
        members = np.flatnonzero(which.reshape(-1) == group)
        one = row(int(request))
        if not full.size:
            full = np.empty((n, len(one)), dtype=np.float32)
        full[members] = one
        items[members], scores[members] = top(
            one.reshape(1, -1), k, None if allowed is None else allowed.only(members), floor, len(members)
        )
    return Hits(items, scores, full)


def _longest(allowed: Mask) -> int:
    """How many items one request bans, at most."""
    return 0 if allowed.offsets is None else int(np.diff(allowed.offsets).max(initial=0))
