"""Durations and times as people write them: "30m", "2h", "7d"; "2017-10-16", "2017-10-16T12:00:00"."""

import functools
import re
from datetime import UTC, datetime

import numpy as np

from shortlist.core.errors import ConfigError

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$")


@functools.lru_cache(maxsize=4096)
def seconds(text: str) -> float:
    """Length of a duration in seconds: `"2h"` -> 7200.0. ConfigError without a unit, so that 30 never means 30 of something."""
    match = _DURATION.match(text) if isinstance(text, str) else None
    if match is None or match[2] not in SECONDS:
        raise ConfigError(
            f"not a duration: {text!r}; write a number and a unit ({', '.join(SECONDS)}), for example '2h'"
        )
    return float(match[1]) * SECONDS[match[2]]


def duration(value: float) -> str:
    """The shortest exact way to write seconds as a duration: 7200.0 -> `2h`."""
    for unit in ("w", "d", "h", "m"):
        if value >= SECONDS[unit] and value % SECONDS[unit] == 0:
            return f"{_plain(value / SECONDS[unit])}{unit}"
    return f"{_plain(value)}s"


def _plain(number: float) -> str:
    """All digits and no exponent, which a duration cannot have."""
    return np.format_float_positional(number, trim="-")


def moment(value: object) -> int:
    """Unix seconds of an ISO date or date-time (UTC unless it says otherwise), a TOML date, or a plain integer."""
    if isinstance(value, bool) or value is None:
        raise ConfigError(f"not a time: {value!r}; write an ISO date such as '2017-10-16' or unix seconds")
    if isinstance(value, int):
        return value
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"not a time: {value!r}; write an ISO date such as '2017-10-16' or unix seconds") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return int(when.timestamp())


def iso(time: float) -> str:
    """Unix seconds as an ISO date-time in UTC, without a zone suffix: for people to read."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S")
