"""Sums over the rows of a matrix, one for each column: dbias of a linear layer, dweight and dbias of a norm.

A block takes 32 columns by a share of the rows: 8 lines of threads add every eighth row each, so that neighbours read
neighbours; then the lines are added, and the shares by `gemm.reduced_parts`, in their order.
Bytes moved: the matrix once.
"""

from __future__ import annotations

import math

import numpy as np

from .device import Array
from .dialect import cuda, kernel, real, real_dtype
from .gemm import CODES, THREADS, activation_slope, reduced_parts

COLUMNS, LINES, ROWS = 32, 8, 512  # of a block; ROWS are its share


@kernel("psii")
def share(x, parts, m, n):
    sums = cuda.shared.array(256, real)
    column = cuda.blockIdx.x * 32 + cuda.threadIdx.x
    first = cuda.blockIdx.y * 512
    total = real(0)
    if column < n:
        for row in range(first + cuda.threadIdx.y, min(first + 512, m), 8):
            total += x[row * n + column]
    sums[cuda.threadIdx.y * 32 + cuda.threadIdx.x] = total
    cuda.syncthreads()
    if cuda.threadIdx.y == 0 and column < n:
        for line in range(1, 8):
            total += sums[line * 32 + cuda.threadIdx.x]
        parts[cuda.blockIdx.y * n + column] = total


@kernel("pppsiii")
def activated_share(dy, y, dz, parts, m, n, code):
    """dz = dy act'(y), and `share` of dz, in one pass."""
    sums = cuda.shared.array(256, real)
    column = cuda.blockIdx.x * 32 + cuda.threadIdx.x
    first = cuda.blockIdx.y * 512
    total = real(0)
    if column < n:
        for row in range(first + cuda.threadIdx.y, min(first + 512, m), 8):
            value = activation_slope(dy[row * n + column], y[row * n + column], code)
            dz[row * n + column] = value
            total += value
    sums[cuda.threadIdx.y * 32 + cuda.threadIdx.x] = total
    cuda.syncthreads()
    if cuda.threadIdx.y == 0 and column < n:
        for line in range(1, 8):
            total += sums[line * 32 + cuda.threadIdx.x]
        parts[cuda.blockIdx.y * n + column] = total


def column_sums(x: Array, dtype: np.dtype | None = None) -> Array:
    """(N,), the sum over M of x (M, N), as a dtype (None: x's); added up in the one that kernels compute in."""
    m, n = x.shape
    shares = max(1, -(-m // ROWS))
    parts = x.device.empty((shares, n), real_dtype(x.dtype))
    share((-(-n // COLUMNS), shares, 1), (COLUMNS, LINES), x, parts, m, n)
    return reduced_parts(parts, x.dtype if dtype is None else dtype)


def activated_sums(dy: Array, y: Array, activation: str) -> tuple[Array, Array]:
    """dz (M, N) = dy act'(.), from the output y, and its sum over M."""
    m, n = dy.shape
    shares = max(1, -(-m // ROWS))
    dz, parts = dy.device.empty(dy.shape, dy.dtype), dy.device.empty((shares, n), real_dtype(dy.dtype))
    activated_share((-(-n // COLUMNS), shares, 1), (COLUMNS, LINES), dy, y, dz, parts, m, n, CODES[activation])
    return dz, reduced_parts(parts, dy.dtype)


@kernel("ppiii")
def along(x, y, n, inner, count):
    """y (outer, inner) = the sum over n of x (outer, n, inner); a thread makes one."""
    k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if k < count:
        base = k // inner * n * inner + k % inner
        total = real(0)
        for i in range(n):
            total += x[base + i * inner]
        y[k] = total


def sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """The sum over the axes that broadcasting added or stretched, so that the result has `shape`."""
    if x.shape == shape:
        return x
    added_axes = x.ndim - len(shape)
    for axis, (length, wanted) in enumerate(zip(x.shape, (1,) * added_axes + shape)):
        if length != wanted:
            outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
            y = x.device.empty((*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype)
            along((-(-y.size // THREADS), 1, 1), THREADS, x, y, length, inner, outer * inner)
            x = y
    return x.reshape(shape)
