"""Answers of sources that score by the inner product of a request's vector and an item's."""

from __future__ import annotations

from typing import Any

from shortlist.core.batch import Array
from shortlist.core.contracts import Hits, Mask, Pairs
from shortlist.index.ranked import Ranked


def hits(part: Any, queries: Array, vectors: Array, size: int, k: int, allowed: Mask | None) -> Hits:
    """The best k by queries (n, d) times vectors (fitted items, d), of a catalogue of `size`; rows of NaN score nothing. The order by
    length is made at the first request and kept with the part."""
    ranked = vars(part).get("_ranked")
    if ranked is None or ranked.source is not vectors:
        ranked = Ranked(vectors)
        vars(part)["_ranked"] = ranked
    items, scores = ranked.search(queries, k, size, allowed)
    return Hits(items, scores, Pairs(len(queries), size, lambda owner, item: ranked.of(queries, owner, item)))
