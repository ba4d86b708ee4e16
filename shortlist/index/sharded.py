"""An index in s parts, whose answer is that of one: id i lives in part i % s, as i // s, so that within a part the order of ids, and
with it the order of equal scores, is the order of all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.errors import ShortlistError
from shortlist.index import bitmap
from shortlist.index.contract import Index, checked, checked_ids

T = TypeVar("T")


class Sharded(Index):
    """Parts of one kind, each searched on a thread of its own. Exact parts give the same bits as one exact index."""

    kind = "sharded"

    def __init__(self, parts: Sequence[Index]) -> None:
        if not parts:
            raise ShortlistError("shards: at least one part")
        self.parts = list(parts)
        self.d = self.parts[0].d
        self._pool = ThreadPoolExecutor(len(self.parts), thread_name_prefix="shard")

    @property
    def size(self) -> int:
        """See Index."""
        s = len(self.parts)
        return max((part.size - 1) * s + at + 1 if part.size else 0 for at, part in enumerate(self.parts))

    @property
    def count(self) -> int:
        """See Index."""
        return sum(part.count for part in self.parts)

    def add(self, ids: Array, vectors: Array) -> None:
        """See Index."""
        ids, vectors = checked_ids(ids, "add"), checked(vectors, self.d, "add")
        if len(ids) != len(vectors):
            raise ShortlistError(f"add: {len(ids)} ids for {len(vectors)} vectors")
        s = len(self.parts)
        for at, part in enumerate(self.parts):
            mine = ids % s == at
            if mine.any():
                part.add(ids[mine] // s, vectors[mine])

    def delete(self, ids: Array) -> None:
        """See Index."""
        ids, s = checked_ids(ids, "delete"), len(self.parts)
        for at, part in enumerate(self.parts):
            part.delete(ids[ids % s == at] // s)

    def search(self, queries: Array, k: int, allowed: Array | None = None) -> tuple[Array, Array]:
        """See Index."""
        queries, k, s = checked(queries, self.d, "search"), max(k, 0), len(self.parts)
        shares = self._shares(allowed)
        answers = self._each(lambda at: self.parts[at].search(queries, k, shares[at]))
        ids = np.concatenate(
            [np.where(found >= 0, found * s + at, -1) for at, (found, _) in enumerate(answers)], axis=1
        )
        scores = np.concatenate([found for _, found in answers], axis=1)
        order = np.lexsort((ids, np.where(ids >= 0, -scores, np.inf)), axis=1)[:, :k]
        return np.take_along_axis(ids, order, axis=1).astype(np.int32), np.take_along_axis(scores, order, axis=1)

    def plan(self, k: int, allowed: Array | None = None) -> str:
        """See Index."""
        shares = self._shares(allowed)
        told = [part.plan(k, share) for part, share in zip(self.parts, shares, strict=True)]
        return f"{len(told)} shards: {'; '.join(dict.fromkeys(told))}"

    def save(self, folder: Path) -> None:
        """See Index."""
        folder.mkdir(parents=True, exist_ok=True)
        for at, part in enumerate(self.parts):
            part.save(folder / f"shard_{at}")
        (folder / "shards.json").write_text(json.dumps({"shards": len(self.parts)}), encoding="utf-8")

    def _shares(self, allowed: Array | None) -> list[Array | None]:
        """What each part may return."""
        s = len(self.parts)
        if allowed is None:
            return [None] * s
        if allowed.dtype != np.bool_:
            allowed = bitmap.flags(bitmap.packed(allowed, self.size), self.size)
        return [allowed[at::s] for at in range(s)]

    def _each(self, call: Callable[[int], T]) -> list[T]:
        return list(self._pool.map(call, range(len(self.parts))))
