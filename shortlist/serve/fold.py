"""Folding the log: entries, in order, into a state and its catalogue. Every worker, a restart and a replay do this and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shortlist.core.batch import Array, Columns
from shortlist.data import upsert
from shortlist.data.catalogue import Table
from shortlist.data.vocabulary import Id
from shortlist.serve import entry
from shortlist.serve.eventlog.codec import decode
from shortlist.serve.eventlog.contract import EventLog, Stored
from shortlist.serve.told import coded, fits
from shortlist.state.state import State

DATE = "available_from"
DATES = (DATE, "available_until")
CATALOGUE = (entry.ITEMS, entry.ITEMS_GONE)
PIECE = 2000  # entries of the log that are read at a time
FOLDED = (entry.EVENTS, entry.ITEMS, entry.ITEMS_GONE, entry.USERS, entry.ERASED)  # and SERVED, where impressions count


def fold(
    state: State,
    entries: Sequence[Stored],
    impression: str = "",
    changed: Callable[[Array], None] | None = None,
    erased: Callable[[entry.Erased], None] | None = None,
) -> None:
    """Fold entries in, in log order. impression: the event kind that a served answer is an event of, "" = it is none. changed: told the
    codes of items whose attributes are new. erased: told of every erasure."""
    waiting: list[Columns] = []
    for stored in entries:
        content = decode(stored)
        if content is None:
            continue
        if stored.kind == entry.EVENTS:
            waiting.append(coded(content, state.catalogue))
        elif stored.kind == entry.SERVED:
            if impression:
                waiting.append(coded(shown(content, impression), state.catalogue))
        else:
            _apply(state, waiting)
            waiting = []
            if isinstance(content, entry.Erased):
                if erased is not None:
                    erased(content)
                continue
            codes = _change(state, stored.kind, content)
            if changed is not None and len(codes):
                changed(codes)
    _apply(state, waiting)


def shown(served: entry.Served, impression: str) -> entry.Events:
    """A served answer as the impressions that it is. That of a user without an id names nobody, and one that is not shown is seen by nobody:
    no events."""
    size = 0 if served.user_id is None or served.request.get("shown") is False else len(served.items)
    context = served.request.get("context") or {}
    return entry.Events(
        user_id=[served.user_id] * size,  # type: ignore[list-item]
        item_id=served.items[:size],
        event=[impression] * size,
        time=[served.time] * size,
        value=[None] * size,
        context={name: [value] * size for name, value in context.items() if isinstance(value, str | int)},
        request_id=[served.request_id] * size,
        position=list(range(1, size + 1)),
    )


def gone(log: EventLog, upto: int) -> list[Id]:
    """Items that were deleted by then and not put again, in the order of their deletion."""
    found: dict[str, Id] = {}
    position = 0
    while position < upto and (stored := log.read(position, PIECE, CATALOGUE)):
        position = stored[-1].position
        for each in stored:
            content = decode(each) if each.position <= upto else None
            if isinstance(content, entry.Gone):
                for name in content.ids:
                    found.pop(str(name), None)
                    found[str(name)] = name
            elif isinstance(content, entry.Rows):
                for row in content.rows:
                    found.pop(str(row["item_id"]), None)
    return list(found.values())


def hide(state: State, names: Sequence[Id]) -> None:
    """These items are not shown any more, until they are put again."""
    items = state.catalogue.items
    for name in names:
        if fits(name, items.ids):
            items.delete(items.add(name))


def _apply(state: State, parts: list[Columns]) -> None:
    """Events of several entries at once: a state is the same however a log is cut."""
    parts = [part for part in parts if len(part["time"])]
    if parts:
        state.apply({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _change(state: State, kind: int, content: entry.Rows | entry.Gone) -> Array:
    """Items and users as they come and go; the codes of items whose attributes changed."""
    catalogue = state.catalogue
    none = np.zeros(0, dtype=np.int32)
    if isinstance(content, entry.Rows):
        if kind == entry.ITEMS:
            return _upsert(catalogue.items, "item_id", content, state)
        _upsert(catalogue.users, "user_id", content, None)
        return none
    hide(state, content.ids)
    return none


def _upsert(table: Table, key: str, content: entry.Rows, state: State | None) -> Array:
    """New and changed rows. An item that nobody knew and that has no date is available from now on. What a column of this bundle cannot
    hold is passed over: it was checked against the bundle that was served then."""
    codes = []
    for row in content.rows:
        if not fits(row[key], table.ids):
            continue
        known = row[key] in table.ids
        code = table.add(row[key])
        own = {name: value for name, value in row.items() if name != key and (name in table.columns or name in DATES)}
        if state is not None:
            table.delete(code, gone=False)
            if not known and own.get(DATE) is None:
                own[DATE] = content.time
            own = {name: value for name, value in own.items() if name in table.columns or value is not None}
        upsert.put(table, code, upsert.fitting(table, own))
        codes.append(code)
    return np.array(codes, dtype=np.int32)
