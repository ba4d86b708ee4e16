"""What every index is: the best k of the vectors that it holds, by inner product, under a set of allowed ids."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.errors import ShortlistError


class Index(Protocol):
    """Vectors by id. Ids are item codes: small whole numbers from 0, and memory grows with the largest. A vector with a value that
    is not finite, or beyond 1e15, counts as none: its id is not in the index. Searches and changes may come from several threads."""

    d: int

    @property
    def size(self) -> int:
        """One more than the largest id that was ever given."""
        ...

    @property
    def count(self) -> int:
        """How many ids are in the index."""
        ...

    def add(self, ids: Array, vectors: Array) -> None:
        """Put in new ids, or replace the vectors of old ones: seen by the next search. Of equal ids the last one counts."""
        ...

    def delete(self, ids: Array) -> None:
        """Take ids out; those that are not in it are passed over."""
        ...

    def search(self, queries: Array, k: int, allowed: Array | None = None) -> tuple[Array, Array]:
        """(n, k) int32 ids, best first, equal scores by id, -1 where there are fewer; (n, k) float32 scores, NaN there.

        queries: (n, d). allowed: the only ids that may come back, as bool or packed bits (see `bitmap.packed`), or None for all. A
        query with a value that is not a finite number finds nothing. Scores are those of `scan.score`, whatever the index.
        """
        ...

    def plan(self, k: int, allowed: Array | None = None) -> str:
        """How such a search would be answered, for the trace."""
        ...

    def save(self, folder: Path) -> None:
        """Write it as plain arrays (and the native file of an approximate index) into a folder."""
        ...


def checked(vectors: Array, d: int, what: str) -> Array:
    """(rows, d) contiguous float32, or an error that names the shape."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != d:
        raise ShortlistError(f"{what}: expected vectors of shape (n, {d}), not {vectors.shape}")
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and counts as none
        return np.ascontiguousarray(vectors, dtype=np.float32)


def checked_ids(ids: Array, what: str) -> Array:
    """(rows,) int64 ids, none negative and none beyond int32."""
    ids = np.atleast_1d(np.asarray(ids))
    if ids.ndim != 1 or (ids.dtype.kind not in "iu" and len(ids)):
        raise ShortlistError(f"{what}: expected one row of whole numbers, not {ids.dtype} of shape {ids.shape}")
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < 2**31 - 64:
        raise ShortlistError(f"{what}: ids must lie in [0, {2**31 - 65}], got {int(ids.min())} to {int(ids.max())}")
    return ids.astype(np.int64)
