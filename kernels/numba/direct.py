"""Direct convolution for images of few channels: a product over an overlapping view of the image, nothing is gathered.

For one kernel row r, output pixel q reads the contiguous run x[p * sh + r * dh, q * sw : q * sw + S, :]: a matrix whose
rows overlap, `sw * C` numbers apart. A register tile (pixels x output channels) therefore runs through all taps of the
kernel without leaving the registers; bias and ReLU are applied before it is stored. A block of image rows is copied
once into a zero-padded buffer that stays in cache, so that no tile needs to know about borders.

The gradient of the weights is the product the other way round: dweight[(s, c), k] += sum over q of
x[p * sh + r * dh, q * sw + s, c] dy[p, q, k], where dy is read in place.

With dilation along the row, or many channels, gathering (`conv`) or Winograd is the better method.
"""

from __future__ import annotations

import math

import numpy as np

from ..conv_methods import Geometry, output_shape
from .gemm import add_partials, bias_gradient, pack_panel, padded_bias, panel_width
from .jit import JOB, PRODUCT, SERIAL_WORK, TILE, helper, jit, parallel_for, scratch
from .simd import (
    ROWS,
    VECTORS,
    address,
    copy_bytes,
    lanes,
    tile_add,
    tile_add_row,
    tile_outer,
    tile_relu,
    tile_store,
    tile_zero,
    zero_bytes,
)

BUFFER_BYTES = 48 * 1024  # of padded image rows: they share L1 and L2 with the packed weights
PARTIALS = 16  # of the weight gradient, at most


def forward(x, weight, bias, relu, geometry: Geometry) -> np.ndarray:
    """y = act(x * w + b)."""
    y = np.empty(output_shape(x.shape, weight.shape, geometry), x.dtype)
    taps, matrix, width = weight.shape[1], weight.reshape(weight.shape[0], -1), panel_width(x.itemsize)
    packed = np.empty((-(-weight.shape[0] // width), matrix.shape[1], width), y.dtype)
    stride, padding, dilation, _ = geometry
    reach = (taps - 1) * dilation[0] + 1
    columns = (y.shape[2] + ROWS) * stride[1] + weight.shape[2]
    fit = (BUFFER_BYTES // (columns * x.shape[3] * x.itemsize) - reach) // stride[0] + 1
    per_job = max(1, min(y.shape[1], fit))
    window = ((per_job - 1) * stride[0] + reach, columns, x.shape[3])
    bias = padded_bias(bias, weight.shape[0], x)
    origin = (-padding[0], -padding[2])
    _convolve(x, matrix, packed, bias, y, stride, origin, dilation[0], relu, taps, per_job, window)
    return y


def weight_gradient(dz, x, shape, geometry: Geometry, with_bias: bool):
    """dweight and, where wanted, dbias, summed over the output rows of all images."""
    depth = math.prod(shape[1:])
    stride, padding, dilation, _ = geometry
    lines = dz.shape[0] * dz.shape[1]
    per_job = max(1, -(-lines // PARTIALS))
    partial = np.empty((max(1, -(-lines // per_job)), depth, shape[0]), dz.dtype)
    total = np.empty((depth, shape[0]), dz.dtype)
    columns = dz.shape[2] * stride[1] + shape[2] + -(-ROWS // x.shape[3])
    window = ((shape[1] - 1) * dilation[0] + 1, columns, x.shape[3])
    origin = (-padding[0], -padding[2])
    _correlate(x, dz, partial, total, stride, origin, dilation[0], shape[1], per_job, window)
    return np.ascontiguousarray(total.T).reshape(shape), bias_gradient(dz, with_bias)


@helper
def _fetch_rows(x, n, top, left, image):
    """image[i, j] = x[n, top + i, left + j], zero outside: rows of an image with its padding."""
    width, channels, size = x.shape[2], x.shape[3], x.itemsize
    rows, columns = image.shape[0], image.shape[1]
    low, high = min(columns, max(0, -left)), max(0, min(columns, width - left))
    for i in range(rows):
        row = address(image, (i, 0, 0))
        if 0 <= top + i < x.shape[1] and low < high:
            zero_bytes(row, low * channels * size)
            copy_bytes(
                row + low * channels * size, address(x, (n, top + i, left + low, 0)), (high - low) * channels * size
            )
            zero_bytes(row + high * channels * size, (columns - high) * channels * size)
        else:
            zero_bytes(row, columns * channels * size)


@helper
def _row_job(job, worker, x, packed, bias, relu, y, stride, origin, dilation, taps, per_job, window):
    """Some output rows of one image."""
    size, width, run = y.itemsize, packed.shape[2], packed.shape[1] // taps
    blocks = -(-y.shape[1] // per_job)
    n, block = divmod(job, blocks)
    first, last = block * per_job, min(y.shape[1], (block + 1) * per_job)
    image, edge = scratch(x, JOB, window), scratch(y, TILE, (ROWS, width))
    _fetch_rows(x, n, first * stride[0] + origin[0], origin[1], image)
    a_row, down = stride[1] * x.shape[3] * size, image.strides[0] * dilation
    for panel in range(packed.shape[0]):
        column = panel * width
        columns = min(width, y.shape[3] - column)
        for p in range(first, last):
            row = address(image, ((p - first) * stride[0], 0, 0))
            for q in range(0, y.shape[2], ROWS):
                tile = tile_zero(ROWS, VECTORS, y)
                b = address(packed, (panel, 0, 0))
                for r in range(taps):
                    a = row + q * a_row + r * down
                    for k in range(run):
                        tile = tile_outer(tile, a + k * size, a_row, b)
                        b += width * size
                if bias.size:
                    tile = tile_add_row(tile, address(bias, (column,)))
                if relu:
                    tile = tile_relu(tile)
                to = address(y, (n, p, q, column))
                if q + ROWS <= y.shape[2] and columns == width:
                    tile_store(tile, to, y.strides[2])
                else:
                    tile_store(tile, address(edge, (0, 0)), width * size)
                    for i in range(min(ROWS, y.shape[2] - q)):
                        copy_bytes(to + i * y.strides[2], address(edge, (i, 0)), columns * size)


@jit
def _convolve(x, weight, packed, bias, y, stride, origin, dilation, relu, taps, per_job, window):
    parallel_for(pack_panel, packed.shape[0], (weight, True, packed), weight.size < SERIAL_WORK)
    jobs = y.shape[0] * -(-y.shape[1] // per_job)
    arguments = (x, packed, bias, relu, y, stride, origin, dilation, taps, per_job, window)
    parallel_for(_row_job, jobs, arguments, y.size * weight.shape[1] < SERIAL_WORK)


@helper
def _gradient_job(job, worker, x, dy, partial, stride, origin, dilation, taps, per_job, window):
    """A chunk of the output rows of all images: partial[job] (R S C, K)."""
    size, width, run = dy.itemsize, lanes(dy) * VECTORS, partial.shape[1] // taps
    image, edge, c = scratch(x, JOB, window), scratch(dy, TILE, (ROWS, width)), partial[job]
    line = scratch(dy, PRODUCT, (dy.shape[2], -(-dy.shape[3] // width) * width))
    zero_bytes(address(c, (0, 0)), c.size * size)
    a_step, whole = stride[1] * x.shape[3] * size, dy.shape[3] % width == 0
    for place in range(job * per_job, min(dy.shape[0] * dy.shape[1], (job + 1) * per_job)):
        n, p = divmod(place, dy.shape[1])
        _fetch_rows(x, n, p * stride[0] + origin[0], origin[1], image)
        b, b_step = address(dy, (n, p, 0, 0)), dy.strides[2]
        if not whole:
            for q in range(dy.shape[2]):
                copy_bytes(address(line, (q, 0)), b + q * b_step, dy.shape[3] * size)
            b, b_step = address(line, (0, 0)), line.strides[0]
        for r in range(taps):
            for i in range(0, run, ROWS):
                a = address(image, (r * dilation, 0, 0)) + i * size
                for column in range(0, dy.shape[3], width):
                    tile = tile_zero(ROWS, VECTORS, dy)
                    for q in range(dy.shape[2]):
                        tile = tile_outer(tile, a + q * a_step, size, b + column * size + q * b_step)
                    to = address(c, (r * run + i, column))
                    if i + ROWS <= run and column + width <= dy.shape[3]:
                        tile_store(tile_add(tile, to, c.strides[0]), to, c.strides[0])
                    else:
                        tile_store(tile, address(edge, (0, 0)), width * size)
                        for row in range(min(ROWS, run - i)):
                            for j in range(min(width, dy.shape[3] - column)):
                                c[r * run + i + row, column + j] += edge[row, j]


@jit
def _correlate(x, dy, partial, total, stride, origin, dilation, taps, per_job, window):
    lines = dy.shape[0] * dy.shape[1]
    arguments = (x, dy, partial, stride, origin, dilation, taps, per_job, window)
    parallel_for(_gradient_job, partial.shape[0], arguments, lines * dy.shape[2] * total.size < SERIAL_WORK)
    parallel_for(add_partials, total.shape[0], (partial, total, total[0, :0], False), partial.size < SERIAL_WORK)
