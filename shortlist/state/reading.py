"""Readings: how aggregates are read for a batch. One request at a time, all that requests ask for are read in one pass, key by key,
into one block: what is worked out for a key is worked out once, and what depends on the request alone is read once and repeated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import Fold
from shortlist.state.compiled import (
    CONTEXT,
    ITEM,
    KEY,
    LAST,
    OP,
    OPS,
    PARTS,
    TABLE,
    USER,
    Entry,
    address,
    averaged,
    described,
    run,
)
from shortlist.state.form import Form, Part
from shortlist.state.keys import Codes, Hashed
from shortlist.state.view import View, repeat, spread


class Reader(NamedTuple):
    """How an aggregate is read, worked out once: into (size, r) of any float type."""

    fill: Callable[[Array, Array, int, Array], None]
    size: int
    form: Form
    table: Codes | Hashed
    entry: Any  # the fold's, None where there is no compiled one

    @classmethod
    def of(cls, fold: Fold, form: Form, table: Codes | Hashed) -> Reader:
        """The reader of a fold."""
        return cls(_filling(fold), len(fold.readings()), form, table, _entry_of(fold))

    def read(self, view: View, batch: Batch, now: int) -> Array:
        """(size, m) float32, of this aggregate alone."""
        slots, runs, time = view.slots(batch, self.form, self.table)
        out: Array
        if runs is None:
            out = np.empty((self.size, len(slots)), dtype=np.float32)
            self.fill(slots, time, now, out)
        else:
            every = np.empty((self.size, len(slots)))
            self.fill(slots, time, now, every)
            out = np.empty((self.size, len(runs) - 1), dtype=np.float32)
            averaged(every, runs, out)
        return out if self.form.of_item else spread(out, batch)


class Asked(NamedTuple):
    """An aggregate that single requests ask for, and which rows of the block its readings become."""

    name: str
    reader: Reader
    first: int
    last: int


class Pass:
    """All aggregates that single requests have asked for so far, and how they are read. A part that outlasts its budget may still be
    reading when the next one asks, so the way to read is exchanged as a whole."""

    def __init__(self) -> None:
        self._readers: dict[str, Reader] = {}
        self._program: Program | None = None

    def add(self, name: str, reader: Reader) -> None:
        """From the next request on, read this one with the others."""
        self._readers = {**self._readers, name: reader}
        self._program = None

    def read(self, view: View, batch: Batch, now: int) -> None:
        """Read everything for a batch of one request into `view.read`."""
        program = self._program
        if program is None or not program.holds():
            program = self._program = Program(self._readers)
        program.read(view, batch, now)


class Program:
    """The aggregates and their rows, those of the item first, those of one key side by side; and what `compiled.run` is told: the keys and
    the readings of all aggregates that give their address. It holds for as long as the arrays are where they were: they move when they
    grow."""

    def __init__(self, readers: dict[str, Reader]) -> None:
        self._asked: list[Asked] = []
        self._others: list[Asked] = []  # to be read one by one
        self._held: list[tuple[Any, str, Array]] = []
        self._told: list[Array] = []
        self._kept: list[Array] = []
        self._context: list[Part] = []  # what keys are made of besides codes of items and users
        self._last = False
        self._items = sum(
            reader.size for reader in readers.values() if reader.form.of_item
        )  # rows that are of the item
        self._size = 0
        keys: list[list[int]] = []
        ops: list[list[int]] = []
        number = -1
        for name, reader in sorted(readers.items(), key=lambda one: (not one[1].form.of_item, one[1].form.number)):
            one = Asked(name, reader, self._size, self._size + reader.size)
            self._asked.append(one)
            self._size += reader.size
            entry = self._entry(reader)
            if entry is None:
                self._others.append(one)
                continue
            if reader.form.number != number:
                number = reader.form.number
                keys.append(self._key(reader, len(ops)))
            ops.append([*entry, one.first - (0 if reader.form.of_item else self._items), reader.size])
            keys[-1][-1] = len(ops)
        self._keys = np.array(keys, dtype=np.int64).reshape(-1, KEY)
        self._ops = np.array(ops, dtype=np.int64).reshape(-1, OP)

    def holds(self) -> bool:
        """Are all arrays still where they were?"""
        return all(getattr(owner, name) is array for owner, name, array in self._held)

    def read(self, view: View, batch: Batch, now: int) -> None:
        """Everything for a batch of one request, into `view.read`."""
        out = np.empty((self._size, batch.m), dtype=np.float32)
        ones = np.empty((self._size - self._items, 1), dtype=np.float32)
        if len(self._ops):
            things = np.empty(CONTEXT - 1 + len(self._context), dtype=np.int64)
            things[0], things[1] = batch.user[0], view.last(batch)[0] if self._last else -1
            for i, part in enumerate(self._context):
                things[CONTEXT - 1 + i] = part.codes({}, batch.req, view.time, 1)[0]
            run(self._keys, self._ops, batch.item, things, view.time, now, out, ones)
        for _, reader, first, last in self._others:
            slots, runs, time = view.slots(batch, reader.form, reader.table)
            into = out[first:last] if reader.form.of_item else ones[first - self._items : last - self._items]
            if runs is None:
                reader.fill(slots, time, now, into)
            else:
                every = np.empty((reader.size, len(slots)))
                reader.fill(slots, time, now, every)
                averaged(every, runs, into)
        repeat(ones, out[self._items :])
        view.read.update({name: out[first:last] for name, _, first, last in self._asked})

    def _entry(self, reader: Reader) -> tuple[int, int] | None:
        """The addresses of a reading and of what it is told; None where it must be called from here."""
        form = reader.form
        listed = form.lists >= 0 and form.parts[form.lists].title != "item"
        if reader.entry is None or listed or len(form.parts) > PARTS:
            return None
        entry, names = reader.entry()
        fold = reader.entry.__self__
        self._kept += (arrays := [getattr(fold, name) for name in names])
        self._hold(fold, names[0])  # only what has a row per slot grows
        self._told.append(described(arrays))
        return address(entry), self._told[-1].ctypes.data

    def _key(self, reader: Reader, first: int) -> list[int]:
        """A key's row: see `compiled`."""
        form, table = reader.form, reader.table
        row = [int(form.of_item), len(form.parts), form.lists]
        for part in form.parts:
            source = {"item": ITEM, "user": USER, "last": LAST}.get(part.title)
            if source is None:
                source = CONTEXT + len(self._context)
                self._context.append(part)
            self._last |= source == LAST
            values = self._hold(part.column, "values") if part.column is not None else None
            codes = (
                self._hold(part.column, "codes") if part.column is not None and part.column.codes is not None else None
            )
            row += [source, *((0, 0) if values is None else (values.ctypes.data, len(values)))]
            row.append(0 if codes is None else codes.ctypes.data)
        row += [0] * (TABLE - len(row))
        if isinstance(table, Hashed):
            held = [self._hold(table, name) for name in ("_keys", "_places")]
            row += [*(array.ctypes.data for array in held), len(held[0])]
        row += [0] * (OPS - len(row))
        return [*row, first, first]

    def _hold(self, owner: Any, name: str) -> Array:
        array: Array = getattr(owner, name)
        if not any(owner is other and name == own for other, own, _ in self._held):
            self._held.append((owner, name, array))
        return array


def _filling(fold: Fold) -> Callable[[Array, Array, int, Array], None]:
    """A fold's `fill`, unless it has none or a class above the one that has it wrote `read` anew."""
    for cls in type(fold).__mro__:
        if "fill" in vars(cls):
            fill: Callable[[Array, Array, int, Array], None] = fold.fill  # type: ignore[attr-defined]
            return fill
        if "read" in vars(cls):
            break
    return partial(_copied, fold)


def _entry_of(fold: Fold) -> Callable[[], tuple[Entry, tuple[str, ...]]] | None:
    """A fold's `entry`, unless it has none or a class above the one that has it wrote its reading anew."""
    for cls in type(fold).__mro__:
        if "entry" in vars(cls):
            found: Callable[[], tuple[Entry, tuple[str, ...]]] = fold.entry  # type: ignore[attr-defined]
            return found
        if "fill" in vars(cls) or "read" in vars(cls):
            break
    return None


def _copied(fold: Fold, slots: Array, times: Array, now: int, out: Array) -> None:
    """What a fold without `fill` reads, into `out`."""
    out[:] = fold.read(slots, times, now)
