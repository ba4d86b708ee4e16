"""A log in Redis Streams, for workers on several machines.

Entry n is the stream entry `n-0`; number, key and entry are written by one script, so they cannot come apart. Redis answers after its
fsync only with `appendfsync always`, which is asked for when the log is opened; with `?fsync=everysec` in the address up to a
second of acknowledged entries may be lost when the machine (not only Redis) dies, and that must be said."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from shortlist.core.errors import ConfigError, choices
from shortlist.core.extras import need
from shortlist.serve.eventlog.contract import Ack, Entry, LogError, Stored

FSYNC = ("always", "everysec")
# KEYS: stream, counter, keys, requests. ARGV: kind, time, key, digest, request, body.
APPEND = """
if ARGV[3] ~= '' then
  local held = redis.call('HGET', KEYS[3], ARGV[3])
  if held then
    local position, digest = string.match(held, '^(%d+):(.*)$')
    if digest == ARGV[4] or digest == '' then return {position, 1} end
    return {position, 2}
  end
end
local position = redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[1], position .. '-0', 'k', ARGV[1], 't', ARGV[2], 'b', ARGV[6])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[3], ARGV[3], position .. ':' .. ARGV[4]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[4], ARGV[5], position) end
return {tostring(position), 0}
"""
# KEYS: stream, changed, their positions. ARGV: position, kind, time, body.
CHANGE = """
redis.call('XDEL', KEYS[1], ARGV[1] .. '-0')
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ':' .. ARGV[3] .. ':' .. ARGV[4])
redis.call('ZADD', KEYS[3], ARGV[1], ARGV[1])
return 1
"""


class RedisLog:
    """See EventLog."""

    def __init__(self, address: str) -> None:
        """address: redis://[:PASSWORD@]HOST:PORT/DB?name=NAME&fsync=always. ConfigError where the server keeps less than it promises."""
        package: Any = need("redis", "serve", "a log in Redis")
        parts = urlsplit(address)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.name, self.fsync = options.pop("name", "shortlist"), options.pop("fsync", "always")
        self.place = f"{parts.hostname or parts.path}:{parts.port or 6379}/{self.name}"  # for messages: no password
        if self.fsync not in FSYNC:
            raise ConfigError(f"log: fsync={self.fsync!r} in the address; choices: {choices(FSYNC)}")
        query = "&".join(f"{name}={value}" for name, value in options.items())
        plain = urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
        self._failures = package.exceptions.RedisError
        try:
            self._link: Any = package.Redis.from_url(plain, socket_timeout=5, socket_connect_timeout=5)
        except ValueError as error:
            raise ConfigError(f"log: {self.place}: {error}") from None
        tag = "{" + self.name + "}"  # one slot of a cluster
        names = ("log", "count", "keys", "requests", "changed", "positions", "meta")
        self._at = {name: f"{tag}:{name}" for name in names}
        self._append = self._link.register_script(APPEND)
        self._change = self._link.register_script(CHANGE)
        self._durable()

    def _durable(self) -> None:
        """ConfigError where the server is not set up to keep what it acknowledges."""
        with self._trouble():
            held = {**self._link.config_get("appendonly"), **self._link.config_get("appendfsync")}
        if held.get("appendonly") != "yes" or (held.get("appendfsync") != "always" and self.fsync == "always"):
            raise ConfigError(
                f"log: {self.place}: Redis has appendonly={held.get('appendonly')}, appendfsync={held.get('appendfsync')}: an acknowledged "
                "event could be lost; set `appendonly yes` and `appendfsync always` (or add ?fsync=everysec and accept a second of loss)"
            )

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (self._failures, OSError) as error:
            raise LogError(f"redis {self.place}: {error}") from error

    def append(self, entries: Sequence[Entry]) -> list[Ack]:
        """See EventLog."""
        now, acks = str(int(time.time())), []
        with self._trouble():
            pipe = self._link.pipeline(transaction=True)
            keys = [self._at[name] for name in ("log", "count", "keys", "requests")]
            for entry in entries:
                digest = hashlib.blake2b(entry.sent or entry.body, digest_size=16).hexdigest() if entry.key else ""
                values = [entry.kind, now, entry.key, digest, entry.request, entry.body]
                self._append(keys=keys, args=values, client=pipe)
            for position, outcome in pipe.execute():
                problem = "the key belongs to an earlier batch with other content" if outcome == 2 else ""
                acks.append(Ack(int(position), outcome == 1, problem))
        return acks

    def read(self, after: int, limit: int, kinds: Sequence[int] = ()) -> list[Stored]:
        """See EventLog."""
        found: list[Stored] = []
        while True:
            with self._trouble():
                raw = self._link.xrange(self._at["log"], f"{after + 1}-0", "+", limit)
                stop = int(raw[-1][0].split(b"-")[0]) if len(raw) == limit else "+inf"
                changed = self._link.zrangebyscore(self._at["positions"], after + 1, stop)
                bodies = self._link.hmget(self._at["changed"], changed) if changed else []
            part = [_stored(name, fields) for name, fields in raw]
            part += [_rewritten(position, body) for position, body in zip(changed, bodies, strict=True)]
            part = sorted(part)[: limit - len(found)] if not kinds else sorted(part)
            found += [entry for entry in part if not kinds or entry.kind in kinds]
            if not kinds or len(found) >= limit or len(raw) < limit:
                return found[:limit]
            after = part[-1].position

    def last(self) -> int:
        """See EventLog."""
        with self._trouble():
            return int(self._link.get(self._at["count"]) or 0)

    def find(self, request: str) -> Stored | None:
        """See EventLog."""
        with self._trouble():
            position = self._link.hget(self._at["requests"], request)
        if position is None:
            return None
        found = self.read(int(position) - 1, 1)
        return found[0] if found and found[0].position == int(position) else None

    def meta(self, name: str, make: Callable[[], str] | None = None) -> str:
        """See EventLog."""
        with self._trouble():
            held = self._link.hget(self._at["meta"], name)
            if held is None and make is not None:
                self._link.hsetnx(self._at["meta"], name, make())
                held = self._link.hget(self._at["meta"], name)
        return "" if held is None else bytes(held).decode()

    def note(self, name: str, word: str) -> None:
        """See EventLog."""
        with self._trouble():
            self._link.hset(self._at["meta"], name, word)

    def rewrite(self, change: Callable[[Stored], bytes | None], upto: int) -> int:
        """See EventLog. The stream's entry goes, the new body takes its place beside it, and the append-only file is written anew."""
        changed, after = 0, 0
        while after < upto:
            found = [entry for entry in self.read(after, 1000) if entry.position <= upto]
            if not found:
                break
            after = found[-1].position
            for entry in found:
                body = change(entry)
                if body is not None:
                    keys = [self._at[name] for name in ("log", "changed", "positions")]
                    with self._trouble():
                        self._change(keys=keys, args=[entry.position, entry.kind, entry.time, body])
                    changed += 1
        if changed:
            self._forget_keys(upto)
            with self._trouble():
                self._link.bgrewriteaof()
        return changed

    def _forget_keys(self, upto: int) -> None:
        """Of entries that may have been changed the digests go: they could be used to prove what the content was."""
        with self._trouble():
            for key, value in self._link.hscan_iter(self._at["keys"], count=1000):
                position = int(value.split(b":")[0])
                if position <= upto and self._link.zscore(self._at["positions"], position) is not None:
                    self._link.hset(self._at["keys"], key, f"{position}:")

    def close(self) -> None:
        """Close the connections."""
        self._link.close()


def _stored(name: bytes, fields: dict[bytes, bytes]) -> Stored:
    return Stored(int(name.split(b"-")[0]), int(fields[b"k"]), fields[b"b"], int(fields[b"t"]))


def _rewritten(position: bytes, value: bytes) -> Stored:
    kind, when, body = value.split(b":", 2)
    return Stored(int(position), int(kind), body, int(when))
