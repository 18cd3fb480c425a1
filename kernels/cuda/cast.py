"""Numbers of 16 bits from float32 and back, and what autocast and loss scaling need."""

from __future__ import annotations

from ..halves import HALVES
from .device import Array
from .dialect import cuda, kernel, load4, real_dtype, store4
from .loops import THREADS, blocks


def convert(x, y, n):
    """y = x, rounded where y has fewer bits."""
    i = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * 4
    if i + 4 <= n:
        x0, x1, x2, x3 = load4(x, i)
        store4(y, i, x0, x1, x2, x3)
    else:
        for j in range(i, n):
            y[j] = x[j]


widen = kernel("psi", "cast_widen")(convert)  # to the dtype that is computed in
narrow = kernel("spi", "cast_narrow")(convert)  # from it


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
