"""What a log of a service promises: entries in one order for everybody; what `append` has returned is on the disk, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from shortlist.core.errors import ShortlistError


class LogError(ShortlistError):
    """The log cannot be written or read now: a full disk, a server that is away. Nothing of what was asked has been done, or it
    can be asked again under the same key."""


class KeyUsed(ShortlistError):
    """The idempotency key belongs to an earlier entry with other content."""


class Entry(NamedTuple):
    """What is appended. kind: see `entry`; body: its encoded content. key: the client's idempotency key, "" = none: an
    entry whose key the log knows is not written again. request: the id that a served answer can be found by, "" = none. sent: the
    content as the client sent it, by which the log knows it again (the body has a time of its own where the client gave none)."""

    kind: int
    body: bytes
    key: str = ""
    request: str = ""
    sent: bytes = b""


class Stored(NamedTuple):
    """An entry with its place in the log: 1, 2, 3 ... without a gap. time: unix seconds when it was written, by the writer's clock."""

    position: int
    kind: int
    body: bytes
    time: int = 0


class Ack(NamedTuple):
    """Where an entry stands. duplicate: it was there already, under the same key, with the same content. problem: "" or why it was refused."""

    position: int
    duplicate: bool = False
    problem: str = ""


class EventLog(Protocol):
    """One log. Every method may be called from any thread of the process that opened it. LogError where the store refuses."""

    def append(self, entries: Sequence[Entry]) -> list[Ack]:
        """Write entries in order, as one transaction, and return when they are durable. An entry whose key belongs to other content has
        `problem` set and is not written; the others are."""
        ...

    def read(self, after: int, limit: int, kinds: Sequence[int] = ()) -> list[Stored]:
        """At most `limit` entries above position `after`, in order: of these kinds only, all when none is named."""
        ...

    def last(self) -> int:
        """The position of the newest entry, 0 for an empty log: everything that was acknowledged before the call, by anybody."""
        ...

    def find(self, request: str) -> Stored | None:
        """The entry of a served answer, by its id."""
        ...

    def meta(self, name: str, make: Callable[[], str] | None = None) -> str:
        """A word that belongs to the log, made once and the same for everybody since; "" where there is none and none is to be made."""
        ...

    def note(self, name: str, word: str) -> None:
        """Another word in its place, durable when this returns."""
        ...

    def rewrite(self, change: Callable[[Stored], bytes | None], upto: int) -> int:
        """Erasure: the body of every entry up to a position is replaced by what `change` returns (None = stays), and no copy of the old
        one remains in the store's files. Positions stay. Returns how many were changed."""
        ...

    def close(self) -> None: ...
