"""A follower of a log: a bundle's state, moved along. What an engine, a worker's standby and the keeper have in common."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from shortlist.core.batch import Array
from shortlist.core.errors import BundleError, ConfigError
from shortlist.pipeline.pipeline import Pipeline
from shortlist.serve import entry
from shortlist.serve.erase import Hasher, erased, forget
from shortlist.serve.eventlog.codec import encode
from shortlist.serve.eventlog.contract import Ack, Entry, EventLog, KeyUsed
from shortlist.serve.eventlog.writer import Writer
from shortlist.serve.fold import FOLDED, PIECE, fold, gone, hide
from shortlist.serve.prune import readable
from shortlist.state import snapshot
from shortlist.state.state import State

LOGGER = logging.getLogger("shortlist.serve")


class Follower:
    """The state of a bundle (name) as of a position of a log. impression: the event kind of which a served answer is an event; "" = it is none."""

    def __init__(self, pipeline: Pipeline, state: State, name: str, impression: str) -> None:
        self.pipeline, self.state, self.name, self.impression = pipeline, state, name, impression
        self.position = 0  # of the log: every entry up to it is folded in
        self.writer: Writer | None = None
        self.epoch = 0  # the log position of the newest erasure that the codes of items reckon with
        self.hasher: Hasher | None = None  # of ids, with a log: who was erased
        self.outdated = False  # somebody was erased, and the state was built from a log with them in it

    def follow(self, writer: Writer, base: int = 0, root: Path | None = None) -> int:
        """From now on events go into a log, and every answer knows all that the log held when it was asked for. base: entries up to it are
        in the bundle's data; root: where snapshots are. Returns the position from which the log was folded in."""
        self.writer, self.position = writer, base
        self.hasher = self.hasher or Hasher(writer.log)
        started = self.position = self.restart(root, base)
        readable(self.log, started, self.name)
        self.catch_up()
        self.outdated = False  # the log as it is now has been folded in, by the rules of `restart`
        return started

    @property
    def log(self) -> EventLog:
        """The log that it follows. ConfigError where there is none."""
        if self.writer is None:
            raise ConfigError("this engine has no log: `follow` one first")
        return self.writer.log

    def snapshot(self, root: Path) -> Path:
        """Write what the state is now, at its log position, so that a restart need fold the tail only."""
        return snapshot.save(self.state, root / self.name, position=self.position)

    def restore(self, root: Path, least: int = 0) -> bool:
        """Go on from the newest snapshot of this bundle, if there is one, at `least` or later in the log. A damaged one is passed over for
        the one before."""
        for folder in snapshot.listed(root / self.name):
            try:
                if snapshot.position(folder) < least:
                    return False
                self.state, self.position = snapshot.load(folder), snapshot.position(folder)
            except BundleError as error:
                LOGGER.warning("a snapshot is passed over: %s", error)
                continue
            self._changed(self.state.catalogue.items.touched())
            return True
        return False

    def catch_up(self) -> int:
        """Fold in what the log has and this engine has not: how many entries it was behind. LogError where the log is away."""
        if self.writer is None:
            return 0
        log = self.writer.log
        last, first = log.last(), self.position
        kinds = (*FOLDED, entry.SERVED) if self.impression else FOLDED
        while self.position < last:
            found = log.read(self.position, PIECE, kinds)
            self.fold(found)
            whole = len(found) < PIECE  # then the log has no more of these kinds, at least up to `last`
            self.position = max(found[-1].position if found else 0, last if whole else 0)
        return max(last - first, 0)

    def fold(self, entries: Sequence[Any]) -> None:
        """Fold entries of a log in; they must follow what is folded in already."""
        fold(self.state, entries, self.impression, self._changed, self._erased)

    def _erased(self, content: entry.Erased) -> None:
        """Users go at once; when the log has been cleared of them, the state is to be built again (`rebuilt`)."""
        if self.hasher is not None:
            forget(self.state, content.hashes, self.hasher)
        self.outdated = self.outdated or not content.hashes

    def restart(self, root: Path | None, base: int) -> int:
        """As of the newest snapshot from after the newest erasure, else as of the bundle, without the users who were erased since. base:
        the log position that the bundle stands at. Returns the position to follow the log from."""
        hashes, position, _ = erased(self.log)
        self.epoch = position
        if root is not None and self.restore(root, position):
            return self.position
        self.begin(self.log, base, hashes)
        return base

    def begin(self, log: EventLog, base: int, hashes: Iterable[str] | None = None) -> None:
        """What must hold of a log although entries up to `base` are in the bundle's data: whoever was erased is forgotten, and what was deleted
        is not shown. hashes: of the erased, where they are known already."""
        self.hasher = self.hasher or Hasher(log)
        forget(self.state, erased(log)[0] if hashes is None else hashes, self.hasher)
        hide(self.state, gone(log, base))

    def exchange(self, other: Follower) -> None:
        """Take the state of another engine of the same bundle, that has folded the log as it is now."""
        self.state, self.position, self.outdated, self.epoch = other.state, other.position, False, other.epoch
        self._changed(self.state.catalogue.items.touched())

    def _changed(self, codes: Array) -> None:
        """Parts that keep something of their own for every item are told which items are new or different."""
        for _, part in self.pipeline.parts():
            if hasattr(part, "items_changed"):
                part.items_changed(codes, self.state.catalogue)

    def append(self, kind: int, content: Any, key: str = "", sent: bytes = b"") -> Ack:
        """Into the log, durable, and folded in; without a log only folded in."""
        if self.writer is None:
            raise ConfigError("this engine has no log: `follow` one first")
        ack = self.writer.append(Entry(kind, encode(content), key, sent=sent))
        if ack.problem:
            raise KeyUsed(f"idempotency key {key!r}: {ack.problem}")
        self.catch_up()
        return ack
