"""int8 inner products as pieces of vector code.

A plain loop over a row of 64 bytes compiles into a vector loop that spends more instructions on starting, ending and summing up
than on its one step, and is slower than memory (4.6 ns per row of 64). `dot64` gives the compiler a whole row at once, in its own portable
vector types: 2 ns. What is left is summing up one vector of sixteen numbers per row, so `add16` takes sixteen rows together: it sums them by
transposing, and multiplies by the instruction for pairs of int16 where the processor has one (AVX2, AVX-512; others get `dot64` sixteen
times): 1.1 ns per row in cache, and from memory no slower than memory is (AVX-512, and AVX2 instructions on the same machine).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

CHUNK = 64  # bytes: rows are padded with zeros to a multiple of it
TOGETHER = 16  # rows that `add16` takes
INT32, INT64 = ir.IntType(32), ir.IntType(64)
# int16 numbers that one instruction multiplies and adds up in pairs, the feature that it needs, and the compiler's name for it.
PAIRS = ((32, "+avx512bw", "llvm.x86.avx512.pmaddw.d.512"), (16, "+avx2", "llvm.x86.avx2.pmadd.wd"))


@intrinsic
def dot64(context: Any, query: Any, codes: Any, row: Any, start: Any) -> Any:
    """`sum(query[start + c] * codes[row, start + c] for c < 64)`: query (d,) int16, codes (rows, d) int8, both contiguous; int32,
    not checked for overflow."""
    return types.int32(query, codes, types.intp, types.intp), _generate


@intrinsic
def add16(context: Any, query: Any, codes: Any, row: Any, start: Any, totals: Any, at: Any) -> Any:
    """`totals[at + r] += dot64(query, codes, row + r, start)` for r < 16; totals: contiguous int32. Returns 0. All sixteen rows must be
    there."""
    return types.int32(query, codes, types.intp, types.intp, totals, types.intp), _generate16


@intrinsic
def bound16(
    context: Any, totals: Any, at: Any, scales: Any, row: Any, step: Any, slack: Any, uppers: Any
) -> Any:  # fmt: skip
    """`uppers[at + r] = scales[row + r] * (step * totals[at + r] + slack)` for r < 16, and the largest of them, float32; none may be a
    NaN. totals int32, scales and uppers float32, contiguous; all sixteen must be there."""
    real = types.float32
    return real(totals, types.intp, scales, types.intp, real, real, uppers), _bound


@intrinsic
def fetch(context: Any, table: Any, row: Any, start: Any) -> Any:
    """Ask memory for what will soon be needed: the cache line of column `start` of a row; returns 0. Places beyond the end do no
    harm."""
    return types.int32(table, types.intp, types.intp), _fetch


def _fetch(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    table = context.make_array(signature.args[0])(context, builder, values[0])
    place = builder.add(builder.mul(values[1], builder.extract_value(table.shape, 1)), values[2])
    pointer = builder.bitcast(builder.gep(table.data, [place]), ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), (ir.IntType(8).as_pointer(), INT32, INT32, INT32))
    call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(call, [pointer, INT32(0), INT32(3), INT32(1)])  # to read, to be kept in all caches, data
    return INT32(0)


def _vector(bits: int, count: int = CHUNK) -> Any:
    return ir.VectorType(ir.IntType(bits), count)


def _generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    query, codes = (context.make_array(signature.args[i])(context, builder, values[i]) for i in (0, 1))
    row, start = values[2], values[3]
    place = builder.add(builder.mul(row, builder.extract_value(codes.shape, 1)), start)
    return _row(builder, builder.gep(query.data, [start]), builder.gep(codes.data, [place]))


def _row(builder: Any, query: Any, codes: Any) -> Any:
    """The sum of 64 products."""
    left, right = builder.bitcast(query, _vector(16).as_pointer()), builder.bitcast(codes, _vector(8).as_pointer())
    factors = [builder.sext(builder.load(pointer, align=1), _vector(32)) for pointer in (left, right)]
    name = f"llvm.vector.reduce.add.v{CHUNK}i32"
    add = cgutils.get_or_insert_function(builder.module, ir.FunctionType(INT32, (_vector(32),)), name)
    return builder.call(add, [builder.mul(*factors)])


def _generate16(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    query, codes, totals = (context.make_array(signature.args[i])(context, builder, values[i]) for i in (0, 1, 4))
    row, start, at = values[2], values[3], values[5]
    wide = builder.extract_value(codes.shape, 1)
    first = builder.gep(codes.data, [builder.add(builder.mul(row, wide), start)])
    rows = [builder.gep(first, [builder.mul(wide, INT64(r))]) for r in range(TOGETHER)]
    asked = builder.gep(query.data, [start])
    features = context.codegen().magic_tuple()[2].split(",")
    able = [(count, name) for count, feature, name in PAIRS if feature in features]
    if able:
        sums = _by_pairs(builder, asked, rows, *able[0])
    else:
        sums = ir.Constant(_vector(32, TOGETHER), ir.Undefined)
        for r, codes_of_row in enumerate(rows):
            sums = builder.insert_element(sums, _row(builder, asked, codes_of_row), INT32(r))
    place = builder.bitcast(builder.gep(totals.data, [at]), _vector(32, TOGETHER).as_pointer())
    builder.store(builder.add(builder.load(place, align=4), sums), place, align=4)
    return INT32(0)


def _bound(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    totals, scales, uppers = (context.make_array(signature.args[i])(context, builder, values[i]) for i in (0, 2, 6))
    at, row, step, slack = values[1], values[3], values[4], values[5]
    many = ir.VectorType(ir.FloatType(), TOGETHER)

    def place(array: Any, first: Any, kind: Any) -> Any:
        return builder.bitcast(builder.gep(array.data, [first]), kind.as_pointer())

    def every(number: Any) -> Any:
        one = builder.insert_element(ir.Constant(many, ir.Undefined), number, INT32(0))
        return builder.shuffle_vector(one, one, ir.Constant(_vector(32, TOGETHER), [0] * TOGETHER))

    total = builder.sitofp(builder.load(place(totals, at, _vector(32, TOGETHER)), align=4), many)
    inner = builder.fadd(builder.fmul(every(step), total), every(slack))
    upper = builder.fmul(builder.load(place(scales, row, many), align=4), inner)
    builder.store(upper, place(uppers, at, many), align=4)
    name = f"llvm.vector.reduce.fmax.v{TOGETHER}f32"
    largest = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.FloatType(), (many,)), name)
    return builder.call(largest, [upper], fastmath=("nnan",))


def _by_pairs(builder: Any, query: Any, rows: Any, count: int, name: str) -> Any:
    """The sums of sixteen rows by the instruction `name` for `count` int16, and a transposition of 16 x 16 partial sums."""
    kind = ir.FunctionType(_vector(32, count // 2), (_vector(16, count), _vector(16, count)))
    call = cgutils.get_or_insert_function(builder.module, kind, name)

    def piece(pointer: Any, bits: int, at: int) -> Any:
        there = builder.gep(pointer, [INT64(at)])
        return builder.load(builder.bitcast(there, _vector(bits, count).as_pointer()), align=1)

    factors = [piece(query, 16, at) for at in range(0, CHUNK, count)]

    def partial(row: Any) -> Any:
        """16 numbers whose sum is the row's."""
        made = [
            builder.call(call, [builder.sext(piece(row, 8, count * i), _vector(16, count)), factor])
            for i, factor in enumerate(factors)
        ]
        if len(made) == 2:
            return builder.add(*made)
        return _picked(builder, builder.add(made[0], made[2]), builder.add(made[1], made[3]), range(TOGETHER))

    quads = []
    for r in range(0, TOGETHER, 4):
        one, two = (_added(builder, partial(rows[r + i]), partial(rows[r + i + 1]), ODD) for i in (0, 2))
        quads.append(_added(builder, one, two, WIDE))  # every fourth of it holds partial sums of rows r .. r + 3
    eights = [_added(builder, quads[i], quads[i + 1], FOURTHS) for i in (0, 2)]
    return _added(builder, eights[0], eights[1], FOURTHS)


# Which places of two vectors, side by side, are added to which others; within quarters (of four numbers), then across.
ODD = (
    [at + c for at in range(0, TOGETHER, 4) for c in (0, 16, 1, 17)],
    [at + c for at in range(0, TOGETHER, 4) for c in (2, 18, 3, 19)],
)
WIDE = (
    [at + c for at in range(0, TOGETHER, 4) for c in (0, 1, 16, 17)],
    [at + c for at in range(0, TOGETHER, 4) for c in (2, 3, 18, 19)],
)
FOURTHS = [at + c for at in (0, 8, 16, 24) for c in range(4)], [at + c for at in (4, 12, 20, 28) for c in range(4)]


def _added(builder: Any, one: Any, two: Any, places: tuple[list[int], list[int]]) -> Any:
    return builder.add(*(_picked(builder, one, two, some) for some in places))


def _picked(builder: Any, one: Any, two: Any, places: Iterable[int]) -> Any:
    chosen = list(places)
    return builder.shuffle_vector(one, two, ir.Constant(_vector(32, len(chosen)), chosen))
