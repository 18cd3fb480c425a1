"""Kernels made of a formula for one element: four elements a thread, by accesses of 16 bytes.

Bytes moved: those of the arrays once, which is the least that there is.
"""

from __future__ import annotations

from .. import Into
from .device import ALIGNMENT, Array
from .dialect import cuda, device, full_name, kernel, load4, store4

THREADS = 256
PER_THREAD = 4


def blocks(count: int) -> tuple[int, int, int]:
    """The grid for `count` elements, PER_THREAD a thread."""
    return -(-count // (THREADS * PER_THREAD)), 1, 1


def like(x: Array) -> Array:
    """An array of x's shape, dtype and device."""
    return x.device.empty(x.shape, x.dtype)


def destination(need, shape: tuple[int, ...], device, dtype) -> Array:
    """The array that a gradient is written into: the caller's (`Into`), where one fits, else a fresh one."""
    if type(need) is Into and need.array.dtype == dtype and need.array.pointer % ALIGNMENT == 0:
        return need.array
    return device.empty(shape, dtype)


def mapped(formula):
    """run(x, a=0, b=0) -> y, y[i] = formula(x[i], a, b)."""
    one = device(formula)

    @kernel("ppffi", full_name(formula))
    def loop(x, y, a, b, n):
        i = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * 4
        if i + 4 <= n:
            x0, x1, x2, x3 = load4(x, i)
            store4(y, i, one(x0, a, b), one(x1, a, b), one(x2, a, b), one(x3, a, b))
        else:
            for j in range(i, n):
                y[j] = one(x[j], a, b)

    def run(x, a=0.0, b=0.0):
        y = like(x)
        loop(blocks(x.size), THREADS, x, y, a, b, x.size)
        return y

    return run


def mapped_pair(formula):
    """run(x, a=0, b=0) -> y, z, the two results of formula(x[i], a, b)."""
    both = device(formula)

    @kernel("pppffi", full_name(formula))
    def loop(x, y, z, a, b, n):
        i = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * 4
        if i + 4 <= n:
            x0, x1, x2, x3 = load4(x, i)
            y0, z0 = both(x0, a, b)
            y1, z1 = both(x1, a, b)
            y2, z2 = both(x2, a, b)
            y3, z3 = both(x3, a, b)
            store4(y, i, y0, y1, y2, y3)
            store4(z, i, z0, z1, z2, z3)
        else:
            for j in range(i, n):
                y[j], z[j] = both(x[j], a, b)

    def run(x, a=0.0, b=0.0):
        y, z = like(x), like(x)
        loop(blocks(x.size), THREADS, x, y, z, a, b, x.size)
        return y, z

    return run


def mapped_two(formula):
    """run(x, z, a=0, b=0) -> y, y[i] = formula(x[i], z[i], a, b); x and z of one shape."""
    one = device(formula)

    @kernel("pppffi", full_name(formula))
    def loop(x, z, y, a, b, n):
        i = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * 4
        if i + 4 <= n:
            x0, x1, x2, x3 = load4(x, i)
            z0, z1, z2, z3 = load4(z, i)
            store4(y, i, one(x0, z0, a, b), one(x1, z1, a, b), one(x2, z2, a, b), one(x3, z3, a, b))
        else:
            for j in range(i, n):
                y[j] = one(x[j], z[j], a, b)

    def run(x, z, a=0.0, b=0.0):
        y = like(x)
        loop(blocks(x.size), THREADS, x, z, y, a, b, x.size)
        return y

    return run


def gradient(formula):
    """The backward of an operation with saved = (x or y, *options), from dx = formula(dy, x or y, *options)."""
    run = mapped_two(formula)

    def backward(dy, saved, needs):
        return (run(dy, *saved) if needs[0] else None,)

    return backward
