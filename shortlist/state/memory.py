"""Memory: what the aggregates of a state will need, told before a long run and not by the operating system in the middle of it."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any, NamedTuple, cast

from shortlist.core.errors import ConfigError
from shortlist.state.keys import Hashed
from shortlist.state.state import State

PLACE = 32  # bytes of a key in a hash table, at most


class Need(NamedTuple):
    """One key: how many values it may have, how many of those may be kept, and the bytes of all its aggregates together."""

    by: tuple[str, ...]
    values: int
    kept: int
    bytes: int
    folds: int


def needs(state: State, events: int) -> list[Need]:
    """What every key of a state may come to need over a log of so many events, the largest first. A bound, not a forecast: a key
    cannot have more values than its columns have together, nor more than there are events (times their entries, for lists)."""
    made = []
    for by, table in state.slots().items():
        folds = [fold for fold in state.folds.values() if fold.by == by]
        values, per_event = 1, 1.0
        for part in state.form(by).parts:
            values *= max(part.size(state.catalogue), 1)
            per_event *= part.entries()
        values = min(values, round(events * per_event)) if len(by) > 1 else values
        kept = min(values, table.limit) if isinstance(table, Hashed) else values
        each = sum(fold.bytes() for fold in folds) + (PLACE if isinstance(table, Hashed) else 0)
        made.append(Need(by, values, kept, kept * each, len(folds)))
    return sorted(made, key=lambda need: -need.bytes)


def afford(state: State, events: int, limit: int) -> None:
    """ConfigError when the aggregates may need more than `limit` bytes, naming the key that needs most."""
    listed = needs(state, events)
    total = sum(need.bytes for need in listed)
    if total <= limit or not listed:
        return
    worst = listed[0]
    raise ConfigError(
        f"state.memory: the aggregates may need {_size_text(total)}, more than the {_size_text(limit)} allowed; the key "
        f"{' x '.join(worst.by)!r} alone may have {worst.values:,} values and need {_size_text(worst.bytes)} for {worst.folds} aggregates: "
        "choose a coarser key, fewer half-lives, a smaller state.keys (the coldest keys go), or allow more"
    )


def _size_text(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


class Held(NamedTuple):
    """One aggregate: its name and key, bytes per slot, keys that have a slot, keys that went, and the bytes of its arrays that are
    not by slot."""

    name: str
    by: tuple[str, ...]
    bytes: int
    keys: int
    evicted: int
    beside: int


def held(state: State) -> list[Held]:
    """What every aggregate holds now."""
    made = []
    for name, fold in state.folds.items():
        table = state.slots()[fold.by]
        beside = sum(getattr(fold, field.name).nbytes for field in fields(cast(Any, fold)) if _beside(field))
        made.append(Held(name, fold.by, fold.bytes(), table.live, table.evicted, beside))
    return made


def _beside(field: Field[Any]) -> bool:
    return bool(field.metadata.get("fitted")) and "slots" not in field.metadata


def history_bytes(state: State) -> int:
    """What the users' histories hold now."""
    arrays = state.history_arrays()
    return int(arrays["users"].itemsize * len(state.catalogue.users) + arrays["pool"].itemsize * arrays["size"][1])
