"""Softmax and its logarithm: x is (outer, n, inner), and the sums run over n.

Where inner is 1 a block makes a row, else a thread makes a column, so that neighbours always read neighbours. Bytes
moved: x once a pass over it, three passes forward of which caches serve two where a row is short; y and dy twice back.
The operations are defined in `kernels/reference/softmax.py`.
"""

from __future__ import annotations

import math

from .dialect import cuda, device, kernel, real
from .loops import like
from .rows import THREADS, WARPS, block_max, block_sum, larger

INFINITY = math.inf


@device
def step(logarithm, value, best, total):
    """One result, from the row's maximum and the sum of its exponentials."""
    if logarithm:
        return (value - best) - math.log(total)
    return math.exp(value - best) / total


@device
def gradient(logarithm, y, dy, total):
    """One gradient, from the row's sum of dy (the logarithm) or y dy."""
    if logarithm:
        return dy - math.exp(y) * total
    return y * (dy - total)


@kernel("ppii")
def rows(x, y, n, logarithm):
    part = cuda.shared.array(WARPS, real)
    base = cuda.blockIdx.x * n
    best, total = real(-INFINITY), real(0)
    for i in range(cuda.threadIdx.x, n, THREADS):
        best = larger(best, x[base + i])
    best = block_max(best, part)
    for i in range(cuda.threadIdx.x, n, THREADS):
        total += math.exp(x[base + i] - best)
    total = block_sum(total, part)
    for i in range(cuda.threadIdx.x, n, THREADS):
        y[base + i] = step(logarithm, x[base + i], best, total)


@kernel("ppiiii")
def columns(x, y, n, inner, count, logarithm):
    k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if k < count:
        base = k // inner * n * inner + k % inner
        best, total = real(-INFINITY), real(0)
        for i in range(n):
            best = larger(best, x[base + i * inner])
        for i in range(n):
            total += math.exp(x[base + i * inner] - best)
        for i in range(n):
            y[base + i * inner] = step(logarithm, x[base + i * inner], best, total)


@kernel("pppii")
def rows_back(y, dy, dx, n, logarithm):
    part = cuda.shared.array(WARPS, real)
    base = cuda.blockIdx.x * n
    total = real(0)
    for i in range(cuda.threadIdx.x, n, THREADS):
        total += dy[base + i] if logarithm else y[base + i] * dy[base + i]
    total = block_sum(total, part)
    for i in range(cuda.threadIdx.x, n, THREADS):
        dx[base + i] = gradient(logarithm, y[base + i], dy[base + i], total)


@kernel("pppiiii")
def columns_back(y, dy, dx, n, inner, count, logarithm):
    k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if k < count:
        base = k // inner * n * inner + k % inner
        total = real(0)
        for i in range(n):
            at = base + i * inner
            total += dy[at] if logarithm else y[at] * dy[at]
        for i in range(n):
            at = base + i * inner
            dx[at] = gradient(logarithm, y[at], dy[at], total)


def _parts(shape, axis):
    """(outer, n, inner) of an axis."""
    axis %= len(shape)
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _run(by_row, by_column, arrays, axis, logarithm):
    out = like(arrays[0])
    outer, n, inner = _parts(out.shape, axis)
    if not out.size:
        return out
    if inner == 1:
        by_row((outer, 1, 1), THREADS, *arrays, out, n, logarithm)
    else:
        count = outer * inner
        by_column((-(-count // THREADS), 1, 1), THREADS, *arrays, out, n, inner, count, logarithm)
    return out


def softmax_forward(x, *, axis):
    y = _run(rows, columns, (x,), axis, 0)
    return y, (y, axis)


def softmax_backward(dy, saved, needs):
    y, axis = saved
    return (_run(rows_back, columns_back, (y, dy), axis, 0) if needs[0] else None,)


def log_softmax_forward(x, *, axis):
    y = _run(rows, columns, (x,), axis, 1)
    return y, (y, axis)


def log_softmax_backward(dy, saved, needs):
    y, axis = saved
    return (_run(rows_back, columns_back, (y, dy), axis, 1) if needs[0] else None,)
