"""Direct convolution for images of few channels: a product over an overlapping view of the image, nothing is gathered.

For one kernel row r, output pixel q reads the contiguous run x[p * sh + r * dh, q * sw : q * sw + S, :]: a matrix whose
rows overlap, `sw * C` numbers apart. A register tile (pixels x output channels) therefore runs through all taps of the
kernel without leaving the registers; bias and ReLU are applied before it is stored. A block of image rows is copied
once into a zero-padded buffer that stays in cache, so that no tile needs to know about borders.

The gradient of the weights is the product the other way round: dweight[(s, c), k] += sum over q of
x[p * sh + r * dh, q * sw + s, c] dy[p, q, k], where dy is read in place, and added up for dbias while it is in cache.
For the gradient of x see `direct_gradient`.

With dilation along the row, or many channels, gathering (`im2col`) or Winograd is the better method.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..conv_methods import Geometry, output_shape
from ..memory import empty
from .direct_gradient import LOW, WIDE
from .direct_gradient import input_gradient as input_gradient
from .gemm import add_partials, pack_panel, padded_bias, panel_width
from .jit import JOB, PRODUCT, SERIAL_WORK, TILE, helper, jit, parallel_for, scratch
from .loops import get
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
from .vector import vector_load, vector_store
from .vmath import inlined

BUFFER_BYTES = 48 * 1024  # of padded image rows: they share L1 and L2 with the packed weights
PARTIALS = 16  # of the weight gradient, at most


def forward(x, weight, bias, relu, geometry: Geometry) -> np.ndarray:
    """y = act(x * w + b)."""
    y = empty(output_shape(x.shape, weight.shape, geometry), x.dtype)
    per_job = max(1, min(y.shape[1], rows_in_cache(x, weight.shape, geometry, y.shape[2])))
    window = window_shape(x, weight.shape, geometry, per_job, y.shape[2])
    matrix, packed, offsets = plan_forward(weight, geometry, window)
    bias = padded_bias(bias, weight.shape[0], x)
    _convolve(x, matrix, packed, bias, y, geometry.stride, origin(geometry), offsets, relu, per_job, window)
    return y


def weight_gradient(dz, x, shape, geometry: Geometry, with_bias: bool):
    """dweight and, where wanted, dbias, summed over the output rows of all images."""
    plan = plan_gradient(shape, dz.shape[0] * dz.shape[1], dz, with_bias)
    window = window_shape(x, shape, geometry, 1, dz.shape[2])
    _correlate(x, dz, plan.partial, plan.total, geometry.stride, origin(geometry), geometry.dilation[0], shape[1],
               with_bias, plan.tile, plan.per_job, window)  # fmt: skip
    return gradients_of(plan, shape, with_bias)


def window_shape(x, kernel, geometry, rows, columns):
    """Shape of the padded piece of the image that rows x columns outputs, filled up to whole tiles, read."""
    height = (rows - 1) * geometry.stride[0] + (kernel[1] - 1) * geometry.dilation[0] + 1
    return height, (columns + ROWS) * geometry.stride[1] + kernel[2], x.shape[3]


def rows_in_cache(x, kernel, geometry, columns) -> int:
    """The number of output rows whose piece of the image fits into cache; perhaps below 1."""
    height, width, channels = window_shape(x, kernel, geometry, 1, columns)
    return (BUFFER_BYTES // (width * channels * x.itemsize) - height) // geometry.stride[0] + 1


def plan_forward(weight, geometry, window):
    """The weights as a matrix (K, R S C), memory for them as panels, and where in the window each of the R S C lies."""
    k, r, s, c = weight.shape
    width = panel_width(weight.itemsize)
    packed = empty((-(-k // width), r * s * c, width), weight.dtype)
    return (
        weight.reshape(k, -1),
        packed,
        _depth_offsets(r, s * c, geometry.dilation[0] * window[1] * c, weight.itemsize),
    )


@lru_cache(maxsize=256)
def _depth_offsets(taps, run, line, itemsize):
    """Bytes from the first number that an output reads to each of them, tap row by tap row."""
    return ((np.arange(taps)[:, None] * line + np.arange(run)) * itemsize).astype(np.int64).ravel()


def origin(geometry):
    """Row and column of the image, padding included, that the first output reads first."""
    return -geometry.padding[0], -geometry.padding[2]


class GradientPlan(NamedTuple):
    """Partial sums of dweight, (jobs, R rows, K), padded to whole tiles, with rows for dbias behind; and their sum."""

    partial: np.ndarray
    total: np.ndarray
    tile: tuple[int, int]
    per_job: int


def plan_gradient(kernel, lines, like, with_bias) -> GradientPlan:
    """Cuts the lines of dy into jobs."""
    rows, width = tile = _gradient_tile(kernel[0], like.itemsize)
    depth = kernel[1] * -(-kernel[2] * kernel[3] // rows) * rows
    per_job = max(1, -(-lines // PARTIALS))
    total = empty((depth + rows * with_bias, -(-kernel[0] // width) * width), like.dtype)
    return GradientPlan(empty((max(1, -(-lines // per_job)), *total.shape), like.dtype), total, tile, per_job)


def gradients_of(plan, kernel, with_bias):
    """dweight and dbias out of the padded sum."""
    k, r, s, c = kernel
    depth = plan.total.shape[0] - plan.tile[0] * with_bias
    dweight = plan.total[:depth, :k].reshape(r, -1, k)[:, : s * c].reshape(-1, k)
    return np.ascontiguousarray(dweight.T).reshape(kernel), plan.total[depth:, :k].sum(axis=0) if with_bias else None


def _gradient_tile(outputs, itemsize):
    """Rows and columns of a tile: low and wide, since a kernel row of an image often has a multiple of 3 numbers."""
    width = panel_width(itemsize)
    return (ROWS, width) if outputs <= width else (LOW, 2 * width)


@helper
def fetch_rows(x, n, top, left, image):
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


@inlined
def line_tile(tile, a, a_row, offsets, b, b_step, bias, relu, to, to_row):
    """ROWS neighbouring outputs of one panel of channels, written to `to`; `a` is where the first reads, `b` the
    panel's weights, `bias` its bias or 0. `tile` is zero, and has one register to a row where that holds the panel."""
    for k in range(offsets.size):
        tile = tile_outer(tile, a + get(offsets, k), a_row, b + k * b_step)
    if bias:
        tile = tile_add_row(tile, bias)
    if relu:
        tile = tile_relu(tile)
    tile_store(tile, to, to_row)


@helper
def _row_job(job, worker, x, packed, bias, relu, y, stride, origin, offsets, per_job, window):
    """Some output rows of one image."""
    size, width = y.itemsize, packed.shape[2]
    blocks = -(-y.shape[1] // per_job)
    n, block = divmod(job, blocks)
    first, last = block * per_job, min(y.shape[1], (block + 1) * per_job)
    image, edge = scratch(x, JOB, window), scratch(y, TILE, (ROWS, width))
    fetch_rows(x, n, first * stride[0] + origin[0], origin[1], image)
    a_row = stride[1] * x.shape[3] * size
    for panel in range(packed.shape[0]):
        column, b = panel * width, address(packed, (panel, 0, 0))
        columns, from_bias = min(width, y.shape[3] - column), address(bias, (column,)) if bias.size else 0
        narrow = columns <= lanes(y)
        for p in range(first, last):
            row = address(image, ((p - first) * stride[0], 0, 0))
            for q in range(0, y.shape[2], ROWS):
                to, to_row = address(y, (n, p, q, column)), y.strides[2]
                inside = q + ROWS <= y.shape[2] and columns == (lanes(y) if narrow else width)
                if not inside:
                    to, to_row = address(edge, (0, 0)), width * size
                a = row + q * a_row
                if narrow:
                    line_tile(tile_zero(ROWS, 1, y), a, a_row, offsets, b, width * size, from_bias, relu, to, to_row)
                else:
                    line_tile(tile_zero(ROWS, VECTORS, y), a, a_row, offsets, b, width * size, from_bias, relu, to,
                              to_row)  # fmt: skip
                for i in range(0 if inside else min(ROWS, y.shape[2] - q)):
                    copy_bytes(address(y, (n, p, q + i, column)), address(edge, (i, 0)), columns * size)


@jit
def _convolve(x, weight, packed, bias, y, stride, origin, offsets, relu, per_job, window):
    parallel_for(pack_panel, packed.shape[0], (weight, True, packed), weight.size < SERIAL_WORK)
    jobs = y.shape[0] * -(-y.shape[1] // per_job)
    arguments = (x, packed, bias, relu, y, stride, origin, offsets, per_job, window)
    parallel_for(_row_job, jobs, arguments, y.size * weight.shape[1] < SERIAL_WORK)


@inlined
def _add_products(zero, rows, image, a_step, down, taps, run, b, b_step, pixels, to, to_row, size):
    """to (R, run, panel) += the sum over pixels of image and dy; a panel of output channels."""
    for r in range(taps):
        for i in range(0, run, rows):
            tile, a = zero, image + r * down + i * size
            for q in range(pixels):
                tile = tile_outer(tile, a + q * a_step, size, b + q * b_step)
            tile_store(tile_add(tile, to, to_row), to, to_row)
            to += rows * to_row


@inlined
def _add_sums(zero, rows, width, b, b_step, pixels, like, to, to_row):
    """to (rows, panel): to[i] += the sum of the pixels q of dy with q mod rows = i."""
    whole, tile = pixels // rows * rows, zero
    for q in range(0, whole, rows):
        tile = tile_add(tile, b + q * b_step, b_step)
    tile_store(tile_add(tile, to, to_row), to, to_row)
    for q in range(whole, pixels):
        for j in range(0, width, lanes(like)):
            place = to + j * like.itemsize
            vector_store(vector_load(like, place) + vector_load(like, b + q * b_step + j * like.itemsize), place)
        to += to_row


@helper
def _add_panels(zero, tile, image, a_step, down, taps, b, b_step, pixels, c, sums):
    rows, width, size, to_row = tile[0], tile[1], c.itemsize, c.strides[0]
    depth = c.shape[0] - rows if sums else c.shape[0]
    for column in range(0, c.shape[1], width):
        from_b = b + column * size
        _add_products(zero, rows, image, a_step, down, taps, depth // taps, from_b, b_step, pixels,
                      address(c, (0, column)), to_row, size)  # fmt: skip
        if sums:
            _add_sums(zero, rows, width, from_b, b_step, pixels, c, address(c, (depth, column)), to_row)


@helper
def add_line(tile, image, a_step, down, taps, b, b_step, pixels, c, sums):
    """c += what a row of dy (at b, padded to whole panels) contributes to dweight and dbias; `image` is where it reads.

    From pixel to pixel it is `b_step` bytes in dy, `a_step` in the image, from tap row to tap row `down`.
    """
    if tile[0] == ROWS:
        _add_panels(tile_zero(ROWS, VECTORS, c), tile, image, a_step, down, taps, b, b_step, pixels, c, sums)
    else:
        _add_panels(tile_zero(LOW, WIDE, c), tile, image, a_step, down, taps, b, b_step, pixels, c, sums)


@helper
def _gradient_job(job, worker, x, dy, partial, stride, origin, dilation, taps, sums, tile, per_job, window):
    """A chunk of the output rows of all images: partial[job] = dweight (R S C, K), and the sums for dbias."""
    size, image, c = dy.itemsize, scratch(x, JOB, window), partial[job]
    line = scratch(dy, PRODUCT, (dy.shape[2], c.shape[1]))
    zero_bytes(address(c, (0, 0)), c.size * size)
    a_step, down = stride[1] * x.shape[3] * size, image.strides[0] * dilation
    for place in range(job * per_job, min(dy.shape[0] * dy.shape[1], (job + 1) * per_job)):
        n, p = divmod(place, dy.shape[1])
        fetch_rows(x, n, p * stride[0] + origin[0], origin[1], image)
        b, b_step = address(dy, (n, p, 0, 0)), dy.strides[2]
        if dy.shape[3] < c.shape[1]:
            for q in range(dy.shape[2]):
                copy_bytes(address(line, (q, 0)), b + q * b_step, dy.shape[3] * size)
            b, b_step = address(line, (0, 0)), line.strides[0]
        add_line(tile, address(image, (0, 0, 0)), a_step, down, taps, b, b_step, dy.shape[2], c, sums)


@jit
def _correlate(x, dy, partial, total, stride, origin, dilation, taps, sums, tile, per_job, window):
    lines = dy.shape[0] * dy.shape[1]
    arguments = (x, dy, partial, stride, origin, dilation, taps, sums, tile, per_job, window)
    parallel_for(_gradient_job, partial.shape[0], arguments, lines * dy.shape[2] * total.size < SERIAL_WORK)
    parallel_for(add_partials, total.shape[0], (partial, total, total[0, :0], False), partial.size < SERIAL_WORK)
