"""Forms: how the key of an aggregate is made of an event's or a candidate's columns. Worked out once per state, not per request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numba import njit

from shortlist.core.batch import Array
from shortlist.core.errors import ConfigError, choices
from shortlist.data.catalogue import Catalogue, Column, Table
from shortlist.state.keys import joined

CLOCK = {"hour": (3600, 24, 0), "weekday": (86400, 7, 3)}  # unit, cycle, shift: 1 January 1970 was a Thursday


class Part(NamedTuple):
    """One column of a key. title: item, user, last, or "" for context and clock."""

    name: str
    title: str
    column: Column | None = None  # an attribute of the item or user
    table: Table | None = None
    attribute: str = ""
    clock: bool = False

    def size(self, catalogue: Catalogue) -> int:
        """How many values the column has so far."""
        if self.column is not None:
            return len(self.column.vocabulary or ())
        if self.title:
            return len(catalogue.users if self.title == "user" else catalogue.items)
        return CLOCK[self.name][1] if self.clock else len(catalogue.context[self.name])

    def entries(self) -> float:
        """How many of its values a thing has on average: more than one only in lists, never taken for less."""
        if self.column is None or self.column.codes is None or self.table is None:
            return 1.0
        return max(len(self.column.codes) / max(len(self.table), 1), 1.0)

    def codes(self, things: Mapping[str, Array], context: Mapping[str, Array], time: Array, size: int) -> Array:
        """(size,) codes, -1 = missing. things: item, user and last codes. Not for lists."""
        if self.column is not None:
            values: Array = self.column.values[things[self.title]]
            return values
        if self.title:
            return things[self.title]
        if self.clock:
            unit, cycle, shift = CLOCK[self.name]
            return (time // unit + shift) % cycle
        return context[self.name] if self.name in context else np.full(size, -1, dtype=np.int32)

    def slots(self, own: Array, context: Mapping[str, Array], time: Array) -> tuple[Array, Array | None]:
        """int64 codes where this is the whole key, -1 = missing; of a column of lists those of all entries, and where each thing's
        begin. own: the codes of what the column is of."""
        if self.column is not None and self.table is not None:
            if self.column.kind == "tags":
                offsets, entries = self.table.tags(self.attribute, own)
                return entries.astype(np.int64), offsets
            codes = np.empty(len(own), dtype=np.int64)
            _coded(self.column.values, own, codes)
            return codes, None
        return self.codes({self.title: own}, context, time, len(own)).astype(np.int64), None


class Form:
    """The parts of a key, and what they depend on."""

    def __init__(self, by: tuple[str, ...], catalogue: Catalogue, place: str, number: int = -1) -> None:
        """number: a state's own number of the form."""
        self.number = number
        self.parts = tuple(_part(name, catalogue, place) for name in by)
        lists = [i for i, part in enumerate(self.parts) if part.column is not None and part.column.kind == "tags"]
        if len(lists) > 1:
            named = choices(self.parts[i].name for i in lists)
            raise ConfigError(f"{place}: only one column of a key may hold lists; these do: {named}")
        self.lists = lists[0] if lists else -1
        self.of_item = any(part.title == "item" for part in self.parts)  # else the same for all candidates of a request
        self.of_request = any(part.title != "item" for part in self.parts)
        self.of_last = any(part.title == "last" for part in self.parts)
        self.single = self.parts[0] if len(by) == 1 else None
        self.is_pair = len(by) == 2 and self.lists < 0 and self.of_item and self.of_request

    def keys(
        self, things: Mapping[str, Array], context: Mapping[str, Array], time: Array, size: int
    ) -> tuple[Array, Array | None]:
        """(size,) int64 keys; where a column holds lists, one per entry, and the thing that each is of."""
        if self.lists < 0:
            return joined([part.codes(things, context, time, size) for part in self.parts], size), None
        own = self.parts[self.lists]
        assert own.table is not None
        offsets, entries = own.table.tags(own.attribute, things[own.title])
        rows = np.repeat(np.arange(size), np.diff(offsets))
        codes = [entries if part is own else part.codes(things, context, time, size)[rows] for part in self.parts]
        return joined(codes, len(rows)), rows


@njit(cache=True, nogil=True)
def _coded(values: Array, codes: Array, out: Array) -> None:
    for i in range(len(codes)):
        out[i] = values[codes[i] if codes[i] < len(values) else -1]  # the last row is the missing one


def _part(name: str, catalogue: Catalogue, place: str) -> Part:
    """A key's column, or a ConfigError that names the choices."""
    title, _, attribute = name.partition(".")
    if attribute and title in ("item", "user", "last"):
        table = catalogue.users if title == "user" else catalogue.items
        column = table.column(attribute, place)
        fit = ("category", "tags") if title != "last" else ("category",)
        if column.kind not in fit:
            raise ConfigError(
                f"{place}: key {name!r} is a {column.kind} column; columns that may be keys: {choices(table.of_kind(*fit))}"
            )
        return Part(name, title, column, table, attribute)
    if name in ("item", "user", "last"):
        return Part(name, name)
    if name in CLOCK and name not in catalogue.context:  # a context column of that name is what the user means
        return Part(name, "", clock=True)
    if name not in catalogue.context:
        raise ConfigError(
            f"{place}: unknown key {name!r}; choices: item, user, last, item.<attribute>, user.<attribute>, "
            f"last.<attribute>, hour, weekday, context columns: {choices(catalogue.context)}"
        )
    return Part(name, "")
