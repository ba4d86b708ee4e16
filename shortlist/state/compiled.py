"""Compiled reading: many aggregates of one request by one call. A call from Python costs more than to read a key's aggregate for fifty
candidates, and a set of families asks for thirty. So a fold may give the address of its reading (an `entry`), and `run` finds the
slots of every key and calls all readings one after another, in compiled code, into one block. The arithmetic is the fold's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

from shortlist.core.batch import Array
from shortlist.state.ahead import fetch
from shortlist.state.keys import find_pairs

# Of an entry: where it finds its arrays (about; the first one holds a row of 8-byte numbers per slot and moves when it grows, the others stay where
# they are), the slots and how many, the reading time, the latest event's time, where to write, and whether float64 (lists: their mean is taken
# before anything is rounded) or float32.
ENTRY = types.void(*[types.int64] * 7)
SHAPE = 3  # numbers that describe an array: address, rows, columns
PARTS = 2  # columns of a key at most
# Of a key: does it depend on the item; how many parts; which of them holds lists of the item (-1 = none). Of each part whose code it is, the
# attribute's values, address and length (0 = the code itself), of lists where each begins, and the address of their entries. The table's
# keys, places and capacity (0 = codes are slots). The first and the last operation.
ITEM, USER, LAST, CONTEXT = 0, 1, 2, 3
WIDTH = 4
PART, TABLE, OPS = 3, 3 + WIDTH * PARTS, 6 + WIDTH * PARTS
KEY = OPS + 2
OP = 4  # of an operation: the addresses of entry and description, the row where it writes, and how many

Entry = Callable[[int, int, int, int, int, int, int], None]


@cache
def address(entry: Entry) -> int:
    """Where the compiled form of an entry begins. Compiled when it is first asked for."""
    found: int = cfunc(ENTRY, cache=True)(entry).address
    return found


def described(arrays: list[Array]) -> Array:
    """(3 len(arrays),) int64: what an entry is told of contiguous arrays of one or two dimensions, which must live as long as it."""
    rows = [(array.ctypes.data, array.shape[0], array.shape[1] if array.ndim > 1 else 1) for array in arrays]
    return np.array(rows, dtype=np.int64).reshape(-1)


def _pointer_to(kind: Any) -> Any:
    @intrinsic
    def pointer(context: Any, place: Any) -> Any:
        def generate(target: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], target.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), generate

    return pointer


_float64s, _float32s = _pointer_to(types.float64), _pointer_to(types.float32)
_int64s, _int32s = _pointer_to(types.int64), _pointer_to(types.int32)


@intrinsic
def _call(context: Any, entry: Any, about: Any, slots: Any, size: Any, time: Any, now: Any, out: Any, wide: Any) -> Any:
    """Call an entry by its address."""

    def generate(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        number = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [number] * 7)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return target.get_dummy_value()

    return types.void(*[types.int64] * 8), generate


@njit(cache=True, nogil=True)
def floats(about: int, i: int) -> Any:
    """Array i of a description: (rows, columns) float64."""
    told = carray(_int64s(about), SHAPE * (i + 1))
    return carray(_float64s(told[SHAPE * i]), (told[SHAPE * i + 1], told[SHAPE * i + 2]))


@njit(cache=True, nogil=True)
def vector(about: int, i: int) -> Any:
    """Array i of a description: (rows,) float64."""
    told = carray(_int64s(about), SHAPE * (i + 1))
    return carray(_float64s(told[SHAPE * i]), told[SHAPE * i + 1])


@njit(cache=True, nogil=True)
def moments(about: int, i: int) -> Any:
    """Array i of a description: (rows,) int64."""
    told = carray(_int64s(about), SHAPE * (i + 1))
    return carray(_int64s(told[SHAPE * i]), told[SHAPE * i + 1])


@njit(cache=True, nogil=True)
def whole(about: int, i: int) -> Any:
    """Array i of a description: (rows, columns) int64."""
    told = carray(_int64s(about), SHAPE * (i + 1))
    return carray(_int64s(told[SHAPE * i]), (told[SHAPE * i + 1], told[SHAPE * i + 2]))


@njit(cache=True, nogil=True)
def numbers(place: int, size: int) -> Any:
    """(size,) int64 at an address: slots, times."""
    return carray(_int64s(place), size)


@njit(cache=True, nogil=True)
def block(place: int, rows: int, size: int) -> Any:
    """(rows, size) float32 at an address: where readings go."""
    return carray(_float32s(place), (rows, size))


@njit(cache=True, nogil=True)
def wider(place: int, rows: int, size: int) -> Any:
    """(rows, size) float64 at an address."""
    return carray(_float64s(place), (rows, size))


@njit(cache=True, nogil=True)
def run(keys: Array, ops: Array, item: Array, things: Array, time: Array, now: int, out: Array, ones: Array) -> None:
    """All operations of all keys of a request, of its (m,) candidates into rows of `out` (rows, m), of the request alone into `ones`
    (rows, 1). things: the request's own codes: its user, that user's newest item, and what else parts name; time: (1,)."""
    room = max(len(item), 1)
    every, first, second = np.empty((len(keys), room), np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    starts = np.zeros(len(item) + 1, np.int64)
    for k in range(len(keys)):  # all slots before the first reading, so that memory can be asked for all rows at once
        if keys[k, 2] < 0:
            size = len(item) if keys[k, 0] else 1
            _slots(keys[k], -1, item, things, starts, first, second, every[k, :size])
            if size > 1:
                _ahead(ops, keys[k, OPS], keys[k, OPS + 1], every[k, :size])
    for k in range(len(keys)):
        key = keys[k]
        into = out if key[0] else ones
        if key[2] < 0:
            for o in range(key[OPS], key[OPS + 1]):
                entry, about, row, _ = ops[o]
                place = into.ctypes.data + 4 * into.shape[1] * row
                _call(entry, about, every[k].ctypes.data, into.shape[1], time.ctypes.data, now, place, 0)
            continue
        size = _begin(key[PART + WIDTH * key[2] :], item, starts)
        slots = np.empty(size, np.int64)
        _slots(key, key[2], item, things, starts, np.empty(size, np.int64), np.empty(size, np.int64), slots)
        for o in range(key[OPS], key[OPS + 1]):
            entry, about, row, rows = ops[o]
            read = np.empty((rows, size))
            _call(entry, about, slots.ctypes.data, size, time.ctypes.data, now, read.ctypes.data, 1)
            averaged(read, starts, into[row : row + rows])


@njit(cache=True, nogil=True)
def _slots(
    key: Array, lists: int, item: Array, things: Array, starts: Array, first: Array, second: Array, out: Array
) -> None:
    """The slots of a key: one, or one per candidate, or one per entry of its lists. first, second: room for the codes."""
    if key[1] == 0:
        out[0] = 0
    elif key[1] == 1:
        _codes(key[PART:], lists == 0, lists, item, things, starts, out)
    else:
        a = _codes(key[PART:], lists == 0, lists, item, things, starts, first)
        b = _codes(key[PART + WIDTH :], lists == 1, lists, item, things, starts, second)
        table, places = carray(_int64s(key[TABLE]), key[TABLE + 2]), carray(_int32s(key[TABLE + 1]), key[TABLE + 2])
        find_pairs(table, places, first[:a], second[:b], out)


@njit(cache=True, nogil=True)
def _ahead(ops: Array, first: int, last: int, slots: Array) -> None:
    """Ask memory for the rows that operations will read."""
    for o in range(first, last):
        told = carray(_int64s(ops[o, 1]), SHAPE)
        start, rows, width = told[0], np.uint64(told[1]), 8 * told[2]
        for i in range(len(slots)):
            row = start + width * (slots[i] if np.uint64(slots[i]) < rows else 0)
            fetch(row)
            if width > 8:  # it may end in the next line
                fetch(row + width - 8)


@njit(cache=True, nogil=True)
def _begin(part: Array, item: Array, starts: Array) -> int:
    """Where every candidate's entries of a column of lists begin; how many there are."""
    begins = carray(_int64s(part[1]), part[2])
    for i in range(len(item)):
        there = 0 <= item[i] < part[2] - 1
        starts[i + 1] = starts[i] + (begins[item[i] + 1] - begins[item[i]] if there else 0)
    return int(starts[len(item)])


@njit(cache=True, nogil=True)
def _codes(part: Array, listed: bool, lists: int, item: Array, things: Array, starts: Array, out: Array) -> int:
    """The codes of a part: one, or one per candidate, or one per entry where it, or the key's other part, holds lists. How many."""
    values = carray(_int32s(part[1]), 0 if listed else part[2])
    begins, entries = carray(_int64s(part[1]), part[2] if listed else 0), carray(_int32s(part[3]), 1)
    if part[0] != ITEM:
        out[0] = _valued(values, things[part[0] - 1])
        return 1
    for i in range(len(item)):
        if lists < 0:
            out[i] = _valued(values, item[i])
        elif listed:
            for e in range(starts[i], starts[i + 1]):
                out[e] = entries[begins[item[i]] + e - starts[i]]
        else:
            for e in range(starts[i], starts[i + 1]):
                out[e] = _valued(values, item[i])
    return len(item) if lists < 0 else starts[len(item)]


@njit(cache=True, nogil=True)
def _valued(values: Array, code: int) -> int:
    """An attribute of a code, or the code where it has none; the last value is that of whoever is not in the table."""
    if len(values) == 0:
        return int(code)
    return int(values[code if 0 <= code < len(values) else len(values) - 1])


@njit(cache=True, nogil=True)
def averaged(read: Array, offsets: Array, out: Array) -> None:
    """Means of runs of columns, without NaN, into `out`; NaN for a run that has nothing else."""
    for i in range(len(offsets) - 1):
        first, last = offsets[i], offsets[i + 1]
        for j in range(len(read)):
            if last == first + 1:  # what most lists hold, and NaN is NaN
                out[j, i] = read[j, first]
                continue
            total, count = 0.0, 0
            for entry in range(first, last):
                if not np.isnan(read[j, entry]):
                    total += read[j, entry]
                    count += 1
            out[j, i] = total / count if count > 0 else np.nan
