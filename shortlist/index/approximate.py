"""What approximate indexes share: an exact one beside them, a place where changes wait, a plan, and a measured recall.

All vectors are held by an exact `Int8` index. The approximate structure knows some of them by position; an id that was added or
replaced since waits outside it and is looked at in full, so that the next search finds it; a deleted or replaced one is a position
that no longer leads back to itself. When too many wait, they are settled into the structure. Whatever the structure proposes is
scored by `scan.score` and checked against the allowed set: the answer may miss an id, but never holds a wrong score, a banned or a
deleted one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np

from shortlist.core.batch import Array
from shortlist.core.component import load_array, save_array
from shortlist.core.errors import BundleError, ShortlistError
from shortlist.core.rng import rng
from shortlist.index import bitmap
from shortlist.index.contract import Index, checked, checked_ids
from shortlist.index.exact import Int8
from shortlist.index.plan import LEAST_SHARE, Plan, choose
from shortlist.index.recall import overlap

WAITING = 2048  # ids that may wait however small the index is
WAITING_SHARE = 0.02  # of all ids that may wait
MOST = 64.0  # times the first effort: where tuning gives up


class Approximate(Index):
    """A structure over an exact index. Subclasses give `_learn`, `_take`, `_near`, `_arrays`, and what else they keep."""

    kind = ""
    least = LEAST_SHARE  # of the vectors allowed: below, searches are exact

    def __init__(self, d: int, seed: int = 0) -> None:
        self.d = d
        self.seed = seed
        self.exact = Int8(d)
        self.place = np.zeros(0, dtype=np.int32)  # id at each position of the structure
        self.where = np.zeros(0, dtype=np.int32)  # position of each id, -1 = none: it waits, or is not there
        self.outside = np.zeros(0, dtype=np.int64)  # ids that wait, ascending
        self.effort = 1.0
        self.recall: dict[str, float] = {}

    @property
    def size(self) -> int:
        """See Index."""
        return self.exact.size

    @property
    def count(self) -> int:
        """See Index."""
        return self.exact.count

    def build(self, vectors: Array, target: float = 0.98, queries: Array | None = None, k: int = 100) -> None:
        """Start from (rows, d) vectors whose ids are their rows, and look as far as `target` recall@k needs. queries: what it will
        be asked (user vectors); by default directions of the vectors themselves, which are easier or harder as it happens."""
        vectors = checked(vectors, self.d, "build")
        self.exact.add(np.arange(len(vectors)), vectors)
        self.rebuild()
        self.tune(target, queries, k)

    def add(self, ids: Array, vectors: Array) -> None:
        """See Index."""
        ids, vectors = checked_ids(ids, "add"), checked(vectors, self.d, "add")
        if len(ids) != len(vectors):
            raise ShortlistError(f"add: {len(ids)} ids for {len(vectors)} vectors")
        with self.exact.gate.writing():
            self.exact.put(ids, vectors)
            self._reach()
            self.where[ids] = -1
            self._wait(np.union1d(self.outside, ids))
            if len(self.outside) > max(WAITING, WAITING_SHARE * self.count):
                self._settle()

    def delete(self, ids: Array) -> None:
        """See Index."""
        ids = checked_ids(ids, "delete")
        with self.exact.gate.writing():
            self.exact.drop(ids)
            self.where[ids[ids < len(self.where)]] = -1
            self._wait(self.outside)
            if self._hollow():
                self._settle()

    def search(self, queries: Array, k: int, allowed: Array | None = None, how: str = "") -> tuple[Array, Array]:
        """See Index. how: "exact" or "approximate" to overrule the plan."""
        queries = checked(queries, self.d, "search")
        with self.exact.gate.reading():
            words = self.exact.within(allowed)
            plan = self._plan(k, self.count if allowed is None else bitmap.count(words))
            if how == "exact" or (plan.exact and how != "approximate") or not self._positions():
                return self.exact.find(queries, k, words)
            return self._answer(queries, k, words, plan.effort, allowed is not None)

    def plan(self, k: int, allowed: Array | None = None) -> str:
        """See Index."""
        with self.exact.gate.reading():
            met = self.count if allowed is None else bitmap.count(self.exact.within(allowed))
            return self._plan(k, met).why

    def settle(self) -> None:
        """Take everything that waits into the structure."""
        with self.exact.gate.writing():
            self._settle()

    def rebuild(self) -> None:
        """Learn the structure again from all vectors; searches wait. To go on serving, build another index and exchange them."""
        with self.exact.gate.writing():
            self._reach()
            self.where[:] = -1
            self.place = np.zeros(0, dtype=np.int32)
            self._wait(bitmap.members(self.exact.words))
            self._learn(self.exact.vectors[self.outside])
            self._settle()

    def tune(self, target: float = 0.98, queries: Array | None = None, k: int = 100, sample: int = 200) -> float:
        """Raise the effort until recall@k on the queries reaches the target; returns what it is, also kept in `recall`."""
        asked = self._sample(sample) if queries is None else checked(queries, self.d, "tune")[:sample]
        wanted, _ = self.search(asked, k, how="exact")
        self.effort = 1.0
        while True:
            found, _ = self.search(asked, k, how="approximate")
            shares = np.array([overlap(found[i : i + 1], wanted[i : i + 1]) for i in range(len(asked))])
            value = float(shares.mean()) if len(shares) else 1.0
            # One standard error to spare: other queries than these are asked afterwards.
            spare = float(shares.std()) / max(len(shares), 1) ** 0.5 if len(shares) else 0.0
            if value - spare >= target or self.effort >= MOST:
                break
            self.effort *= 1.1
        self.recall = {"k": k, "recall": value, "queries": len(asked), "target": target, "effort": self.effort}
        self.recall["count"] = self.count
        return value

    def save(self, folder: Path) -> None:
        """See Index. `recall.json` says what was measured."""
        folder.mkdir(parents=True, exist_ok=True)
        self.settle()
        self.exact.save(folder / "exact")
        with self.exact.gate.reading():
            for name, array in {**self._arrays(), "place": self.place, "where": self.where[: self.size]}.items():
                save_array(folder / f"{name}.npy", array)
            self._save_native(folder)
            told: dict[str, Any] = {"effort": self.effort, "seed": self.seed, "recall": self.recall}
            (folder / "recall.json").write_text(json.dumps(told, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote, memory-mapped."""
        exact = Int8.load(folder / "exact")
        index = cls(exact.d)
        index.exact = exact
        for name, empty in {**index._arrays(), "place": index.place, "where": index.where}.items():
            array = load_array(folder / f"{name}.npy")
            if array.dtype != empty.dtype or array.ndim != empty.ndim:
                raise BundleError(
                    f"{folder / name}.npy: expected {empty.ndim}-d {empty.dtype}, found {array.ndim}-d {array.dtype}"
                )
            setattr(index, name, array)
        try:
            told = json.loads((folder / "recall.json").read_text(encoding="utf-8"))
            index.effort, index.seed, index.recall = float(told["effort"]), int(told["seed"]), dict(told["recall"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{folder / 'recall.json'}: not readable: {error}") from None
        index._check(folder)
        index._load_native(folder)
        return index

    # What a structure gives.

    def _learn(self, vectors: Array) -> None:
        """Learn the structure's shape; it is empty afterwards."""
        raise NotImplementedError

    def _take(self, ids: Array) -> None:
        """Take these ids (alive, ascending, maybe none) in, and leave out what is gone, as far as the structure can."""
        raise NotImplementedError

    def _near(
        self, queries: Array, k: int, words: Array, effort: float, filtered: bool, ids: Array, scores: Array
    ) -> None:
        """Into ids and scores (n, at least k): the best k among the ids of `words` that the structure meets and those that wait, then -1
        and NaN; nothing for a query that is not `valid`. k at least 1."""
        raise NotImplementedError

    def _arrays(self) -> dict[str, Array]:
        """What it keeps besides `place` and `where`, by name."""
        return {}

    def _positions(self) -> int:
        """How many ids it knows of, those that are gone included."""
        return len(self.place)

    def _leads_back(self, held: Array) -> bool:
        """Is each of these ids, which are all that there are, where `where` says?"""
        back = self.where[held]
        inside = bool(((back >= 0) & (back < len(self.place))).all())
        return inside and np.array_equal(self.place[back], held)

    def _save_native(self, folder: Path) -> None:
        """Write what is not an array."""

    def _load_native(self, folder: Path) -> None:
        """Read it again."""

    # What they share.

    def _plan(self, k: int, allowed: int) -> Plan:
        reached = self.recall.get("recall", 1.0)
        short = reached if reached < self.recall.get("target", 0.0) else 0.0
        return choose(self.kind, self.count, k, allowed, int(self.recall.get("k", 100)), self.least, short)

    def _answer(self, queries: Array, k: int, words: Array, effort: float, filtered: bool) -> tuple[Array, Array]:
        k = max(k, 0)
        ids, scores = np.empty((len(queries), k), dtype=np.int32), np.empty((len(queries), k), dtype=np.float32)
        if k and len(queries):
            self._near(queries, min(k, self.size), words, effort, filtered, ids, scores)
        return ids, scores

    def _settle(self) -> None:
        if len(self.outside) or self._hollow():
            self._take(self.outside)
        self._wait(np.zeros(0, dtype=np.int64))

    def _hollow(self) -> bool:
        """Does most of the structure lead to what is gone?"""
        return self._positions() > 2 * self.count + WAITING

    def _wait(self, ids: Array) -> None:
        """These ids wait, as far as they are in the index."""
        self.outside = ids[self.exact.holds(ids)]

    def _reach(self) -> None:
        """`where` for every id that the exact index may hold."""
        grown = np.full(len(self.exact.vectors), -1, dtype=np.int32)
        if len(grown) > len(self.where):
            grown[: len(self.where)] = self.where
            self.where = grown

    def _sample(self, count: int) -> Array:
        ids = bitmap.members(self.exact.words)
        picked = self.exact.vectors[rng(self.seed, "recall").permutation(ids)[:count]]
        lengths = np.sqrt(np.square(picked, dtype=np.float64).sum(axis=1, keepdims=True))
        found: Array = (picked / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return found

    def _check(self, folder: Path) -> None:
        """Positions lead to ids and back, or the files do not belong together."""
        if len(self.where) != self.size or (
            len(self.place) and not 0 <= int(self.place.min()) <= int(self.place.max()) < self.size
        ):
            raise BundleError(f"{folder}: place.npy and where.npy do not belong to this index")
        if not self._leads_back(bitmap.members(self.exact.words)):
            raise BundleError(f"{folder}: place.npy and where.npy do not belong together")
        self._reach()
