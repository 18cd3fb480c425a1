"""Numbers of 16 bits from float32 and back, and what autocast and loss scaling need."""

from __future__ import annotations

from ..halves import HALVES
from .device import Array
from .dialect import cuda, kernel, load4, real_dtype, store4
from .loops import THREADS, blocks


@kernel("psi")
def widen(x, y, n):
    """y, of the dtype that is computed in, = x."""
    i = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * 4
    if i + 4 <= n:
        x0, x1, x2, x3 = load4(x, i)
        store4(y, i, x0, x1, x2, x3)
    else:
        for j in range(i, n):
            y[j] = x[j]


@kernel("spi")
def narrow(x, y, n):
    """y = x, of the dtype that is computed in, rounded to y's."""
    i = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * 4
    if i + 4 <= n:
        x0, x1, x2, x3 = load4(x, i)
        store4(y, i, x0, x1, x2, x3)
    else:
        for j in range(i, n):
            y[j] = x[j]


def cast(x: Array, dtype) -> Array:
    """x as float16, bfloat16 or float32, from one of these; x itself where it is that already.

    To the nearest, ties to even; what is too large becomes infinite. From one half to the other by way of float32.
    """
    if x.dtype == dtype:
        return x
    if str(x.dtype) in HALVES:
        wide = x.device.empty(x.shape, real_dtype(x.dtype))
        widen(blocks(x.size), THREADS, x, wide, x.size)
        x = wide
    if x.dtype == dtype:
        return x
    y = x.device.empty(x.shape, dtype)
    narrow(blocks(x.size), THREADS, x, y, x.size)
    return y
