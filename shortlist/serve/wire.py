"""Bodies of the HTTP interface, typed: what clients send and get. The fields of events and requests that depend on the bundle (context
columns, kinds of events) are made when the service starts, so that the OpenAPI document says what this service takes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from shortlist.serve.ask import EXCLUDED, MOST
from shortlist.serve.http import identifier
from shortlist.serve.told import LONGEST

EVENTS = 1000  # events of a batch
ROWS = 1000  # items or users of a batch
CURSOR = 64 * 1024  # letters of a cursor

Id = Annotated[str, Meta(max_length=LONGEST)] | int
Value = str | int | float | bool | None
Deadline = Annotated[float, Meta(gt=0, le=60_000)]  # milliseconds
Key = Annotated[str, Meta(min_length=1, max_length=200)]


class Item(Struct, omit_defaults=True):
    """An item of an answer. score: of the last ranker; propensity: its probability at its place given what stands above it, where a rule
    explores; why: where it came from, if asked for."""

    item_id: str | int
    score: float | None
    propensity: float | UnsetType = UNSET
    why: dict[str, Any] | UnsetType = UNSET


class Answer(Struct):
    """An answer. cursor: asks for the next page, null at the end. degraded: what this answer had to do without. bundle: what made
    it. took_ms: inside the service."""

    request_id: str
    items: list[Item]
    cursor: str | None
    variant: str
    bundle: str
    degraded: list[str]
    took_ms: float


class LeftOut(Struct):
    """An item that is not ranked, and why."""

    item_id: str | int
    reason: str


class Ranked(Struct):
    """The given items in order. request_id: events name it; the rest as for Answer."""

    request_id: str
    user_id: str | int | None
    items: list[Item]
    left_out: list[LeftOut]
    variant: str
    bundle: str
    degraded: list[str]
    took_ms: float


class AlikeItem(Struct):
    """An item like another. sources: those that found it."""

    item_id: str | int
    score: float
    sources: list[str]


class Alike(Struct):
    """Items like one. request_id: events name it; the rest as for Answer."""

    request_id: str
    item_id: str | int
    items: list[AlikeItem]
    variant: str
    bundle: str
    degraded: list[str]
    took_ms: float


class Accepted(Struct):
    """accepted: how many events are durable now, 0 for a batch that was there already. token: hand it in with a later request, and that
    request knows these events, whichever worker answers it."""

    accepted: int
    duplicate: bool
    token: int


class Changed(Struct):
    """How many rows were taken in; token: see events."""

    changed: int
    token: int


class ItemIds(Struct, forbid_unknown_fields=True):
    """Items by id."""

    item_ids: Annotated[list[Id], Meta(min_length=1, max_length=ROWS)]


class Rows(Struct, forbid_unknown_fields=True):
    """Rows with their id and attributes, which must be columns of the bundle."""

    rows: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=ROWS)]


class Did(Struct):
    """One event of a user's history."""

    item_id: str | int
    event: str
    time: int
    value: float | None


class User(Struct):
    """What is known of a user. known: does the bundle or the log name them; history: the newest events, newest first."""

    user_id: str | int
    known: bool
    attributes: dict[str, Any]
    history: list[Did]


class Erased(Struct):
    """in_bundle: the bundle was fitted with this user's past; fit it again to be rid of what it learned. token: see events."""

    erased: bool
    in_bundle: bool
    token: int


class Health(Struct):
    """The process is alive."""

    status: str


class Ready(Struct):
    """Is this worker warm and at the end of the log?"""

    ready: bool
    bundles: dict[str, str]
    position: int
    behind: int
    problem: str


class Standing(Struct):
    """What a worker holds. position: of the log; events: folded in, those of the bundle included."""

    bundle: str
    position: int
    events: int
    digest: str


def bodies(
    kinds: Iterable[str], context: Iterable[str], words: Iterable[str], surfaces: Iterable[str]
) -> dict[str, type[Struct]]:
    """The types that depend on the bundles: `Recommend`, `Rank`, `Similar`, `Event`, `Events`; the same for the same vocabulary. kinds: of
    events; context: names of the context that requests may carry; words: context columns that events may carry; surfaces: names."""
    return _bodies(tuple(kinds), tuple(context), tuple(words), tuple(surfaces))


@lru_cache(maxsize=8)
def _bodies(
    kinds: tuple[str, ...], context: tuple[str, ...], words: tuple[str, ...], surfaces: tuple[str, ...]
) -> dict[str, type[Struct]]:
    names, known = list(context), list(kinds)
    surface = Literal[tuple(surfaces)]  # type: ignore[valid-type]
    kind: Any = Literal[tuple(known)] if known else str
    # A context value that is a text or a number; which of them a column holds is checked with the request.
    made = msgspec.defstruct(
        "Context",
        [(identifier(name), Value, field(default=None, name=name)) for name in names],
        forbid_unknown_fields=True, omit_defaults=True,
    )  # fmt: skip
    recommend = msgspec.defstruct(
        "Recommend",
        [
            ("user_id", Id | None, None),
            ("k", Annotated[int, Meta(ge=1, le=MOST)] | None, None),
            ("surface", surface | None, None),
            ("time", str | int | None, None),
            ("context", made | None, None),
            ("exclude", Annotated[list[Id], Meta(max_length=EXCLUDED)] | None, None),
            ("filter", dict[str, Any] | None, None),
            ("cursor", Annotated[str, Meta(max_length=CURSOR)] | None, None),
            ("explain", bool, False),
            ("shown", bool, True),
            ("deadline_ms", Deadline | None, None),
            ("token", Annotated[int, Meta(ge=0)] | None, None),
        ],
        forbid_unknown_fields=True, omit_defaults=True,
    )  # fmt: skip
    event = msgspec.defstruct(
        "Event",
        [
            ("user_id", Id),
            ("item_id", Id),
            ("event", kind if len(known) != 1 else kind | None, *(() if len(known) != 1 else (None,))),
            ("time", str | int | None, None),
            ("value", float | None, None),
            ("request_id", Annotated[str, Meta(max_length=LONGEST)] | None, None),
            ("position", Annotated[int, Meta(ge=0, lt=2**31)] | None, None),
            ("context", dict[str, Value] | None, None),
            *((identifier(name), Value, field(default=None, name=name)) for name in dict.fromkeys([*words, *names])),
        ],
        forbid_unknown_fields=True, omit_defaults=True,
    )  # fmt: skip
    events = msgspec.defstruct(
        "Events",
        [("events", Annotated[list[event], Meta(min_length=1, max_length=EVENTS)]), ("key", Key | None, None)],  # type: ignore[valid-type]
        forbid_unknown_fields=True, omit_defaults=True,
    )  # fmt: skip
    shared: list[Any] = [
        ("user_id", Id | None, None),
        ("k", Annotated[int, Meta(ge=1, le=MOST)] | None, None),
        ("surface", surface | None, None),
        ("time", str | int | None, None),
        ("context", made | None, None),
        ("shown", bool, True),
        ("deadline_ms", Deadline | None, None),
    ]
    listed = Annotated[list[Id], Meta(min_length=1, max_length=MOST)]
    rank = msgspec.defstruct(
        "Rank",
        [("items", listed), *shared],
        forbid_unknown_fields=True,
        omit_defaults=True,
    )
    similar = msgspec.defstruct(
        "Similar",
        [
            ("item_id", Id), ("exclude", Annotated[list[Id], Meta(max_length=EXCLUDED)] | None, None), ("filter", dict[str, Any] | None, None), *shared,
        ],
        forbid_unknown_fields=True, omit_defaults=True,
    )  # fmt: skip
    return {"Recommend": recommend, "Event": event, "Events": events, "Rank": rank, "Similar": similar}
