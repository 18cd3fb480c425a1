"""float16 and bfloat16 in kernels: 16 bits in memory, float32 in every formula.

A pointer to such numbers has a type of its own: what is read through it is widened, what is written is rounded to the
nearest, ties to even; NaN stays NaN, and what is too large becomes infinite. So a kernel is the same text for both, and
its sums, local and shared arrays are float32. `Conversions` are given by each compiler: integer arithmetic on the host
(below), instructions on a GPU (`vectors.py`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

BITS, WORD, FLOAT = ir.IntType(16), ir.IntType(32), ir.FloatType()


class HalfPointer(types.CPointer):
    """A pointer to numbers of 16 bits, which are read and written as float32. storage: their dtype's name."""

    def __init__(self, storage: str):
        super().__init__(types.float32)
        self.storage, self.name = storage, f"{storage}*"

    @property
    def key(self):
        return self.storage


class Conversions(NamedTuple):
    """widen(builder, storage, bits) -> float; narrow(builder, storage, floats) -> as many bits."""

    widen: Callable[..., Any]
    narrow: Callable[..., list]


def address(builder, pointer, index):
    """The address of a number."""
    return builder.gep(builder.bitcast(pointer, BITS.as_pointer()), [index])


def teach(conversions: Conversions, lower: Callable, register_model: Callable, models: Any) -> None:
    """Let a compiler read and write numbers through a `HalfPointer`."""
    register_model(HalfPointer)(models.PointerModel)

    @lower(operator.getitem, HalfPointer, types.Integer)
    def _(context, builder, signature, values):
        bits = builder.load(address(builder, *values))
        return conversions.widen(builder, signature.args[0].storage, bits)

    @lower(operator.setitem, HalfPointer, types.Integer, types.Any)
    def _(context, builder, signature, values):
        (bits,) = conversions.narrow(builder, signature.args[0].storage, [values[2]])
        builder.store(bits, address(builder, *values[:2]))


def _widen(builder, storage, bits):
    """A float from 16 bits, by integers: neither a processor's instructions nor a library are asked for."""
    word = builder.zext(bits, WORD)
    if storage == "bfloat16":
        return builder.bitcast(builder.shl(word, WORD(16)), FLOAT)
    magnitude = builder.shl(builder.and_(word, WORD(0x7FFF)), WORD(13))
    sign = builder.shl(builder.and_(word, WORD(0x8000)), WORD(16))
    normal = builder.add(magnitude, WORD(112 << 23))  # the exponent's bias is 127, not 15
    endless = builder.or_(magnitude, WORD(0x7F800000))
    one = builder.bitcast(builder.add(magnitude, WORD(113 << 23)), FLOAT)  # 2^-14 + a subnormal number
    small = builder.bitcast(builder.fsub(one, FLOAT(2.0**-14)), WORD)
    result = builder.select(builder.icmp_unsigned(">=", magnitude, WORD(0x1F << 23)), endless, normal)
    result = builder.select(builder.icmp_unsigned("<", magnitude, WORD(1 << 23)), small, result)
    return builder.bitcast(builder.or_(result, sign), FLOAT)


def _narrow_one(builder, storage, number):
    word = builder.bitcast(number, WORD)
    magnitude = builder.and_(word, WORD(0x7FFFFFFF))
    sign = builder.and_(builder.lshr(word, WORD(16)), WORD(0x8000))
    dropped = 16 if storage == "bfloat16" else 13
    odd = builder.and_(builder.lshr(magnitude, WORD(dropped)), WORD(1))
    up = builder.add(odd, WORD((1 << dropped - 1) - 1))  # to the nearest, ties to even
    if storage == "bfloat16":
        result = builder.lshr(builder.add(magnitude, up), WORD(16))
        not_a_number = WORD(0x7FC0)
    else:
        normal = builder.lshr(builder.add(builder.sub(magnitude, WORD(112 << 23)), up), WORD(13))
        # A subnormal number has the unit 2^-24, which is that of float32 from 1/2 to 1: an addition rounds it.
        small = builder.bitcast(builder.fadd(builder.bitcast(magnitude, FLOAT), FLOAT(0.5)), WORD)
        small = builder.sub(small, WORD(126 << 23))
        result = builder.select(builder.icmp_unsigned("<", magnitude, WORD(113 << 23)), small, normal)
        result = builder.select(builder.icmp_unsigned(">=", magnitude, WORD(143 << 23)), WORD(0x7C00), result)
        not_a_number = WORD(0x7E00)
    result = builder.select(builder.icmp_unsigned(">", magnitude, WORD(0x7F800000)), not_a_number, result)
    return builder.trunc(builder.or_(result, sign), BITS)


def _narrow(builder, storage, numbers):
    return [_narrow_one(builder, storage, number) for number in numbers]


BY_INTEGERS = Conversions(_widen, _narrow)
