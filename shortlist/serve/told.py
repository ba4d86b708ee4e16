"""Events as clients send them: checked, made into columns for the log, and from there into codes for the state.

Checking and giving codes are two steps: whoever receives a batch checks it, and everybody who folds the log gives codes in log order,
so that all workers, and a replay, hold the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


def checked(events: Events, catalogues: Sequence[Catalogue], clock: Callable[[Any, str], int]) -> Events:
    """The same with event kinds and times filled in, so that a bad batch changes nothing: DataError names the first bad event. catalogues: of
    the bundles that will fold it; an event is good if one of them can hold it (the others leave it out). clock: a given time, or None, and a
    place for messages, as unix seconds."""
    kinds = list(dict.fromkeys(str(kind) for each in catalogues for kind in each.kinds.series().to_list()))
    only = kinds[0] if len(kinds) == 1 else None
    events.event = [only if kind is None else kind for kind in events.event]
    refused = {i: [why] for i, why in _refused(events, catalogues[0]).items()}
    for other in catalogues[1:] if refused else ():
        others = _refused(events, other)
        refused = {i: [*why, others[i]] for i, why in refused.items() if i in others}
    if refused:
        first = min(refused)
        raise DataError(f"events[{first}]: {'; or, of another surface: '.join(dict.fromkeys(refused[first]))}")
    for i, value in enumerate(events.value):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST
        ):
            raise DataError(f"events[{i}]: value must be a finite number, not {value!r}")
    events.time = [clock(at, f"events[{i}]") for i, at in enumerate(events.time)]
    for i, request in enumerate(events.request_id):
        if request is not None and (not is_id(request) or len(str(request)) > LONGEST):
            raise DataError(f"events[{i}]: request_id must be the id of an answer, not {str(request)[:80]!r}")
    for i, place in enumerate(events.position):
        if place is not None and (not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < 2**31):
            raise DataError(f"events[{i}]: position must be a place on the slate, not {place!r}")
    return events


def _refused(events: Events, catalogue: Catalogue) -> dict[int, str]:
    """The events that a bundle cannot hold, each with the first reason."""
    found = dict(_ids("user_id", events.user_id, catalogue.users.ids))
    found = {**dict(_ids("item_id", events.item_id, catalogue.items.ids)), **found}
    own = catalogue.kinds
    known = {kind for kind in set(map(_hashable, events.event)) if isinstance(kind, str) and own.code(kind) >= 0}
    for i, kind in enumerate(events.event):
        if _hashable(kind) not in known:
            found.setdefault(i, f"unknown event {kind!r}; choices: {choices(own.series().to_list())}")
    for name, values in events.context.items():
        vocabulary = catalogue.context.get(name)
        if vocabulary is not None:
            found = {**dict(_ids(name, values, vocabulary, optional=True)), **found}
    return found


def _ids(key: str, names: Sequence[Any], own: Vocabulary, optional: bool = False) -> Iterator[tuple[int, str]]:
    """What is no id, text where the data have integers, and what cannot be stored: its place, and why it is refused."""
    integers = not own.is_text and len(own) > 0
    for i, name in enumerate(names):
        if type(name) is str and not integers and len(name) <= LONGEST:  # nearly all
            continue
        if name is None and optional:
            continue
        if not is_id(name):
            kind = "text or a whole number" if optional else "an id"
            yield i, f"{key} must be {kind}, not {name!r}"
        elif why := _unusable(name, own):
            yield i, f"{key} {why}"


def usable(name: Id, owns: Sequence[Vocabulary], place: str) -> None:
    """DataError for an id that none of these vocabularies, of the bundles that are served, can hold."""
    why = [_unusable(name, own) for own in owns]
    if all(why):
        raise DataError(f"{place} {why[0]}")


def _unusable(name: Id, own: Vocabulary) -> str:
    """Why a vocabulary cannot hold an id; "" where it can."""
    if isinstance(name, str) and len(name) > LONGEST:
        return f"is longer than {LONGEST} letters"
    like = own.like(name)
    if not own.is_text and len(own) > 0 and isinstance(like, str):
        return f"{name!r} is text, but the ids of this bundle are integers"
    if isinstance(like, int) and not -(2**63) <= like < 2**63:
        return f"{name!r} is too large for an id"
    return ""


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
