"""One tile of a matrix product in registers: what products of many small matrices, or of a matrix that is looked at piece by piece,
are made of, where a call of a linear-algebra library would cost more than the work, or sum in an order that depends on the sizes.

Sums are taken column by column by fused multiply-add: the bits of one entry depend on its own row and column only, not on the tile
that it was computed in. The vector types are the compiler's portable ones: every processor gets the best that it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8  # of a vector: AVX2 holds a tile of 4 x 2 in registers, AVX-512 has more of them
ROWS = 4
WIDE = 16  # columns of a tile
VECTOR = ir.VectorType(ir.FloatType(), LANES)
INT = ir.IntType(32)


def _fma(builder: Any) -> Any:
    kind = ir.FunctionType(VECTOR, (VECTOR, VECTOR, VECTOR))
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")


def _in_all_lanes(builder: Any, number: Any) -> Any:
    nothing = ir.Constant(VECTOR, ir.Undefined)
    one = builder.insert_element(nothing, number, INT(0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(INT, LANES), [0] * LANES))


def _tile(rows: int, vectors: int, add: bool = False, less: bool = False) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        """out[out_row + r, out_column + c] = sum over e < depth of left[e, left_column + r] * right[e, right_column + c]."""
        left, right, out = (context.make_array(signature.args[i])(context, builder, values[i]) for i in (0, 2, 5))
        left_column, right_column, depth = values[1], values[3], values[4]
        out_row, out_column = values[6], values[7]
        word = depth.type
        left_wide, right_wide, out_wide = (builder.extract_value(a.shape, 1) for a in (left, right, out))
        zero = ir.Constant(VECTOR, [0.0] * LANES)
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(vectors)] for _ in range(rows)]
        places = []
        for r in range(rows):
            at = builder.add(builder.mul(builder.add(out_row, word(r)), out_wide), out_column)
            pointers = [builder.gep(out.data, [builder.add(at, word(v * LANES))]) for v in range(vectors)]
            places.append([builder.bitcast(pointer, VECTOR.as_pointer()) for pointer in pointers])
        for r in range(rows):
            for v in range(vectors):
                builder.store(builder.load(places[r][v], align=4) if add else zero, sums[r][v])
        fma = _fma(builder)
        with cgutils.for_range(builder, depth) as loop:
            at = builder.add(builder.mul(loop.index, right_wide), right_column)
            base = builder.gep(right.data, [at])
            some = []
            for v in range(vectors):
                pointer = builder.gep(base, [word(v * LANES)])
                some.append(builder.load(builder.bitcast(pointer, VECTOR.as_pointer()), align=4))
            at = builder.add(builder.mul(loop.index, left_wide), left_column)
            base = builder.gep(left.data, [at])
            for r in range(rows):
                factor = builder.load(builder.gep(base, [word(r)]))
                factor = builder.fneg(factor) if less else factor
                wide = _in_all_lanes(builder, factor)
                for v in range(vectors):
                    builder.store(builder.call(fma, [wide, some[v], builder.load(sums[r][v])]), sums[r][v])
        for r in range(rows):
            for v in range(vectors):
                builder.store(builder.load(sums[r][v]), places[r][v], align=4)
        return context.get_dummy_value()

    return generate


@intrinsic
def tile(
    context: Any,
    left: Any,
    left_column: Any,
    right: Any,
    right_column: Any,
    depth: Any,
    out: Any,
    row: Any,
    column: Any,
) -> Any:
    """ROWS x WIDE entries of left' right, into out at (row, column): of columns left_column ... of left (depth or more, any) and
    right_column ... of right; all C-contiguous float32. Nothing is checked: there must be room."""
    i = types.intp
    return types.void(left, i, right, i, i, out, i, i), _tile(ROWS, WIDE // LANES)


@intrinsic
def strip(
    context: Any,
    left: Any,
    left_column: Any,
    right: Any,
    right_column: Any,
    depth: Any,
    out: Any,
    row: Any,
    column: Any,
) -> Any:
    """The same for one row of 64 entries."""
    i = types.intp
    return types.void(left, i, right, i, i, out, i, i), _tile(1, 64 // LANES)


@intrinsic
def tile_add(
    context: Any,
    left: Any,
    left_column: Any,
    right: Any,
    right_column: Any,
    depth: Any,
    out: Any,
    row: Any,
    column: Any,
) -> Any:
    """As `tile`, added to what is in out: the sums go on from there."""
    i = types.intp
    return types.void(left, i, right, i, i, out, i, i), _tile(ROWS, WIDE // LANES, True)


@intrinsic
def tile_less(
    context: Any,
    left: Any,
    left_column: Any,
    right: Any,
    right_column: Any,
    depth: Any,
    out: Any,
    row: Any,
    column: Any,
) -> Any:
    """As `tile`, taken from what is in out. left, right and out may be one array, as long as what is written is not read."""
    i = types.intp
    return types.void(left, i, right, i, i, out, i, i), _tile(ROWS, WIDE // LANES, True, True)


@intrinsic
def forth_and_back(context: Any, indices: Any, data: Any, first: Any, last: Any, right: Any, out: Any) -> Any:
    """out += x (x' right) for one sparse row x, its entries `first` ... `last` of indices (int32) and data; right and out: LANES columns,
    all C-contiguous float32. Nothing is checked: the indices are rows of both."""
    i = types.intp
    return types.void(indices, data, i, i, right, out), _forth_and_back


def _forth_and_back(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    indices, data, right, out = (
        context.make_array(signature.args[i])(context, builder, values[i]) for i in (0, 1, 4, 5)
    )
    first, last = values[2], values[3]
    word = first.type
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    totals = [cgutils.alloca_once_value(builder, zero) for _ in range(4)]  # one would wait for itself
    for total in totals:
        builder.store(zero, total)
    fma = _fma(builder)

    def entry(index: Any, array: Any) -> tuple[Any, Any]:
        """The entry's number in all lanes, and where the array's row is."""
        at = builder.add(first, index)
        row = builder.zext(builder.load(builder.gep(indices.data, [at])), word)
        pointer = builder.gep(array.data, [builder.mul(row, word(LANES))])
        factor = _in_all_lanes(builder, builder.load(builder.gep(data.data, [at])))
        return factor, builder.bitcast(pointer, VECTOR.as_pointer())

    def add(index: Any, total: Any) -> None:
        factor, place = entry(index, right)
        builder.store(builder.call(fma, [factor, builder.load(place, align=4), builder.load(total)]), total)

    count = builder.sub(last, first)
    fours = builder.lshr(count, word(2))
    with cgutils.for_range(builder, fours) as loop:
        start = builder.shl(loop.index, word(2))
        for number, total in enumerate(totals):
            add(builder.add(start, word(number)), total)
    whole = builder.shl(fours, word(2))
    with cgutils.for_range(builder, builder.sub(count, whole)) as loop:
        add(builder.add(whole, loop.index), totals[0])
    halves = [builder.fadd(builder.load(a), builder.load(b)) for a, b in (totals[:2], totals[2:])]
    found = builder.fadd(*halves)
    with cgutils.for_range(builder, count) as loop:
        factor, place = entry(loop.index, out)
        builder.store(builder.call(fma, [factor, found, builder.load(place, align=4)]), place, align=4)
    return context.get_dummy_value()


@intrinsic
def rows_less(context: Any, left: Any, row: Any, depth: Any, right: Any, out: Any) -> Any:
    """ROWS rows of out, from `row` on, less those of left times right: out[r] -= sum over c < depth of left[r, c] * right[c]. right and out: LANES
    columns; left: depth or more; all C-contiguous float32. Nothing is checked."""
    i = types.intp
    return types.void(left, i, i, right, out), _rows_less


def _rows_less(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    left, right, out = (context.make_array(signature.args[i])(context, builder, values[i]) for i in (0, 3, 4))
    row, depth = values[1], values[2]
    word = depth.type
    wide = builder.extract_value(left.shape, 1)
    fma = _fma(builder)
    rows = [builder.gep(left.data, [builder.mul(builder.add(row, word(r)), wide)]) for r in range(ROWS)]
    places = [builder.gep(out.data, [builder.mul(builder.add(row, word(r)), word(LANES))]) for r in range(ROWS)]
    places = [builder.bitcast(place, VECTOR.as_pointer()) for place in places]
    sums = [cgutils.alloca_once_value(builder, ir.Constant(VECTOR, [0.0] * LANES)) for _ in range(ROWS)]
    for r in range(ROWS):
        builder.store(builder.load(places[r], align=4), sums[r])
    with cgutils.for_range(builder, depth) as loop:
        place = builder.gep(right.data, [builder.mul(loop.index, word(LANES))])
        some = builder.load(builder.bitcast(place, VECTOR.as_pointer()), align=4)
        for r in range(ROWS):
            factor = _in_all_lanes(builder, builder.fneg(builder.load(builder.gep(rows[r], [loop.index]))))
            builder.store(builder.call(fma, [factor, some, builder.load(sums[r])]), sums[r])
    for r in range(ROWS):
        builder.store(builder.load(sums[r]), places[r], align=4)
    return context.get_dummy_value()
