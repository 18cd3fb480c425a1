"""Accesses of four numbers as LLVM makes them, for both compilers: definitions for their `intrinsic`."""

from __future__ import annotations

from llvmlite import ir
from numba import types

_WIDTH = 4


def _vector_at(context, builder, kind, base, index):
    """A pointer to four numbers, from that of a pointer or an array, whose address must be a multiple of 16."""
    if isinstance(kind, types.Array):
        base = context.make_array(kind)(context, builder, base).data
    pointer = ir.VectorType(base.type.pointee, _WIDTH).as_pointer(base.type.addrspace)
    return builder.bitcast(builder.gep(base, [index]), pointer)


def load4(typing, p, i):
    def codegen(context, builder, signature, values):
        vector = builder.load(_vector_at(context, builder, p, *values), align=16)
        numbers = [builder.extract_element(vector, ir.IntType(32)(k)) for k in range(_WIDTH)]
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(p.dtype, _WIDTH)(p, i), codegen


def store4(typing, p, i, a, b, c, d):
    def codegen(context, builder, signature, values):
        target = _vector_at(context, builder, p, *values[:2])
        vector = ir.Constant(target.type.pointee, ir.Undefined)
        for k in range(_WIDTH):
            vector = builder.insert_element(vector, values[2 + k], ir.IntType(32)(k))
        builder.store(vector, target, align=16)
        return context.get_dummy_value()

    return types.void(p, i, p.dtype, p.dtype, p.dtype, p.dtype), codegen
