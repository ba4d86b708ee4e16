"""What stands in a service's log: plain dataclasses, a batch of events as columns, so that a thousand of them are decoded at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shortlist.data.vocabulary import Id

EVENTS, SERVED, ITEMS, ITEMS_GONE, USERS, ERASED = 1, 2, 3, 4, 5, 6  # kinds of entries


@dataclass
class Events:
    """A batch of events, all columns of one length. context: the values of every context column that any of them has."""

    user_id: list[Id]
    item_id: list[Id]
    event: list[str]
    time: list[int]
    value: list[float | None]
    context: dict[str, list[Any]] = field(default_factory=dict)
    request_id: list[str | None] = field(default_factory=list)  # empty where no event has one
    position: list[int | None] = field(
        default_factory=list
    )  # place on the slate, 1 = first; empty where no event has one


@dataclass
class Served:
    """One answer that was given, with what a model can learn from and what is needed to compute it again.

    after: the log position that it was answered at: every entry up to it was folded in. request: the request, nothing left to be guessed
    (time, context, k, exclude, filter; `shown` = false: nobody sees it, so it is no impression; of `rank` its items, of `similar` its item_id). items, scores, sources, propensity: of what was shown, best first; sources are the names
    of those that found the item, joined by |. rows: how many the last ranker scored; columns: a digest of each column of them, and names: one
    of the columns' names (see `digest`); empty where they were not taken."""

    request_id: str
    surface: str
    bundle: str
    variant: str
    user_id: Id | None
    time: int
    after: int
    request: dict[str, Any]
    items: list[Id]
    scores: list[float]
    sources: list[str]
    propensity: list[float]
    degraded: list[str] = field(default_factory=list)
    rows: int = 0
    columns: bytes = b""
    names: int = 0
    call: str = "recommend"  # or rank, similar


@dataclass
class Rows:
    """Items or users with their attributes, as given: `item_id` or `user_id` and columns of the bundle. time: by the service's clock."""

    rows: list[dict[str, Any]]
    time: int


@dataclass
class Gone:
    """Ids that must not be shown any more (items). time: by the service's clock."""

    ids: list[Id]
    time: int


@dataclass
class Erased:
    """Users whose data go: each as a keyed hash of the id, because the id itself must not be kept; none: what was asked for up to here is
    done. time: by the service's clock."""

    hashes: list[str]
    time: int
