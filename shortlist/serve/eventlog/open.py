"""A log by its address: `sqlite:PATH` or `redis://HOST:PORT/DB?name=NAME`."""

from __future__ import annotations

from pathlib import Path

from shortlist.core.errors import ConfigError
from shortlist.serve.eventlog.contract import EventLog
from shortlist.serve.eventlog.redis import RedisLog
from shortlist.serve.eventlog.sqlite import SqliteLog


def open_log(address: str) -> EventLog:
    """Open, or make, the log at an address. ConfigError for one that is none; LogError where the store refuses."""
    scheme, _, rest = address.partition(":")
    if scheme == "sqlite" and rest:
        return SqliteLog(Path(rest).expanduser())
    if scheme in ("redis", "rediss", "unix"):
        return RedisLog(address)
    raise ConfigError(f"log: {address!r} is no address of a log; choices: sqlite:PATH, redis://HOST:PORT/DB?name=NAME")


def folder_of(address: str) -> Path:
    """Where a log's snapshots and traces belong when nothing else is said: beside the file; for a log elsewhere, in a folder here that
    is named after it."""
    scheme, _, rest = address.partition(":")
    if scheme == "sqlite":
        path = Path(rest).expanduser()
        return path.with_name(path.name + ".d")
    name = "".join(letter if letter.isalnum() else "-" for letter in address.rpartition("@")[2])
    return Path(f"shortlist-{name.strip('-')}.d")
