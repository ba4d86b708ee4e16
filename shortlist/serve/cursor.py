"""Cursors: what was shown on the pages so far, in the caller's keeping, so that no worker need remember and no item comes twice."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence

from shortlist.core.errors import ConfigError
from shortlist.data.vocabulary import Id

SHOWN = 2000  # items after which a list has no next page
LARGEST = 1 << 20  # bytes of an unpacked cursor


def pack(shown: Sequence[Id]) -> str:
    """The ids as text that a URL and JSON can hold."""
    raw = json.dumps(list(shown), separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(zlib.compress(raw, 1)).decode("ascii").rstrip("=")


def unpack(cursor: str) -> list[Id]:
    """The ids that a cursor holds. ConfigError for text that is no cursor."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        machine = zlib.decompressobj()
        raw = machine.decompress(packed, LARGEST)  # bounded: a small text can unpack to gigabytes
        if machine.unconsumed_tail or not machine.eof:
            raise ValueError("cut short")
        shown = json.loads(raw.decode("utf-8", "surrogatepass"))
    except (ValueError, binascii.Error, zlib.error, RecursionError):
        raise ConfigError("request: cursor: not a cursor of this service; give the one of the page before") from None
    if not isinstance(shown, list) or len(shown) > SHOWN or not all(type(each) in (str, int) for each in shown):
        raise ConfigError("request: cursor: not a cursor of this service; give the one of the page before")
    return shown
