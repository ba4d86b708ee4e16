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
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(VECTOR, (VECTOR, VECTOR, VECTOR)), f"llvm.fma.v{LANES}f32"
        )
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
                wide = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), factor, INT(0))
                wide = builder.shuffle_vector(
                    wide, ir.Constant(VECTOR, ir.Undefined), ir.Constant(ir.VectorType(INT, LANES), [0] * LANES)
                )
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
