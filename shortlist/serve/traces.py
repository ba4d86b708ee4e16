"""Traces: what every stage did for the newest answers of a worker, in a file of fixed size that all workers of the machine can read.

A ring in a file: writing is a copy of some kilobytes into the system's cache, nothing waits for the disk, and what falls out is gone. The file
outlives the process, so an answer can be explained after a restart, too. It is written, not mapped: a store into a mapped page for which a full
disk has no room ends the process (SIGBUS), and a write is only an error."""

from __future__ import annotations

import errno
import mmap
import os
import re
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from shortlist.core.batch import Array, Batch, Columns
from shortlist.pipeline.trace import Trace

SLOTS = 4096  # answers that can be found
ROOM = 64_000_000  # bytes of traces
FILES = 32  # files of earlier workers that are kept
SLOT = np.dtype([("serial", np.int64), ("offset", np.int64), ("length", np.int64), ("user", "S32")])
BLANK = np.array((-1, 0, 0, b""), dtype=SLOT).tobytes()
ID = re.compile(r"^([0-9a-f]{12})-([0-9]{1,15})$")


class Kept(msgspec.Struct):
    """One trace. epoch: the log position of the newest erasure that the codes reckon with: another one, other codes."""

    request_id: str
    surface: str
    bundle: str
    epoch: int
    request: dict[str, Any]
    sources: list[str]
    pool: bytes
    dropped: bytes
    scores: bytes
    ranks: bytes
    scored: bytes
    score: bytes
    answer: bytes

    def trace(self) -> Trace:
        """As the pipeline filled it, with the columns that tell why."""
        item = np.frombuffer(self.pool, dtype=np.int32)
        shape = (len(self.sources), len(item))
        scores, ranks = (np.frombuffer(raw, dtype=np.float32).reshape(shape) for raw in (self.scores, self.ranks))
        columns: Columns = {"item": item}
        for i, name in enumerate(self.sources):
            columns |= {f"score_{name}": scores[i], f"rank_{name}": ranks[i]}
        scored, score = np.frombuffer(self.scored, dtype=np.int32), np.frombuffer(self.score, dtype=np.float32)
        order = np.lexsort((scored, -np.where(np.isfinite(score), score, -np.inf)))
        return Trace(
            whole=False, pool=_batch(columns), dropped=np.frombuffer(self.dropped, dtype=np.int8).astype(np.int64),
            ranked=_batch({"item": scored[order], "score": score[order]}),
            answer=_batch({"item": np.frombuffer(self.answer, dtype=np.int32)}),
        )  # fmt: skip

    def shown(self) -> Array:
        """Codes of the items of the answer, best first."""
        return np.frombuffer(self.answer, dtype=np.int32)


def _batch(columns: Columns) -> Batch:
    return Batch({}, np.array([0, len(columns["item"])]), columns)


class Traces:
    """The traces of one worker. prefix: the first part of its answers' ids."""

    def __init__(self, folder: Path, prefix: str, slots: int = SLOTS, room: int = ROOM) -> None:
        self.folder, self.prefix, self.slots, self.room = folder, prefix, slots, room
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob("*.ring"), key=lambda path: path.stat().st_mtime, reverse=True)[FILES:]:
            old.unlink(missing_ok=True)
        self._file = _made(folder / f"{prefix}.ring", slots, room)
        weakref.finalize(self, os.close, self._file)
        self._next = self._serial = 0
        self._encoder = msgspec.msgpack.Encoder()

    def name(self) -> str:
        """An id for an answer, that no other worker gives, nor another engine of this one."""
        self._serial += 1
        return f"{self.prefix}-{self._serial}"

    def keep(self, made: Kept, user: str) -> None:
        """Write a trace. user: a hash of the user's id, by which an erasure finds it. What a full disk has no room for is not kept."""
        body = self._encoder.encode(made)
        match = ID.match(made.request_id)
        if match is None or len(body) > self.room:
            return
        if self._next + len(body) > self.room:
            self._next = 0
        serial = int(match[2])
        slot = serial % self.slots * SLOT.itemsize
        about = np.array((serial, self._next, len(body), user.encode()), dtype=SLOT).tobytes()
        with suppress(OSError):
            os.pwrite(self._file, BLANK, slot)
            if os.pwrite(self._file, body, self.slots * SLOT.itemsize + self._next) == len(body):
                os.pwrite(self._file, about, slot)
        self._next += len(body)

    def add(
        self, trace: Trace, request_id: str, surface: str, bundle: str, epoch: int, request: dict[str, Any],
        sources: Sequence[str], user: str,
    ) -> None:  # fmt: skip
        """Write what is kept of a trace; nothing where a stage did not come to its end (an emergency answer)."""
        if trace.pool is None or trace.dropped is None or trace.scored is None or trace.answer is None:
            return
        cand = trace.pool.cand
        own = [name for name in sources if f"rank_{name}" in cand]
        scores, ranks = (b"".join(cand[f"{what}_{name}"].tobytes() for name in own) for what in ("score", "rank"))
        made = Kept(
            request_id, surface, bundle, epoch, _writable(request), own, trace.pool.item.tobytes(), trace.dropped.astype(np.int8).tobytes(),
            scores, ranks, trace.scored.item.tobytes(), trace.scored.cand["score"].tobytes(), trace.answer.item.tobytes(),
        )  # fmt: skip
        self.keep(made, user)

    def find(self, request_id: str) -> Kept | None:
        """The trace of an answer, of any worker of this machine; None where there is none (any more)."""
        match = ID.match(request_id)
        if match is None:
            return None
        path = self.folder / f"{match[1]}.ring"
        try:
            size = path.stat().st_size
            with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as held:
                serial = int(match[2])
                slot = np.frombuffer(held[: self.slots * SLOT.itemsize], dtype=SLOT)[serial % self.slots]
                if slot["serial"] != serial:
                    return None
                start = self.slots * SLOT.itemsize + int(slot["offset"])
                found = msgspec.msgpack.decode(held[start : start + int(slot["length"])], type=Kept)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None  # gone, or overwritten meanwhile
        return found if found.request_id == request_id else None

    def forget(self, hashes: set[str]) -> int:
        """See `forget`: in the files of all workers."""
        return forget(self.folder, hashes, self.slots)


def forget(folder: Path, hashes: set[str], slots: int = SLOTS) -> int:
    """Erasure: every trace of these users, in the files of a folder, is overwritten. How many."""
    wanted, count = {name.encode() for name in hashes}, 0
    for path in folder.glob("*.ring"):
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as held:
            table = np.frombuffer(held[: slots * SLOT.itemsize], dtype=SLOT)
            for number, slot in enumerate(table):
                if slot["user"] in wanted:
                    start = slots * SLOT.itemsize + int(slot["offset"])
                    held[start : start + int(slot["length"])] = bytes(int(slot["length"]))
                    place = number * SLOT.itemsize
                    held[place : place + SLOT.itemsize] = BLANK
                    count += 1
    return count


def _writable(value: Any) -> Any:
    """A request as it can be written: whole numbers of more than 64 bits, which a filter or an id may hold, become text."""
    if isinstance(value, dict):
        return {name: _writable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(one) for one in value]
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def _made(path: Path, slots: int, room: int) -> int:
    """A new ring; its descriptor. OSError where the disk has no room for its table; what is not written after that takes none."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        os.ftruncate(file, slots * SLOT.itemsize + room)
        if os.pwrite(file, BLANK * slots, 0) < slots * SLOT.itemsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    except OSError:
        os.close(file)
        path.unlink(missing_ok=True)
        raise
    return file
