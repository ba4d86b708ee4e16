"""An index under a source's mask: what nobody may be shown, and what each request bans for itself."""

from __future__ import annotations

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.contracts import Mask
from shortlist.index.contract import Index


def under(index: Index, queries: Array, k: int, mask: Mask | None) -> tuple[Array, Array]:
    """`index.search` with (n, d) queries and a Mask over n requests. The shared part goes into the search; a request's own bans are
    few (what it has seen), so that many more are asked for, and struck out of the answer."""
    if mask is None or mask.offsets is None or mask.items is None:
        return index.search(queries, k, None if mask is None else mask.shared)
    n, k = len(queries), max(k, 0)
    counts = np.diff(mask.offsets)
    ids, scores = index.search(queries, k + int(counts.max(initial=0)) if k else 0, mask.shared)
    banned = (np.repeat(np.arange(n), counts) << 32) | mask.items
    keep = (ids >= 0) & ~np.isin((np.arange(n)[:, None] << 32) | ids, banned)
    order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(keep, order, axis=1)
    found = np.where(kept, np.take_along_axis(ids, order, axis=1), -1).astype(np.int32)
    return found, np.where(kept, np.take_along_axis(scores, order, axis=1), np.float32(np.nan))
