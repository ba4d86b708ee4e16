"""A request as it is asked: checked, and turned into a batch of one with what it does not allow."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shortlist.core.batch import Array, Batch, Columns
from shortlist.core.contracts import Mask
from shortlist.core.errors import ConfigError, choices
from shortlist.core.units import moment
from shortlist.data.catalogue import Catalogue, Column, Table
from shortlist.serve.told import is_id, seconds, word

MOST = 1000  # items in one answer
EXCLUDED = 10_000  # items that a request may rule out by id
ASKED = ("user_id", "k", "time", "context", "exclude", "filter", "explain", "shown")  # fields of a request
RANGE = ("min", "max", "not")  # what a filter may say of a column besides its values


@dataclass
class Asked:
    """A batch of one request; k: items wanted; exclude: codes of items that it does not want; only: (items,) bool, what its filter
    and the catalogue allow, None = everything."""

    batch: Batch
    k: int
    exclude: Array
    only: Array | None = None
    request: dict[str, Any] = field(default_factory=dict)  # the same with nothing left to be guessed: for records

    def ban(self, pushed: bool = False) -> Mask | None:
        """What the pipeline is told not to search for. pushed: the excluded items, too."""
        if pushed and len(self.exclude):
            return Mask(self.only, np.array([0, len(self.exclude)], dtype=np.int64), self.exclude)
        return None if self.only is None else Mask(self.only)


def asked(
    request: Mapping[str, Any], catalogue: Catalogue, names: Sequence[str], k: int, now: Callable[[], int],
    filters: Filters | None = None,
) -> Asked:  # fmt: skip
    """A request, checked. names: its context columns; k: items when it does not say. ConfigError for a bad one."""
    unknown = set(request) - set(ASKED)
    if unknown:
        raise ConfigError(f"request: unknown field {sorted(map(str, unknown))[0]!r}; fields: {choices(ASKED)}")
    k = request.get("k", k)
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= MOST:
        raise ConfigError(f"request: k must be a whole number from 1 to {MOST}, not {k!r}")
    user, context, exclude = request.get("user_id"), request.get("context"), request.get("exclude")
    if user is not None and not is_id(user):
        raise ConfigError(f"request: user_id must be an id, not {user!r}")
    if context is not None and not isinstance(context, Mapping):
        raise ConfigError(f"request: context must be a table of values by name, not {context!r}")
    if exclude is not None and not isinstance(exclude, list | tuple | set):
        raise ConfigError(f"request: exclude must be a list of item ids, not {exclude!r}")
    if exclude is not None and len(exclude) > EXCLUDED:
        raise ConfigError(f"request: exclude has {len(exclude)} items; at most {EXCLUDED}")
    shown = request.get("shown")
    if shown is not None and not isinstance(shown, bool):
        raise ConfigError(f"request: shown must be true or false, not {shown!r}")
    banned = list(exclude or [])
    codes = catalogue.items.ids.codes(banned) if banned else np.zeros(0, dtype=np.int32)
    wanted = request.get("filter")
    only = allowed(catalogue.items, wanted, filters)
    batch = many([user], seconds(request.get("time"), now, "request", ConfigError), context or {}, catalogue, names)
    plain = {"user_id": user, "time": int(batch.time[0]), "context": dict(context or {}), "k": k, "exclude": banned}
    more = {**({"filter": wanted} if wanted else {}), **({"shown": False} if shown is False else {})}
    return Asked(batch, k, codes[codes >= 0], only, {**plain, **more})


def many(
    users: Sequence[Any], time: int, context: Mapping[str, Any], catalogue: Catalogue, names: Sequence[str]
) -> Batch:
    """Requests at one moment as a batch: outside ids to codes, -1 where unknown."""
    for name in context:
        if name not in names:
            raise ConfigError(f"request: unknown context {name!r}; choices: {choices(names)}")
    codes = np.array([-1 if user is None else catalogue.users.ids.code(user) for user in users], dtype=np.int32)
    columns: Columns = {}
    for name in names:
        columns[name] = np.repeat(_context(catalogue, name, context.get(name)), len(codes))
    return Batch.of(codes, np.array(time, dtype=np.int64), **columns)


def _context(catalogue: Catalogue, name: str, value: Any) -> Array:
    """One context value as (1,): a category's code (-1 = unknown or not given), or a number (NaN = not given)."""
    vocabulary = catalogue.context.get(name)
    if vocabulary is not None:
        return np.array([-1 if value is None else vocabulary.code(word(value))], dtype=np.int32)
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise ConfigError(f"request: context {name!r} must be a number, not {value!r}")
    return np.array([np.nan if value is None else value], dtype=np.float32)


class Filters:
    """The masks of the newest filters that were asked for: a surface asks for the same few again and again."""

    def __init__(self, room: int = 64) -> None:
        self.room = room
        self._held: OrderedDict[tuple[str, int, int], Array] = OrderedDict()

    def mask(self, wanted: Mapping[str, Any], items: Table) -> Array:
        """(items,) bool."""
        key = (json.dumps(wanted, sort_keys=True, default=str), items.version, len(items))
        found = self._held.get(key)
        if found is None:
            found = self._held[key] = matching(wanted, items)
            if len(self._held) > self.room:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return found


def allowed(items: Table, wanted: Any, filters: Filters | None = None) -> Array | None:
    """(items,) bool: what is not deleted and fits the filter; None = everything."""
    if wanted is not None and not isinstance(wanted, Mapping):
        raise ConfigError(f"request: filter must be a table of values by item column, not {wanted!r}")
    there = items.there()
    if not wanted:
        return there
    mask = filters.mask(wanted, items) if filters is not None else matching(wanted, items)
    return mask if there is None else mask & there


def matching(wanted: Mapping[str, Any], items: Table) -> Array:
    """(items,) bool: rows that fit every entry of a filter. By column: a value, a list of values (any of them), or a table with
    `min` and `max` (numbers, moments; inclusive) or `not` (a value or a list). Missing values fit nothing but `not`."""
    size = len(items)
    keep = np.ones(size, dtype=bool)
    for name, want in wanted.items():
        column = items.columns.get(name)
        if column is None or column.kind == "vector":
            fit = [each for each in items.columns if items.columns[each].kind != "vector"]
            raise ConfigError(f"request: filter: unknown column {name!r}; columns: {choices(fit)}")
        keep &= _fits(name, column, want, items, size)
    return keep


def _fits(name: str, column: Column, want: Any, items: Table, size: int) -> Array:
    if isinstance(want, Mapping):
        for key in want:
            if key not in RANGE:
                raise ConfigError(f"request: filter: {name}: unknown {key!r}; choices: {choices(RANGE)}")
        keep = np.ones(size, dtype=bool)
        if "not" in want:
            keep &= ~_fits(name, column, want["not"], items, size)
        if "min" in want or "max" in want:
            if column.kind not in ("number", "moment"):
                raise ConfigError(f"request: filter: {name} is a {column.kind} column, which has no min and max")
            values = column.values[:size]
            keep &= values >= _bound(name, column, want["min"]) if "min" in want else values == values
            keep &= values <= _bound(name, column, want["max"]) if "max" in want else True
            if column.kind == "moment":
                keep &= values != column.values[-1]
        return keep
    listed = want if isinstance(want, list | tuple) else [want]
    if len(listed) > MOST:
        raise ConfigError(f"request: filter: {name} has {len(listed)} values; at most {MOST}")
    if column.kind in ("number", "moment"):
        numbers = np.array([_bound(name, column, value) for value in listed], dtype=column.values.dtype)
        return np.isin(column.values[:size], numbers)
    for value in listed:
        if not isinstance(value, str | int | bool):
            raise ConfigError(f"request: filter: {name} must be text or a whole number, not {value!r}")
    assert column.vocabulary is not None
    codes = column.vocabulary.codes([word(value) for value in listed])
    codes = codes[codes >= 0]
    if column.kind == "category":
        return np.isin(column.values[:size], codes)
    offsets, entries = items.tags(name, np.arange(size, dtype=np.int32))
    hits = np.concatenate([[0], np.cumsum(np.isin(entries, codes))])
    return np.asarray(hits[offsets[1:]] > hits[offsets[:-1]])


def _bound(name: str, column: Column, value: Any) -> float | int:
    """A number or a moment of a filter."""
    if column.kind == "moment":
        try:
            return moment(value)
        except ConfigError as error:
            raise ConfigError(f"request: filter: {name}: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ConfigError(f"request: filter: {name}: must be a number, not {value!r}")
    return float(value)
