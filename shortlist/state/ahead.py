"""Asking memory ahead: a loop that waits for what it has just asked for waits for a few things at a time, and memory answers two dozen."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def fetch(context: Any, place: Any) -> Any:
    """Ask for the cache line at an address (int64), which may be any: nothing is read."""

    def generate(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), (byte, number, number, number))
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(
            call, [builder.inttoptr(values[0], byte), number(0), number(3), number(1)]
        )  # to read, to be kept, data
        return target.get_dummy_value()

    return types.void(types.int64), generate
