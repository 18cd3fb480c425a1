"""Four numbers at a time, and shuffles, for numba-cuda, whose arrays have no wide accesses."""

from __future__ import annotations

from numba import cuda
from numba.cuda.extending import intrinsic

from . import wide

_ALL_LANES = 0xFFFFFFFF

load4 = intrinsic(wide.load4)
store4 = intrinsic(wide.store4)


@cuda.jit(device=True, inline="always")
def shuffle_xor(value, mask):
    return cuda.shfl_xor_sync(_ALL_LANES, value, mask)
