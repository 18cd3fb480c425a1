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

import numpy as np

from ..conv_methods import Geometry, output_shape
from ..cython.threads import get_num_threads
from .gemm import add_partials, pack_panel, padded_bias
from .jit import helper, jit, parallel_for
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
    rows = weight.reshape(*weight.shape[:2], -1)
    bias = padded_bias(bias, weight.shape[0], x)
    stride, padding, dilation, _ = geometry
    _convolve(x, rows, bias, y, stride, (padding[0], padding[2]), dilation[0], relu, get_num_threads())
    return y


def weight_gradient(dz, x, shape, geometry: Geometry) -> np.ndarray:
    """dweight, summed over the output rows of all images."""
    dweight = np.empty(shape, dz.dtype)
    stride, padding, dilation, _ = geometry
    _correlate(x, dz, dweight.reshape(shape[0], -1), shape[1], stride, (padding[0], padding[2]), dilation[0],
               get_num_threads())  # fmt: skip
    return dweight


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
def _rows_per_job(outputs, reach, stride, row_bytes):
    """Output rows whose input rows fill the buffer, at least one."""
    return max(1, min(outputs, (BUFFER_BYTES // row_bytes - reach) // stride + 1))


@helper
def _row_job(job, worker, x, packed, bias, relu, y, stride, origin, dilation, taps, per_job, images, edges):
    """Some output rows of one image."""
    size, width, run = y.itemsize, packed.shape[2], packed.shape[1] // taps
    blocks = -(-y.shape[1] // per_job)
    n, block = divmod(job, blocks)
    first, last = block * per_job, min(y.shape[1], (block + 1) * per_job)
    image, edge = images[worker], edges[worker]
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
def _convolve(x, weight, bias, y, stride, padding, dilation, relu, workers):
    """y = act(x * weight + bias); weight (K, R, S * C) with taps side by side along a row (no dilation there)."""
    width, taps = lanes(y) * VECTORS, weight.shape[1]
    matrix = weight.reshape(weight.shape[0], -1)
    packed = np.empty((-(-weight.shape[0] // width), matrix.shape[1], width), y.dtype)
    parallel_for(pack_panel, packed.shape[0], (matrix, True, packed), False)
    reach = (taps - 1) * dilation + 1
    columns = (y.shape[2] + ROWS) * stride[1] + weight.shape[2] // x.shape[3]
    per_job = _rows_per_job(y.shape[1], reach, stride[0], columns * x.shape[3] * x.itemsize)
    images = np.zeros((workers, (per_job - 1) * stride[0] + reach, columns, x.shape[3]), x.dtype)
    edges = np.empty((workers, ROWS, width), y.dtype)
    origin = (-padding[0], -padding[1])
    parallel_for(_row_job, y.shape[0] * -(-y.shape[1] // per_job),
                 (x, packed, bias, relu, y, stride, origin, dilation, taps, per_job, images, edges), False)  # fmt: skip


@helper
def _gradient_job(job, worker, x, dy, partial, stride, origin, dilation, taps, per_job, images, lines, edges):
    """A chunk of the output rows of all images: partial[job] (R S C, K)."""
    size, width, run = dy.itemsize, edges.shape[2], partial.shape[1] // taps
    image, line, edge, c = images[worker], lines[worker], edges[worker], partial[job]
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


@helper
def _transpose_job(k, worker, total, dweight):
    for i in range(total.shape[0]):
        dweight[k, i] = total[i, k]


@jit
def _correlate(x, dy, dweight, taps, stride, padding, dilation, workers):
    """dweight (K, R S C) from x and dy."""
    width, reach = lanes(dy) * VECTORS, (taps - 1) * dilation + 1
    lines_total = dy.shape[0] * dy.shape[1]
    columns = dy.shape[2] * stride[1] + dweight.shape[1] // (taps * x.shape[3]) + -(-ROWS // x.shape[3])
    per_job = max(1, -(-lines_total // PARTIALS))
    jobs = max(1, -(-lines_total // per_job))
    partial = np.empty((jobs, dweight.shape[1], dweight.shape[0]), dy.dtype)
    total = np.empty((dweight.shape[1], dweight.shape[0]), dy.dtype)
    images = np.zeros((workers, reach, columns, x.shape[3]), x.dtype)
    lines = np.zeros((workers, dy.shape[2], -(-dy.shape[3] // width) * width), dy.dtype)
    edges = np.empty((workers, ROWS, width), dy.dtype)
    origin = (-padding[0], -padding[1])
    arguments = (x, dy, partial, stride, origin, dilation, taps, per_job, images, lines, edges)
    parallel_for(_gradient_job, jobs, arguments, False)
    parallel_for(add_partials, total.shape[0], (partial, total, edges[0, 0, :0], False), False)
    parallel_for(_transpose_job, dweight.shape[0], (total, dweight), dweight.size < 1 << 14)
