"""Entries as bytes and back: MessagePack, typed, so that a damaged body is an error and not half a batch."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from shortlist.core.extras import need
from shortlist.serve import entry
from shortlist.serve.eventlog.contract import LogError, Stored

TYPES: dict[int, type[Any]] = {
    entry.EVENTS: entry.Events,
    entry.SERVED: entry.Served,
    entry.ITEMS: entry.Rows,
    entry.ITEMS_GONE: entry.Gone,
    entry.USERS: entry.Rows,
    entry.ERASED: entry.Erased,
}


def encode(content: Any) -> bytes:
    """The body of an entry."""
    encoder: Any = _tools()[0]
    try:
        body: bytes = encoder.encode(content)
    except (
        OverflowError,
        UnicodeEncodeError,
    ):  # whole numbers of more than 64 bits, halves of letters: somebody tries things
        body = encoder.encode(_plain(asdict(content)))
    return body


def _plain(value: Any) -> Any:
    """The same with what cannot be stored as text that can."""
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(entry) for entry in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def decode(stored: Stored) -> Any:
    """The content of an entry: one of `entry`'s dataclasses, by its kind; None for one that was erased whole, or of a kind that a newer
    version wrote. LogError for a damaged body."""
    _, decoders, damaged = _tools()
    decoder = decoders.get(stored.kind)
    if decoder is None or not stored.body:
        return None
    try:
        return decoder.decode(stored.body)
    except damaged as error:
        raise LogError(f"log entry {stored.position}: damaged: {error}") from None


@cache
def _tools() -> tuple[Any, dict[int, Any], type[Exception]]:
    """The encoder, a decoder for every kind, and what they raise."""
    package: Any = need("msgspec", "serve", "a log of events")
    decoders = {kind: package.msgpack.Decoder(made) for kind, made in TYPES.items()}
    return package.msgpack.Encoder(), decoders, package.MsgspecError
