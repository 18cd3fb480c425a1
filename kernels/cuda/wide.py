"""Accesses of four numbers as LLVM makes them, for both compilers: definitions for their `intrinsic`.

Four numbers are an access of 16 bytes, and of 8 where they have 16 bits (`half`).
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types

from .half import Conversions, HalfPointer, address

_WIDTH = 4


def _vector_at(context, builder, kind, base, index):
    """A pointer to four numbers, from that of a pointer or an array, whose address must be a multiple of their size."""
    if isinstance(kind, types.Array):
        base = context.make_array(kind)(context, builder, base).data
    first = address(builder, base, index) if isinstance(kind, HalfPointer) else builder.gep(base, [index])
    return builder.bitcast(first, ir.VectorType(first.type.pointee, _WIDTH).as_pointer(first.type.addrspace))


def _bytes(kind) -> int:
    """Of four numbers, as far as a processor reads them at once."""
    return 8 if isinstance(kind, HalfPointer) else 16


def accesses(conversions: Conversions) -> tuple[Callable, Callable]:
    """load4 and store4 of a compiler."""

    def load4(typing, p, i):
        def codegen(context, builder, signature, values):
            vector = builder.load(_vector_at(context, builder, p, *values), align=_bytes(p))
            numbers = [builder.extract_element(vector, ir.IntType(32)(k)) for k in range(_WIDTH)]
            if isinstance(p, HalfPointer):
                numbers = [conversions.widen(builder, p.storage, bits) for bits in numbers]
            return context.make_tuple(builder, signature.return_type, numbers)

        return types.UniTuple(p.dtype, _WIDTH)(p, i), codegen

    def store4(typing, p, i, a, b, c, d):
        def codegen(context, builder, signature, values):
            target, numbers = _vector_at(context, builder, p, *values[:2]), values[2:]
            if isinstance(p, HalfPointer):
                numbers = conversions.narrow(builder, p.storage, numbers)
            vector = ir.Constant(target.type.pointee, ir.Undefined)
            for k in range(_WIDTH):
                vector = builder.insert_element(vector, numbers[k], ir.IntType(32)(k))
            builder.store(vector, target, align=_bytes(p))
            return context.get_dummy_value()

        return types.void(p, i, p.dtype, p.dtype, p.dtype, p.dtype), codegen

    return load4, store4
