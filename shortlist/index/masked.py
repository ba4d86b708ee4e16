"""An index under a source's mask: what nobody may be shown, and what each request bans for itself."""

from __future__ import annotations

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.contracts import Mask
from shortlist.index.contract import Index


def under(index: Index, queries: Array, k: int, mask: Mask | None) -> tuple[Array, Array]:
    """`index.search` with (n, d) queries and a Mask over n requests. The shared part goes into the search; a request's own bans are
    few (what it has seen), so that more are asked for, and struck out of the answer. How many more depends on the request alone, so
    that it is answered in a batch as it is by itself, also where an index looks elsewhere for a longer answer."""
    if mask is None or mask.offsets is None or mask.items is None:
        return index.search(queries, k, None if mask is None else mask.shared)
    n, k = len(queries), max(k, 0)
    counts = np.diff(mask.offsets)
    # The next power of two, so that there are few different searches; 0 stays 0.
    more = np.where(counts > 0, 1 << np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64), 0)
    ids = np.full((n, k), -1, dtype=np.int32)
    scores = np.full((n, k), np.nan, dtype=np.float32)
    for extra in np.unique(more) if k else ():
        rows = np.flatnonzero(more == extra)
        found = index.search(queries[rows], k + int(extra), mask.shared)
        _strike(rows, *found, mask.offsets, mask.items, ids, scores)
    return ids, scores


@njit(cache=True, nogil=True)
def _strike(
    rows: Array, found: Array, found_scores: Array, offsets: Array, banned: Array, ids: Array, scores: Array
) -> None:
    """The first k of each row that its request does not ban."""
    k = ids.shape[1]
    for r in range(len(rows)):
        i = rows[r]
        own = np.sort(banned[offsets[i] : offsets[i + 1]])
        count = 0
        for c in range(found.shape[1]):
            item = found[r, c]
            if count == k or item < 0:
                break
            at = np.searchsorted(own, item)
            if at < len(own) and own[at] == item:
                continue
            ids[i, count], scores[i, count] = item, found_scores[r, c]
            count += 1
