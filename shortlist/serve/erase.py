"""Erasure: a user's data go from the log, the snapshots, the traces and every state, and nothing that is kept names them.

What stays is what the bundle learned: its model files and the counts of items that it was fitted with, in which nobody can be found any
more; fit again for that. In order, so that a crash at any point can be made good by asking again, or by the next start:

1. an `Erased` entry with a keyed hash of the id (the id itself must not be kept): workers forget the user at once;
2. the log is rewritten up to that entry: events, attributes and answers of the user are gone, positions stay;
3. snapshots from before go, and the traces of the user are overwritten;
4. a second `Erased` entry without hashes says that it is done: workers build their state again from the bundle and the log as it is
   now, beside the old one, and exchange them; so the state is, bit for bit, that of a replay."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from shortlist.data.vocabulary import Id
from shortlist.serve import entry, traces
from shortlist.serve.eventlog.codec import decode, encode
from shortlist.serve.eventlog.contract import Entry, EventLog, Stored
from shortlist.state import snapshot
from shortlist.state.state import State

PIECE = 1000
MOST = 200_000  # hashes that are remembered


class Hasher:
    """Ids to hashes, under a key that belongs to the log. Each id is hashed once."""

    def __init__(self, log: EventLog) -> None:
        self._key = bytes.fromhex(log.meta("erasure.key", lambda: secrets.token_hex(32)))
        self._held: dict[str, str] = {}

    def __call__(self, user: Id | None) -> str:
        """32 hex digits; 17 and "17" are one id."""
        name = str(user)
        found = self._held.get(name)
        if found is None:
            if len(self._held) > MOST:
                self._held.clear()
            raw = name.encode("utf-8", "surrogatepass")
            found = self._held[name] = hashlib.blake2b(raw, key=self._key, digest_size=16).hexdigest()
        return found


def erased(log: EventLog) -> tuple[set[str], int, bool]:
    """Hashes of all who were ever erased, the position of the newest entry about it (0 = none), and whether that erasure was finished."""
    hashes: set[str] = set()
    position, done = 0, True
    while found := log.read(position, PIECE, (entry.ERASED,)):
        for stored in found:
            content = decode(stored)
            hashes |= set(content.hashes)
            done = not content.hashes
        position = found[-1].position
    return hashes, position, done


def forget(state: State, hashes: Iterable[str], hasher: Hasher) -> int:
    """Take users out of a state and its catalogue; how many it knew."""
    wanted = set(hashes)
    if not wanted:
        return 0
    names = state.catalogue.users.ids.series().to_list()
    codes = [code for code, name in enumerate(names) if hasher(name) in wanted]
    for code in codes:
        state.forget(code)
    return len(codes)


def erase(
    log: EventLog, hashes: list[str], hasher: Hasher, folder: Path, time: int, append: Callable[[Entry], int]
) -> int:
    """All four steps; the position of the last entry. append: writes an entry and returns its position. Long: not on an event loop."""
    if hashes:
        append(Entry(entry.ERASED, encode(entry.Erased(hashes, time))))
    everybody, position, done = erased(log)
    if done:
        return position
    log.rewrite(without(everybody, hasher), position)
    drop_snapshots(folder, position)
    traces.forget(folder / "traces", everybody)
    return append(Entry(entry.ERASED, encode(entry.Erased([], time))))


def without(hashes: set[str], hasher: Hasher) -> Callable[[Stored], bytes | None]:
    """What an entry's body becomes without these users; None where they are not in it."""

    def change(stored: Stored) -> bytes | None:
        content: Any = decode(stored)
        if isinstance(content, entry.Events):
            keep = [hasher(user) not in hashes for user in content.user_id]
            return None if all(keep) else encode(kept(content, keep))
        if isinstance(content, entry.Served):
            return b"" if content.user_id is not None and hasher(content.user_id) in hashes else None
        if isinstance(content, entry.Rows) and stored.kind == entry.USERS:
            rows = [row for row in content.rows if hasher(row["user_id"]) not in hashes]
            return None if len(rows) == len(content.rows) else encode(entry.Rows(rows, content.time))
        return None

    return change


def kept(events: entry.Events, keep: list[bool]) -> entry.Events:
    """Some of a batch's events."""

    def only(values: list[Any]) -> list[Any]:
        return [value for value, good in zip(values, keep, strict=True) if good] if values else []

    return entry.Events(
        only(events.user_id), only(events.item_id), only(events.event), only(events.time), only(events.value),
        {name: only(values) for name, values in events.context.items()}, only(events.request_id), only(events.position),
    )  # fmt: skip


def drop_snapshots(folder: Path, position: int) -> None:
    """Snapshots from before a log position go."""
    for bundle in folder.iterdir() if folder.is_dir() else ():
        for old in snapshot.listed(bundle):
            if snapshot.position(old) < position:
                shutil.rmtree(old)
