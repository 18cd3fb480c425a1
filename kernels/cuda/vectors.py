"""Four numbers at a time, numbers of 16 bits, and shuffles, for numba-cuda, which has none of them for pointers."""

from __future__ import annotations

from llvmlite import ir
from numba import cuda
from numba.cuda.extending import core_models, intrinsic, lower_builtin, register_model

from .half import BITS, FLOAT, WORD, Conversions, teach
from .wide import accesses

_ALL_LANES = 0xFFFFFFFF
_PTX = {"float16": "f16", "bfloat16": "bf16"}


def _instruction(builder, result, arguments, text: str, letters: str):
    """One instruction of PTX."""
    kind = ir.FunctionType(result, [each.type for each in arguments])
    return builder.call(ir.InlineAsm(kind, text, letters), arguments)


def _widen(builder, storage, bits):
    if storage == "bfloat16":  # the upper half of a float32
        return builder.bitcast(builder.shl(builder.zext(bits, WORD), WORD(16)), FLOAT)
    return _instruction(builder, FLOAT, [bits], "cvt.f32.f16 $0, $1;", "=f,h")


def _narrow(builder, storage, numbers):
    """Two numbers by one instruction, where there are two."""
    if len(numbers) == 1:
        return [_instruction(builder, BITS, numbers, f"cvt.rn.{_PTX[storage]}.f32 $0, $1;", "=h,f")]
    found = []
    for low, high in zip(numbers[::2], numbers[1::2]):
        pair = _instruction(builder, WORD, [high, low], f"cvt.rn.{_PTX[storage]}x2.f32 $0, $1, $2;", "=r,f,f")
        found += [builder.trunc(pair, BITS), builder.trunc(builder.lshr(pair, WORD(16)), BITS)]
    return found


_BY_INSTRUCTIONS = Conversions(_widen, _narrow)
teach(_BY_INSTRUCTIONS, lower_builtin, register_model, core_models)
load4, store4 = map(intrinsic, accesses(_BY_INSTRUCTIONS))


@cuda.jit(device=True, inline="always")
def shuffle_xor(value, mask):
    return cuda.shfl_xor_sync(_ALL_LANES, value, mask)
