"""API keys: who may ask a service what.

A key is `sl_<id>_<secret>`: the id is public and names it in lists and logs, the secret is 256 random bits. At rest there is only the
SHA-256 of the secret. A slow hash (scrypt, argon2) protects passwords, which people choose from few; nobody can guess 2^256, so a fast hash is as safe
here, and a slow one would cost every request more than its answer (NIST SP 800-63B, 5.1.1.2 and 5.1.2.2, draws the same line).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from shortlist.core.errors import ConfigError, ShortlistError, choices
from shortlist.serve.shared import Shared

SCOPES = ("read", "write", "admin")
FORMAT = 1
LOGGER = logging.getLogger("shortlist.serve")
LOOK = 1.0  # seconds between two looks whether the file has changed: so long may a revoked key still work
_KEY = re.compile(r"\bsl_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOBODY = hashlib.sha256(b"nobody").hexdigest()


class Denied(ShortlistError):
    """No valid key (status 401), or one that does not allow this (403). The message never holds a key."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Key:
    """What is known of a key at rest. hash: SHA-256 of its secret, in hex; created, expires: unix seconds, expires 0 = never."""

    id: str
    name: str
    scopes: tuple[str, ...]
    hash: str
    created: int
    expires: int = 0

    def valid(self, now: float) -> bool:
        """Has it not expired?"""
        return not self.expires or now < self.expires


class Keys:
    """The keys in a file. Readers see changes of others within a second; writers take turns. clock: unix seconds, for tests."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path, self.clock = path, clock
        self._file = Shared(path, LOOK)
        self._keys: dict[str, Key] = {}
        self._told: dict[str, Any] = {}

    def allow(self, token: str, scope: str) -> Key:
        """The key that a client sent, if it is valid and has the scope; Denied otherwise. Takes the same time whether the id or the
        secret is wrong."""
        match = _KEY.fullmatch(token)
        try:
            found = None if match is None else self._known().get(match[1])
        except ConfigError as error:
            LOGGER.error("%s", error)
            found = None
        told = hashlib.sha256(match[2].encode() if match is not None else b"").hexdigest()
        same = hmac.compare_digest(told, found.hash if found is not None else _NOBODY)
        if found is None or not same or not found.valid(self.clock()):
            raise Denied(401, "no valid key: send one as `Authorization: Bearer KEY`")
        if scope not in found.scopes:
            raise Denied(403, f"key {found.id} has the scopes {choices(found.scopes)}; this needs {scope}")
        return found

    def make(self, name: str, scopes: Sequence[str], lifetime: float = 0.0) -> tuple[Key, str]:
        """A new key, and the text that its owner sends: it can never be shown again. lifetime: seconds, 0 = for ever. ConfigError for a
        scope that is not there."""
        wrong = [scope for scope in scopes if scope not in SCOPES]
        if wrong or not scopes:
            what = f"unknown scope {wrong[0]!r}" if wrong else "no scope"
            raise ConfigError(f"key {name!r}: {what}; choices: {choices(SCOPES)}")
        with self._changing() as keys:
            return self._add(keys, name, tuple(scope for scope in SCOPES if scope in scopes), lifetime)

    def rotate(self, key_id: str, grace: float) -> tuple[Key, str]:
        """A new key of the same name and scopes; the old one works for `grace` seconds more."""
        with self._changing() as keys:
            old = _of(keys, key_id)
            until = int(self.clock() + grace)
            keys[key_id] = replace(old, expires=min(old.expires or until, until))
            return self._add(keys, old.name, old.scopes, 0.0 if not old.expires else old.expires - old.created)

    def revoke(self, key_id: str) -> Key:
        """From now on it opens nothing."""
        with self._changing() as keys:
            return keys.pop(_of(keys, key_id).id)

    def listed(self) -> list[Key]:
        """All of them, the oldest first."""
        return sorted(self._known(fresh=True).values(), key=lambda key: (key.created, key.id))

    def _add(self, keys: dict[str, Key], name: str, scopes: tuple[str, ...], lifetime: float) -> tuple[Key, str]:
        secret, now = secrets.token_urlsafe(32), int(self.clock())
        hashed = hashlib.sha256(secret.encode()).hexdigest()
        made = Key(secrets.token_hex(6), name, scopes, hashed, now, int(now + lifetime) if lifetime else 0)
        keys[made.id] = made
        return made, f"sl_{made.id}_{secret}"

    def _known(self, fresh: bool = False) -> dict[str, Key]:
        """The keys as of the file; a file that has gone away or is damaged opens nothing."""
        told = self._file.read(fresh)
        if told is not self._told:
            self._keys, self._told = {}, told
            self._keys = self._parsed(told)
        return self._keys

    def _parsed(self, told: Mapping[str, Any]) -> dict[str, Key]:
        if not told:
            return {}
        try:
            if told["format"] != FORMAT:
                raise ValueError(f"format {told['format']!r}")
            keys = [Key(**{**entry, "scopes": tuple(entry["scopes"])}) for entry in told["keys"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.path}: not a readable file of keys: {type(error).__name__}") from None
        return {key.id: key for key in keys}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """The keys to be changed."""
        with self._file.changing() as told:
            keys = self._parsed(told)
            yield keys
            told |= {"format": FORMAT, "keys": [asdict(key) for key in keys.values()]}


def _of(keys: Mapping[str, Key], key_id: str) -> Key:
    if key_id not in keys:
        raise ConfigError(f"no key {redacted(key_id)!r}; choices: {choices(keys)}")
    return keys[key_id]


def token(headers: Mapping[str, str]) -> str:
    """The key that a request carries: `Authorization: Bearer KEY`, or `X-API-Key: KEY`; "" where there is none."""
    kind, _, sent = headers.get("authorization", "").partition(" ")
    return sent.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")


def redacted(text: str) -> str:
    """The text with the secret of every key in it blotted out."""
    return _KEY.sub(r"sl_\1_***", text)


class Redact(logging.Filter):
    """Put on a log's handlers, no key gets into it, whoever writes it there."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true: the record is kept, without secrets."""
        text = record.getMessage()
        if "sl_" in text:
            record.msg, record.args = redacted(text), None
        if record.exc_info:
            record.exc_text = redacted(record.exc_text or logging.Formatter().formatException(record.exc_info))
        return True


def may_bind(host: str, keys: Path | None, insecure: bool = False) -> None:
    """ConfigError for an address that others can reach, where nobody would be asked for a key: unless it is said to be meant."""
    if insecure or (keys is not None and keys.exists()) or loopback(host):
        return
    raise ConfigError(
        f"--host {host}: others can reach it, and there is no key to keep them out; make one (`shortlist keys make`) and name its file by "
        "--keys, or say --insecure behind a proxy that checks them"
    )


def loopback(host: str) -> bool:
    """Is it an address of this machine only?"""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
