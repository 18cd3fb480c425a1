"""Convolution by im2col, block by block: patches are gathered into a buffer that stays in cache, then multiplied.

Letters: images N H W C, output rows and columns P Q, kernel rows and columns R S, output channels K.

A *tap* is one (r, s) of the kernel. For the taps of a *stencil*, pixel (i, j) of a grid reads the source image at
(i * step + row offset, j * step + column offset), or zero outside; taps that lie side by side are one *run*, because
channels last makes them contiguous. With that one idea,

- y reads x with step = stride and the offsets r * dilation - padding;
- dx reads dy: pixel h of dx meets tap r at p = (h + top - r dh) / sh where that is an integer, so dx falls into sh x sw
  classes of pixels, (h mod sh, w mod sw), each with its own few taps, step 1, and no multiplication by zero;
- dweight is the sum over pixels of dy^T times the same patches that y read.

Chellapilla, Puri and Simard 2006, "High Performance Convolutional Neural Networks for Document Processing".
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from ..conv_methods import Geometry, output_shape
from ..memory import empty
from .gemm import (
    BLOCK_COLUMNS,
    MIN_JOBS,
    add_partials,
    bias_gradient,
    multiply_block,
    pack_panel,
    padded_bias,
    panel_depth,
    panel_width,
)
from .jit import JOB, PRODUCT, SERIAL_WORK, helper, jit, parallel_for, scratch
from .simd import ROWS, VECTORS, address, copy_bytes, lanes, zero_bytes

PIXELS = 96  # of a gathered block: a multiple of every ROWS
PARTIALS = 16  # of a weight gradient, at most


def forward(x, weight, bias, relu, geometry: Geometry) -> np.ndarray:
    """y = act(x * w + b): one GEMM over blocks of gathered patches, with bias and ReLU in its epilogue."""
    y = empty(output_shape(x.shape, weight.shape, geometry), x.dtype)
    runs, run = _runs(*weight.shape[1:3], geometry)
    matrix = weight.reshape(weight.shape[0], -1)
    packed, per_group = _panels(weight.shape[0], matrix.shape[1], geometry.groups, y)
    block = _block(y.size // max(1, y.shape[3]), weight.shape[0] // geometry.groups, geometry.groups, y.itemsize)
    bias = padded_bias(bias, weight.shape[0], x)
    _forward(x, matrix, bias, y, packed, per_group, block, runs, run, geometry.stride, relu)
    return y


def input_gradient(dz, weight, shape, geometry: Geometry) -> np.ndarray:
    """dx gathers dz through the flipped taps, one class of pixels after the other."""
    dx = empty(shape, dz.dtype)
    stride, groups = geometry.stride, geometry.groups
    down, across = (
        _classes(*axis) for axis in zip(weight.shape[1:3], geometry.dilation, geometry.padding[::2], stride)
    )
    if len(down) < stride[0] or len(across) < stride[1]:  # a stride longer than the kernel leaves pixels unread
        dx[...] = 0
    for row in down:
        for column in across:
            if row >= shape[1] or column >= shape[2]:
                continue
            taps, runs, run = _flipped(row, column, weight.shape[1:3], geometry)
            grid = -(-(shape[1] - row) // stride[0]), -(-(shape[2] - column) // stride[1])
            packed, per_group = _panels(shape[3], len(taps) * (weight.shape[0] // groups), groups, dz)
            block = _block(shape[0] * grid[0] * grid[1], shape[3] // groups, groups, dz.itemsize)
            _gradient_class(dz, weight, dx, taps, packed, per_group, block, runs, run, (row, column), stride, grid)
    return dx


def weight_gradient(dz, x, shape, geometry: Geometry, with_bias: bool):
    """dweight = dz^T patches(x) and, where wanted, dbias."""
    dweight = empty((shape[0], math.prod(shape[1:])), dz.dtype)
    runs, run = _runs(*shape[1:3], geometry)
    pixels, depth, width = math.prod(dz.shape[:3]), dweight.shape[1], panel_width(dz.itemsize)
    columns = -(-depth // -(-depth // BLOCK_COLUMNS))
    columns = min(depth, -(-columns // width) * width)
    jobs = geometry.groups * -(-depth // columns)
    pieces = max(1, min(PARTIALS, 2 * MIN_JOBS // jobs, pixels // (2 * PIXELS)))
    per_chunk = max(PIXELS, -(-pixels // pieces // PIXELS) * PIXELS)
    chunks = -(-pixels // per_chunk)
    partial = empty((chunks, *dweight.shape), dz.dtype) if chunks > 1 else dweight[None]
    if pixels == 0:
        dweight[:] = 0
    _weight_gradient(dz, x, dweight, partial, runs, run, geometry.stride, geometry.groups, per_chunk, columns)
    return dweight.reshape(shape), bias_gradient(dz, with_bias)


def _panels(outputs, depth, groups, like):
    """Memory for the packed weights of all groups, and the number of panels a group."""
    width = panel_width(like.itemsize)
    per_group = -(-(outputs // groups) // width)
    return empty((groups * per_group, depth, width), like.dtype), per_group


@lru_cache(maxsize=1024)
def _block(pixels, outputs, groups, itemsize):
    """Pixels and output channels of a job: enough jobs to share, from the shapes alone."""
    width = panel_width(itemsize)
    rows, columns = PIXELS, min(BLOCK_COLUMNS, -(-outputs // width) * width)
    while groups * -(-pixels // rows) * -(-outputs // columns) < MIN_JOBS and rows > 24:
        rows //= 2
    while groups * -(-pixels // rows) * -(-outputs // columns) < MIN_JOBS and columns > 2 * width:
        columns = -(-columns // width // 2) * width
    return rows, columns


@lru_cache(maxsize=256)
def _runs(r, s, geometry):
    """Row and column offset of each run of taps, and the number of taps in a run."""
    _, padding, dilation, groups = geometry
    run = s if dilation[1] == 1 and groups == 1 else 1
    offsets = [(i * dilation[0] - padding[0], j * dilation[1] - padding[2]) for i in range(r) for j in range(0, s, run)]
    return np.array(offsets, np.int64).reshape(-1, 2), run


@lru_cache(maxsize=1024)
def _classes(taps, dilation, before, stride):
    """The classes of pixels along one axis, h mod stride, that a tap reads."""
    return sorted({(tap * dilation - before) % stride for tap in range(taps)})


@lru_cache(maxsize=256)
def _flipped(row, column, kernel_size, geometry):
    """Taps (r, s) that reach pixels of class (row, column) of dx, in the order of their offsets into dy; their runs."""
    stride, padding, dilation, groups = geometry
    rows = flipped_offsets(row + padding[0], kernel_size[0], stride[0], dilation[0])
    columns = flipped_offsets(column + padding[2], kernel_size[1], stride[1], dilation[1])
    side_by_side = all(b - a == 1 for (a, _), (b, _) in zip(columns, columns[1:], strict=False))
    run = len(columns) if side_by_side and groups == 1 and columns else 1
    taps = np.array([(r, s) for _, r in rows for _, s in columns], np.int64).reshape(-1, 2)
    runs = np.array([(i, j) for i, _ in rows for j, _ in columns[::run]], np.int64).reshape(-1, 2)
    return taps, runs, run


def flipped_offsets(place, size, stride, dilation):
    """(offset, tap) for the taps of one axis that divide evenly, by increasing offset; place = pixel + padding."""
    return tuple(
        sorted(((place - t * dilation) // stride, t) for t in range(size) if (place - t * dilation) % stride == 0)
    )


@helper
def _gather(source, first, rows, grid, step, runs, run, channel, channels, k0, k1, patches):
    """patches[i, :] = elements k0..k1 of the patch of grid pixel first + i: run by run, zero outside the image."""
    height, width, size = source.shape[1], source.shape[2], source.itemsize
    length = run * channels
    first_run, first_begin = divmod(k0, length)
    n, place = divmod(first, grid[0] * grid[1])
    i, j = divmod(place, grid[1])
    for row in range(rows):
        to = address(patches, (row, 0))
        this, begin, left_over = first_run, first_begin, k1 - k0
        while left_over > 0:
            end = min(length, begin + left_over)
            h, w = i * step[0] + runs[this, 0], j * step[1] + runs[this, 1]
            inside = 0 <= h < height
            low = min(end, max(begin, -w * channels)) if inside else end
            high = max(low, min(end, (width - w) * channels)) if inside else end
            zero_bytes(to, (low - begin) * size)
            copy_bytes(to + (low - begin) * size, address(source, (n, h, w, channel + low)), (high - low) * size)
            zero_bytes(to + (high - begin) * size, (end - high) * size)
            to += (end - begin) * size
            left_over -= end - begin
            this, begin = this + 1, 0
        j += 1
        if j == grid[1]:
            i, j = i + 1, 0
            if i == grid[0]:
                n, i = n + 1, 0


@helper
def _pack_forward(panel, worker, weight, per_group, packed):
    """Panels of W^T, one group after the other: packed[., k, j] = weight[first output channel + j, k]."""
    each = weight.shape[0] // (packed.shape[0] // per_group)
    group, place = divmod(panel, per_group)
    pack_panel(place, worker, weight[group * each : (group + 1) * each], True, packed[group * per_group :])


@helper
def _pack_backward(panel, worker, weight, taps, per_group, packed):
    """Panels of the flipped taps: packed[., (tap, output channel), j] = weight[output channel, tap, channel j]."""
    group, place = divmod(panel, per_group)
    each, width, size = weight.shape[0] // (packed.shape[0] // per_group), packed.shape[2], packed.itemsize
    start = place * width
    count = min(width, weight.shape[3] - start)
    for t in range(taps.shape[0]):
        for k in range(each):
            to = address(packed, (panel, t * each + k, 0))
            copy_bytes(to, address(weight, (group * each + k, taps[t, 0], taps[t, 1], start)), count * size)
            zero_bytes(to + count * size, (width - count) * size)


@helper
def _patches_job(job, worker, source, packed, per_group, bias, out, origin, spread, grid, step, runs, run, relu,
                 block):  # fmt: skip
    """Multiply one block of pixels of one group by a block of its columns.

    Pixels that lie one behind the other are written in place, those of a strided class go through a buffer.
    """
    pixels, depth, width, size = source.shape[0] * grid[0] * grid[1], packed.shape[1], packed.shape[2], packed.itemsize
    groups = packed.shape[0] // per_group
    taken, each = source.shape[3] // groups, out.shape[3] // groups
    across = -(-each // block[1])
    group, place = divmod(job, across * -(-pixels // block[0]))
    first, column = place // across * block[0], place % across * block[1]
    rows, columns = min(block[0], pixels - first), min(block[1], each - column)
    dense = spread[0] == 1 and spread[1] == 1
    deep = panel_depth(out, depth)
    patch, c, row, offset = scratch(out, JOB, (rows, deep)), scratch(out, PRODUCT, block), 0, 0
    if dense:
        c, row, offset = out.reshape(-1, out.shape[3]), first, group * each + column
    for k0 in range(0, depth, deep):
        k1 = min(depth, k0 + deep)
        _gather(source, first, rows, grid, step, runs, run, group * taken, taken, k0, k1, patch)
        multiply_block(address(patch, (0, 0)), patch.strides[0], size, ROWS * patch.strides[0], rows,
                       address(packed, (group * per_group + column // width, k0, 0)), width * size, packed.strides[0],
                       k1 - k0, c, row, offset, columns, k0 == 0, k1 == depth, bias, relu)  # fmt: skip
    if not dense:
        for i in range(rows):
            n, place = divmod(first + i, grid[0] * grid[1])
            h, w = origin[0] + place // grid[1] * spread[0], origin[1] + place % grid[1] * spread[1]
            copy_bytes(address(out, (n, h, w, group * each + column)), address(c, (i, 0)), columns * size)


@helper
def _multiply_patches(source, packed, per_group, bias, out, origin, spread, grid, step, runs, run, relu, block):
    """out[n, origin + spread * (i, j)] = act(patch(n, i, j) of the source times the packed weights + bias)."""
    pixels, groups = source.shape[0] * grid[0] * grid[1], packed.shape[0] // per_group
    jobs = groups * -(-pixels // block[0]) * -(-(out.shape[3] // groups) // block[1])
    arguments = (source, packed, per_group, bias, out, origin, spread, grid, step, runs, run, relu, block)
    parallel_for(_patches_job, jobs, arguments, pixels * packed.shape[1] * out.shape[3] < SERIAL_WORK)


@jit
def _forward(x, weight, bias, y, packed, per_group, block, runs, run, stride, relu):
    parallel_for(_pack_forward, packed.shape[0], (weight, per_group, packed), weight.size < SERIAL_WORK >> 2)
    _multiply_patches(x, packed, per_group, bias, y, (0, 0), (1, 1), (y.shape[1], y.shape[2]), stride, runs, run, relu,
                      block)  # fmt: skip


@jit
def _gradient_class(dz, weight, dx, taps, packed, per_group, block, runs, run, origin, stride, grid):
    parallel_for(_pack_backward, packed.shape[0], (weight, taps, per_group, packed), weight.size < SERIAL_WORK >> 2)
    _multiply_patches(dz, packed, per_group, dz[0, 0, 0, :0], dx, origin, stride, grid, (1, 1), runs, run, False,
                      block)  # fmt: skip


@helper
def _weight_job(job, worker, dz, x, partial, runs, run, stride, groups, per_chunk, columns):
    """A chunk of pixels, a block of columns of one group: partial += dz^T patches(x)."""
    grid = (dz.shape[1], dz.shape[2])
    pixels, depth, size = dz.shape[0] * grid[0] * grid[1], partial.shape[2], dz.itemsize
    each, channels, width = dz.shape[3] // groups, x.shape[3] // groups, lanes(dz) * VECTORS
    across = -(-depth // columns)
    chunk, place = divmod(job, groups * across)
    group, k0 = place // across, place % across * columns
    k1, row_bytes = min(depth, k0 + columns), dz.shape[3] * size
    start, stop = chunk * per_chunk, min(pixels, (chunk + 1) * per_chunk)
    c, patches = partial[chunk], scratch(dz, JOB, (PIXELS + 1, columns))  # the last panel reads past the last row
    for first in range(start, stop, PIXELS):
        rows = min(PIXELS, stop - first)
        _gather(x, first, rows, grid, stride, runs, run, group * channels, channels, k0, k1, patches)
        multiply_block(address(dz, (0, 0, 0, group * each)) + first * row_bytes, size, row_bytes, ROWS * size, each,
                       address(patches, (0, 0)), patches.strides[0], width * size, rows, c, group * each, k0,
                       k1 - k0, first == start, False, c[0, :0], False)  # fmt: skip


@jit
def _weight_gradient(dz, x, dweight, partial, runs, run, stride, groups, per_chunk, columns):
    pixels = dz.shape[0] * dz.shape[1] * dz.shape[2]
    jobs = partial.shape[0] * groups * -(-dweight.shape[1] // columns) if pixels else 0
    arguments = (dz, x, partial, runs, run, stride, groups, per_chunk, columns)
    parallel_for(_weight_job, jobs, arguments, pixels * dweight.size < SERIAL_WORK)
    if partial.shape[0] > 1:
        parallel_for(add_partials, dweight.shape[0], (partial, dweight, dweight[0, :0], False), False)
