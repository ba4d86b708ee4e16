"""Outside ids to dense int32 codes and back. Ids are integers or strings; codes are given in order of arrival.

Order of arrival matters: codes of what came before a cut-off are the same whether or not anything came after it, so ties
broken by code, and files that hold codes, cannot leak the future.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from shortlist.core.batch import Array
from shortlist.core.component import load_array, save_array
from shortlist.core.errors import DataError

Id = int | str


class Vocabulary:
    """A growing list of distinct ids. `len` is the number of codes; unknown ids have code -1."""

    def __init__(self, ids: pl.Series | None = None) -> None:
        """ids: distinct or not; the first appearance of each gets the next code. Integers stay integers, all else is text."""
        self._ids: list[Id] = []
        self._codes: dict[Id, int] = {}
        self._pending: pl.Series | None = None  # bulk ids, unpacked into the dict at the first single look-up
        self.is_text = False
        if ids is not None:
            self._pending = canonical(ids).drop_nulls().unique(maintain_order=True)
            self.is_text = self._pending.dtype == pl.String

    def _unpack(self) -> dict[Id, int]:
        if self._pending is not None:
            self._ids = self._pending.to_list()
            self._codes = {name: code for code, name in enumerate(self._ids)}
            self._pending = None
        return self._codes

    def __len__(self) -> int:
        return len(self._pending) if self._pending is not None else len(self._ids)

    def __contains__(self, name: Id) -> bool:
        return self.code(name) >= 0

    def series(self) -> pl.Series:
        """All ids in code order."""
        if self._pending is not None:
            return self._pending
        return pl.Series("id", self._ids, dtype=pl.String if self.is_text else pl.Int64)

    def like(self, name: object) -> Id:
        """An id in this vocabulary's own type: "17" and 17 are one id. What cannot be an integer stays text."""
        if self.is_text:
            return name if isinstance(name, str) else str(name)
        if isinstance(name, str):
            try:
                return int(name)
            except ValueError:
                return name
        return int(name) if isinstance(name, int | np.integer) else str(name)

    def code(self, name: object) -> int:
        """The code of one id, -1 when unknown."""
        return self._unpack().get(self.like(name), -1)

    def codes(self, names: pl.Series | Iterable[object]) -> Array:
        """(len,) int32 codes, -1 where unknown or null."""
        if not isinstance(names, pl.Series):
            table = self._unpack()
            return np.array([table.get(self.like(name), -1) for name in names], dtype=np.int32)
        names = canonical(names)
        own = self.series()
        if own.dtype != names.dtype:
            names = names.cast(own.dtype, strict=False)
        index = pl.DataFrame({"id": own, "code": np.arange(len(own), dtype=np.int32)})
        found = pl.DataFrame({"id": names}).join(index, on="id", how="left", maintain_order="left")["code"]
        return found.fill_null(-1).to_numpy().astype(np.int32)

    def add(self, name: object) -> int:
        """The code of an id, given the next free one if it is new."""
        table = self._unpack()
        own = self.like(name)
        if isinstance(own, str) and not self.is_text:
            if self._ids:
                raise DataError(f"id {name!r} is text, but the ids here are integers, for example {self._ids[0]!r}")
            self.is_text = True
        code = table.get(own)
        if code is None:
            code = table[own] = len(self._ids)
            self._ids.append(own)
        return code

    def forget(self, code: int) -> None:
        """The id of a code is replaced by one that says nothing and that nobody has: the code stays, who it was goes."""
        table = self._unpack()
        del table[self._ids[code]]
        blank: Id = f"\x00erased {code}" if self.is_text else -(2**62) - code
        self._ids[code] = blank
        table[blank] = code

    def name(self, code: int) -> Id:
        """The id of one code."""
        self._unpack()
        return self._ids[code]

    def names(self, codes: Array) -> pl.Series:
        """The ids of (len,) codes; null where the code is -1."""
        codes = np.asarray(codes)
        index = pl.Series(np.where(codes < 0, len(self), codes).astype(np.uint32))
        own = self.series()
        return own.extend_constant(None, 1).gather(index) if (codes < 0).any() else own.gather(index)

    def save(self, folder: Path, stem: str) -> None:
        """Write as plain arrays: `<stem>.ids.npy`, and for text `<stem>.bytes.npy` with `<stem>.ends.npy`."""
        own = self.series()
        if own.dtype == pl.String:
            encoded = [text.encode() for text in own.to_list()]
            save_array(folder / f"{stem}.bytes.npy", np.frombuffer(b"".join(encoded), dtype=np.uint8))
            save_array(folder / f"{stem}.ends.npy", np.cumsum([len(text) for text in encoded], dtype=np.int64))
        else:
            save_array(folder / f"{stem}.ids.npy", own.to_numpy().astype(np.int64))

    @classmethod
    def load(cls, folder: Path, stem: str) -> Vocabulary:
        """Read what `save` wrote."""
        numbers = folder / f"{stem}.ids.npy"
        if numbers.exists():
            return cls(pl.Series("id", np.array(load_array(numbers)), dtype=pl.Int64))
        raw = load_array(folder / f"{stem}.bytes.npy").tobytes()
        ends = load_array(folder / f"{stem}.ends.npy")
        starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        texts = [raw[start:end].decode() for start, end in zip(starts, ends, strict=True)]
        vocabulary = cls(pl.Series("id", texts, dtype=pl.String))
        vocabulary.is_text = True
        return vocabulary


def canonical(ids: pl.Series) -> pl.Series:
    """Ids as Int64 or String: the two kinds that can be stored, compared and sent as JSON."""
    if ids.dtype.is_integer():
        return ids.cast(pl.Int64)
    if ids.dtype == pl.String:
        return ids
    if ids.dtype == pl.Null:
        return ids.cast(pl.Int64)
    return ids.cast(pl.String)
