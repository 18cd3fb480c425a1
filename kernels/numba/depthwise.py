"""Depthwise convolution: every channel has a kernel of its own, so the channels are the lanes of the registers.

    y[n, i, j, c] = act(b[c] + sum over r, s of x[n, rows[i, r], columns[j, s], c] w[r, s, c])

`rows[i, r]` is the image row that output row i meets through kernel row r, -1 where that lies outside. The gradient
of x is the same sum over dy with tables the other way round, the gradient of w a sum over pixels for each tap. The last
register of a row of channels overlaps the one before, so there must be at least one register of channels.

Sifre 2014, "Rigid-Motion Scattering for Image Classification", section 6.2.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..conv_methods import Geometry, output_shape
from .gemm import add_partials, bias_gradient
from .jit import contiguous, helper, jit, parallel_for
from .simd import address, lanes, tile_relu, tile_zero
from .vector import vector_load, vector_store

ROWS_PER_JOB = 4
PARTIALS = 16  # of the weight gradient, at most


def forward(x, weight, bias, relu, geometry: Geometry) -> np.ndarray:
    """y = act(x * w + b)."""
    y = np.empty(output_shape(x.shape, weight.shape, geometry), x.dtype)
    bias = np.zeros(weight.shape[0], x.dtype) if bias is None else contiguous(bias)
    rows, columns = _tables(_forward_table, x.shape, y.shape, weight.shape, geometry)
    _convolve(x, _taps(weight), bias, relu, rows, columns, y)
    return y


def input_gradient(dz, weight, shape, geometry: Geometry) -> np.ndarray:
    """dx."""
    dx = np.empty(shape, dz.dtype)
    rows, columns = _tables(_backward_table, shape, dz.shape, weight.shape, geometry)
    _convolve(dz, _taps(weight), np.zeros(shape[3], dz.dtype), False, rows, columns, dx)
    return dx


def weight_gradient(dz, x, shape, geometry: Geometry, with_bias: bool):
    """dweight and, where wanted, dbias."""
    dweight = np.empty((shape[1] * shape[2], shape[0]), dz.dtype)
    _correlate(x, dz, *_tables(_forward_table, x.shape, dz.shape, shape, geometry), dweight)
    return np.ascontiguousarray(dweight.T).reshape(shape), bias_gradient(dz, with_bias)


def _taps(weight) -> np.ndarray:
    """weight (C, R, S, 1) as (R, S, C)."""
    return np.ascontiguousarray(weight[..., 0].transpose(1, 2, 0))


def _tables(table, image, output, kernel, geometry):
    stride, padding, dilation, _ = geometry
    return (
        table(output[1], image[1], kernel[1], stride[0], padding[0], dilation[0]),
        table(output[2], image[2], kernel[2], stride[1], padding[2], dilation[1]),
    )


@lru_cache(maxsize=256)
def _forward_table(outputs, size, kernel, stride, padding, dilation):
    """table[p, r] = image row that output row p reads through kernel row r, -1 for none."""
    table = np.arange(outputs)[:, None] * stride + np.arange(kernel) * dilation - padding
    return np.where((table >= 0) & (table < size), table, -1).astype(np.int64)


@lru_cache(maxsize=256)
def _backward_table(outputs, size, kernel, stride, padding, dilation):
    """table[h, r] = output row that read image row h through kernel row r, -1 for none."""
    reach = np.arange(size)[:, None] + padding - np.arange(kernel) * dilation
    valid = (reach >= 0) & (reach % stride == 0) & (reach // stride < outputs)
    return np.where(valid, reach // stride, -1).astype(np.int64)


@helper
def _row_job(job, worker, source, weight, bias, relu, rows, columns, out):
    """A few output rows of one image; weight (R, S, C)."""
    blocks = -(-out.shape[1] // ROWS_PER_JOB)
    n, block = divmod(job, blocks)
    channels, step, size = out.shape[3], lanes(out), out.itemsize
    for i in range(block * ROWS_PER_JOB, min(out.shape[1], (block + 1) * ROWS_PER_JOB)):
        for j in range(out.shape[2]):
            for lane in range(0, channels, step):
                c = min(lane, channels - step)
                total = vector_load(out, address(bias, (c,)))
                for r in range(rows.shape[1]):
                    if rows[i, r] >= 0:
                        row = address(source, (n, rows[i, r], 0, c))
                        for s in range(columns.shape[1]):
                            if columns[j, s] >= 0:
                                value = vector_load(out, row + columns[j, s] * channels * size)
                                total = total + value * vector_load(out, address(weight, (r, s, c)))
                if relu:
                    total = tile_relu(total)
                vector_store(total, address(out, (n, i, j, c)))


@jit
def _convolve(source, weight, bias, relu, rows, columns, out):
    """out = act(the sum above); source (N, H, W, C), weight (R, S, C), bias (C,), out (N, I, J, C)."""
    parallel_for(_row_job, out.shape[0] * -(-out.shape[1] // ROWS_PER_JOB),
                 (source, weight, bias, relu, rows, columns, out), out.size < 1 << 13)  # fmt: skip


@helper
def _gradient_job(job, worker, x, dy, rows, columns, per_job, partial):
    """partial[job] (R S, C) over some rows of dy."""
    channels, step, size = dy.shape[3], lanes(dy), dy.itemsize
    first, last = job * per_job, min(dy.shape[0] * dy.shape[1], (job + 1) * per_job)
    for lane in range(0, channels, step):
        c = min(lane, channels - step)
        for r in range(rows.shape[1]):
            for s in range(columns.shape[1]):
                total = tile_zero(1, 1, dy)
                for place in range(first, last):
                    n, p = divmod(place, dy.shape[1])
                    if rows[p, r] >= 0:
                        from_x, from_dy = address(x, (n, rows[p, r], 0, c)), address(dy, (n, p, 0, c))
                        for q in range(dy.shape[2]):
                            if columns[q, s] >= 0:
                                value = vector_load(dy, from_x + columns[q, s] * channels * size)
                                total = total + value * vector_load(dy, from_dy + q * channels * size)
                vector_store(total, address(partial, (job, r * columns.shape[1] + s, c)))


@jit
def _correlate(x, dy, rows, columns, dweight):
    """dweight (R S, C)."""
    lines = dy.shape[0] * dy.shape[1]
    per_job = max(ROWS_PER_JOB, -(-lines // PARTIALS))
    jobs = max(1, -(-lines // per_job))
    partial = np.zeros((jobs, dweight.shape[0], dweight.shape[1]), dy.dtype)
    parallel_for(_gradient_job, jobs if dy.size else 0, (x, dy, rows, columns, per_job, partial), dy.size < 1 << 13)
    parallel_for(add_partials, dweight.shape[0], (partial, dweight, partial[0, 0, :0], False), True)
