"""Answers of sources that add up the neighbour rows of a request's history."""

from __future__ import annotations

from shortlist.core.batch import Array
from shortlist.core.contracts import Hits, Mask, Pairs
from shortlist.index.neighbours import Sums
from shortlist.retrieve._evidence import Evidence


def hits(
    asked: Evidence, indptr: Array, indices: Array, values: Array, size: int, k: int, allowed: Mask | None
) -> Hits:
    """The best k above 0, of a catalogue of `size`; indptr, indices, values: CSR rows of neighbours."""
    sums = Sums(asked.offsets, asked.items, asked.weights, indptr, indices, values, size)
    return Hits(*sums.top(k, allowed), Pairs(len(asked.offsets) - 1, size, sums.of))
