"""A log in one SQLite file: nothing to install, several processes on one machine, durable by fsync.

WAL mode with synchronous=FULL: a commit has returned only when its pages are in the write-ahead log and the log has been fsynced, so it
survives `kill -9` and, as far as the disk keeps what it calls written, a power cut. Writers take turns (BEGIN IMMEDIATE), so rowids
are commit order without a gap; readers never wait for them."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shortlist.serve.eventlog.contract import Ack, Entry, LogError, Stored

BUSY = 10_000  # milliseconds that a writer waits for the others
FORMAT = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    position INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, time INTEGER NOT NULL, key TEXT, digest BLOB, request TEXT,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS by_key ON entries (key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_request ON entries (request) WHERE request IS NOT NULL;
CREATE INDEX IF NOT EXISTS erasures ON entries (position) WHERE kind = 6;
CREATE INDEX IF NOT EXISTS catalogue ON entries (position) WHERE kind IN (3,4);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
INSERT = "INSERT INTO entries (kind, time, key, digest, request, body) VALUES (?, ?, ?, ?, ?, ?)"


class SqliteLog:
    """See EventLog. Two connections: one writes, one reads, so that a reader never waits for a writer's fsync."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version = -1
        self._last = 0
        self._reading, self._writing = threading.Lock(), threading.Lock()
        with self._trouble():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            _retried(lambda: self._writer.execute("PRAGMA journal_mode=WAL").fetchone())
            self._writer.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA.split(";"):
                self._writer.execute(statement)
            self._writer.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (str(FORMAT),))
            self._writer.execute("COMMIT")
            self._reader = self._connect()
            found = self._reader.execute("SELECT value FROM meta WHERE name = 'format'").fetchone()[0]
            _fsync(path.parent)
        if found != str(FORMAT):
            raise LogError(f"{path}: log format {found}, this version reads {FORMAT}")

    def _connect(self) -> sqlite3.Connection:
        link = sqlite3.connect(
            self.path, timeout=BUSY / 1000, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        link.execute(f"PRAGMA busy_timeout={BUSY}")
        link.execute("PRAGMA synchronous=FULL")
        link.execute("PRAGMA secure_delete=ON")  # erasure: what is overwritten leaves no bytes behind
        return link

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise LogError(f"{self.path}: {error}") from error

    def append(self, entries: Sequence[Entry]) -> list[Ack]:
        """See EventLog. The keys are looked up inside the transaction, so two writers cannot both find one free."""
        with self._trouble(), self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                acks = [self._put(entry) for entry in entries]
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
        return acks

    def _put(self, entry: Entry) -> Ack:
        digest = None
        if entry.key:
            digest = hashlib.blake2b(entry.sent or entry.body, digest_size=16).digest()
            found = self._writer.execute("SELECT position, digest FROM entries WHERE key = ?", (entry.key,)).fetchone()
            if found is not None:
                problem = "" if found[1] in (digest, b"") else "the key belongs to an earlier batch with other content"
                return Ack(found[0], not problem, problem)
        row = (entry.kind, int(time.time()), entry.key or None, digest, entry.request or None, entry.body)
        return Ack(int(self._writer.execute(INSERT, row).lastrowid or 0))

    def read(self, after: int, limit: int, kinds: Sequence[int] = ()) -> list[Stored]:
        """See EventLog."""
        numbers = [str(int(kind)) for kind in kinds]
        chosen = f" AND kind IN ({','.join(numbers)})" if numbers else ""
        chosen = f" AND kind = {numbers[0]}" if len(numbers) == 1 else chosen  # as the index of rare entries has it
        query = f"SELECT position, kind, body, time FROM entries WHERE position > ?{chosen} ORDER BY position LIMIT ?"
        with self._trouble(), self._reading:
            return [Stored(*row) for row in self._reader.execute(query, (after, limit))]

    def last(self) -> int:
        """See EventLog. `data_version` moves with every commit of any other connection, and this one never commits: the newest position
        need be looked up only then."""
        with self._trouble(), self._reading:
            version = self._reader.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version:
                newest = self._reader.execute("SELECT max(position) FROM entries").fetchone()[0]
                self._version, self._last = version, newest or 0
            return self._last

    def find(self, request: str) -> Stored | None:
        """See EventLog."""
        query = "SELECT position, kind, body, time FROM entries WHERE request = ?"
        with self._trouble(), self._reading:
            row = self._reader.execute(query, (request,)).fetchone()
        return None if row is None else Stored(*row)

    def meta(self, name: str, make: Callable[[], str] | None = None) -> str:
        """See EventLog."""
        with self._trouble(), self._writing:
            query = "SELECT value FROM meta WHERE name = ?"
            row = self._writer.execute(query, (name,)).fetchone()
            if row is None and make is not None:
                self._writer.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, make()))
                row = self._writer.execute(query, (name,)).fetchone()
            return "" if row is None else str(row[0])

    def note(self, name: str, word: str) -> None:
        """See EventLog."""
        with self._trouble(), self._writing:
            self._writer.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, word))

    def rewrite(self, change: Callable[[Stored], bytes | None], upto: int) -> int:
        """See EventLog. Freed pages are zeroed, and the write-ahead log, which still holds the old ones, is emptied."""
        changed, after = 0, 0
        while after < upto:
            found = [entry for entry in self.read(after, 1000) if entry.position <= upto]
            if not found:
                break
            after = found[-1].position
            bodies = [(change(entry), entry.position) for entry in found]
            rows = [(body, position) for body, position in bodies if body is not None]
            if rows:
                with self._trouble(), self._writing:
                    self._writer.execute("BEGIN IMMEDIATE")
                    # The digest goes, too: it could be used to prove what the content was.
                    self._writer.executemany("UPDATE entries SET body = ?, digest = x'' WHERE position = ?", rows)
                    self._writer.execute("COMMIT")
                changed += len(rows)
        self._emptied()
        return changed

    def _emptied(self) -> None:
        """Wait until the write-ahead log could be moved into the file and cut to nothing; readers may hold it for a moment."""
        for _ in range(200):
            with self._trouble(), self._writing:
                busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:
                return
            time.sleep(0.05)
        raise LogError(f"{self.path}: the write-ahead log is in use and keeps old pages; ask for the erasure again")

    def close(self) -> None:
        """Close both connections; the last to close empties the write-ahead log."""
        with self._reading, self._writing:
            self._reader.close()
            self._writer.close()


def _retried(work: Callable[[], Any]) -> Any:
    """Several processes may open a new file at once, and the switch to WAL does not wait for its turn."""
    for _ in range(100):
        try:
            return work()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.05)
    return work()


def _fsync(folder: Path) -> None:
    """The name of a new file is durable only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
