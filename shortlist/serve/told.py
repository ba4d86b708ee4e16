"""Events as clients send them: checked, made into columns for the log, and from there into codes for the state.

Checking and giving codes are two steps: whoever receives a batch checks it, and everybody who folds the log gives codes in log order,
so that all workers, and a replay, hold the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from shortlist.core.batch import Columns
from shortlist.core.errors import ConfigError, DataError, choices
from shortlist.core.units import moment
from shortlist.data.catalogue import Catalogue
from shortlist.data.schema import MILLISECONDS, OPTIONAL, REQUIRED
from shortlist.data.vocabulary import Id, Vocabulary
from shortlist.serve.entry import Events

LARGEST = float(np.finfo(np.float32).max)  # values are kept as float32
LONGEST = 1000  # letters of an id


def columns(events: Sequence[Mapping[str, Any]], catalogue: Catalogue, context: Iterable[str]) -> Events:
    """Events as columns, as they were sent; not checked yet, but for unknown fields (DataError). context: what requests may carry."""
    names = list(dict.fromkeys([*catalogue.context, *context]))
    fields = {*REQUIRED, *OPTIONAL, *names}
    for i, event in enumerate(events):
        for key in event:
            if key not in fields:
                raise DataError(
                    f"events[{i}]: unknown field {key!r}; fields: {choices([*REQUIRED, *OPTIONAL, *names])}"
                )
    given = {name: [word(event.get(name)) for event in events] for name in names}
    return Events(
        user_id=[event.get("user_id") for event in events],  # type: ignore[misc]
        item_id=[event.get("item_id") for event in events],  # type: ignore[misc]
        event=[event.get("event") for event in events],  # type: ignore[misc]
        time=[event.get("time") for event in events],  # type: ignore[misc]
        value=[event.get("value") for event in events],
        context={name: values for name, values in given.items() if any(value is not None for value in values)},
        request_id=_any([event.get("request_id") for event in events]),
        position=_any([event.get("position") for event in events]),
    )


def checked(events: Events, catalogue: Catalogue, clock: Callable[[Any, str], int]) -> Events:
    """The same with event kinds and times filled in, so that a bad batch changes nothing: DataError names the first bad event. clock: a
    given time, or None, and a place for messages, as unix seconds."""
    for key, ids, own in (
        ("user_id", events.user_id, catalogue.users.ids),
        ("item_id", events.item_id, catalogue.items.ids),
    ):
        _ids(key, ids, own)
    kinds = catalogue.kinds
    only = str(kinds.name(0)) if len(kinds) == 1 else None
    events.event = [only if kind is None else kind for kind in events.event]
    known = {kind for kind in set(map(_hashable, events.event)) if isinstance(kind, str) and kinds.code(kind) >= 0}
    for i, kind in enumerate(events.event):
        if _hashable(kind) not in known:
            raise DataError(f"events[{i}]: unknown event {kind!r}; choices: {choices(kinds.series().to_list())}")
    for i, value in enumerate(events.value):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST
        ):
            raise DataError(f"events[{i}]: value must be a finite number, not {value!r}")
    events.time = [clock(at, f"events[{i}]") for i, at in enumerate(events.time)]
    for name, values in events.context.items():
        vocabulary = catalogue.context.get(name)
        if vocabulary is not None:
            _ids(name, values, vocabulary, optional=True)
    for i, request in enumerate(events.request_id):
        if request is not None and (not is_id(request) or len(str(request)) > LONGEST):
            raise DataError(f"events[{i}]: request_id must be the id of an answer, not {str(request)[:80]!r}")
    for i, place in enumerate(events.position):
        if place is not None and (not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < 2**31):
            raise DataError(f"events[{i}]: position must be a place on the slate, not {place!r}")
    return events


def _ids(key: str, names: Sequence[Any], own: Vocabulary, optional: bool = False) -> None:
    """Refuse what is no id, text where the data have integers, and what cannot be stored."""
    integers = not own.is_text and len(own) > 0
    for i, name in enumerate(names):
        if type(name) is str and not integers and len(name) <= LONGEST:  # nearly all
            continue
        if name is None and optional:
            continue
        if not is_id(name):
            kind = "text or a whole number" if optional else "an id"
            raise DataError(f"events[{i}]: {key} must be {kind}, not {name!r}")
        usable(name, own, f"events[{i}]: {key}")


def usable(name: Id, own: Vocabulary, place: str) -> None:
    """DataError for an id that these data cannot hold."""
    if isinstance(name, str) and len(name) > LONGEST:
        raise DataError(f"{place} is longer than {LONGEST} letters")
    like = own.like(name)
    if not own.is_text and len(own) > 0 and isinstance(like, str):
        raise DataError(f"{place} {name!r} is text, but the ids of this bundle are integers")
    if isinstance(like, int) and not -(2**63) <= like < 2**63:
        raise DataError(f"{place} {name!r} is too large for an id")


def coded(events: Events, catalogue: Catalogue) -> Columns:
    """Columns for the state; new users, items and context values get the next free codes. Events that these data cannot hold (a kind that
    they do not have, text where ids are integers: the log may serve several bundles) are left out."""
    fit = [
        fits(user, catalogue.users.ids) and fits(item, catalogue.items.ids) and kind in catalogue.kinds
        for user, item, kind in zip(events.user_id, events.item_id, events.event, strict=True)
    ]
    rows = range(len(fit)) if all(fit) else [i for i, each in enumerate(fit) if each]
    users, items = catalogue.users, catalogue.items
    columns: Columns = {
        "user": np.array([users.add(events.user_id[i]) for i in rows], dtype=np.int32),
        "item": np.array([items.add(events.item_id[i]) for i in rows], dtype=np.int32),
        "time": np.array([events.time[i] for i in rows], dtype=np.int64),
        "kind": np.array([catalogue.kinds.code(events.event[i]) for i in rows], dtype=np.int8),
        "value": np.array([np.nan if events.value[i] is None else events.value[i] for i in rows], dtype=np.float32),
    }
    for name, vocabulary in catalogue.context.items():
        given = events.context.get(name)
        codes = np.full(len(rows), -1, dtype=np.int32)
        if given is not None:
            for j, i in enumerate(rows):
                if given[i] is not None and fits(given[i], vocabulary):
                    codes[j] = vocabulary.add(given[i])
        columns[name] = codes
    return columns


def fits(name: Id, own: Vocabulary) -> bool:
    """Can the vocabulary hold it?"""
    if own.is_text or not len(own):
        return True
    like = own.like(name)
    return isinstance(like, int) and -(2**63) <= like < 2**63


def seconds(at: Any, now: Callable[[], int], where: str, kind: type[ConfigError | DataError]) -> int:
    """Unix seconds of a given time; now when there is none."""
    try:
        found = now() if at is None else moment(at)
    except ConfigError as error:
        raise kind(f"{where}: {error}") from None
    if abs(found) >= MILLISECONDS:
        raise kind(f"{where}: time {at!r} is not in seconds: it looks like milliseconds")
    return found


def is_id(value: object) -> bool:
    """Is it text or a whole number?"""
    return isinstance(value, str | int | np.integer) and not isinstance(value, bool)


def word(value: object) -> object:
    """A context value as a table would hold it: a truth value is the text that a column of them is read as."""
    return str(value).lower() if isinstance(value, bool) else value


def _any(values: list[Any]) -> list[Any]:
    """The column, or none where it says nothing."""
    return values if any(value is not None for value in values) else []


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str) else None
