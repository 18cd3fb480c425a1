"""Depthwise convolution: every channel has a kernel of its own, so the channels are the lanes of the registers.

    y[n, i, j, c] = act(b[c] + sum over r, s of x[n, i sh + r dh - top, j sw + s dw - left, c] w[r, s, c])

Nearly all pixels meet the whole kernel: `PIXELS` neighbours take all taps in registers, one load of a weight for all
of them; pixels at the left and right border are computed one by one. Where a tap reads is looked up in a table: an
address computed from five strides takes longer than the arithmetic. The gradient of x is the same sum over dy, for
each class of pixels (h mod sh, w mod sw) with its own taps (see `im2col`); the gradient of w is a sum over pixels, with
all taps of a 3 x 3 kernel in registers, or `TAPS` of a kernel row. The last register of a row of channels overlaps the
one before, so there must be at least one register of channels.

Sifre 2014, "Rigid-Motion Scattering for Image Classification", section 6.2.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..conv_methods import Geometry, output_shape
from ..memory import empty, zeros
from .gemm import add_partials
from .im2col import flipped_offsets
from .jit import SERIAL_WORK, contiguous, helper, jit, parallel_for
from .loops import get
from .simd import (
    REGISTER_BYTES,
    address,
    lanes,
    prefetch,
    tile_add,
    tile_add_row,
    tile_multiply,
    tile_relu,
    tile_store,
    tile_zero,
    zero_bytes,
)
from .vmath import inlined

PIXELS = 4  # in registers: small images have few that meet the whole kernel
TAPS = 3  # of a kernel row, in registers
RUN = 8  # pixels whose products are summed in registers: x and dy of a run stay in L1
RUNS = 64  # runs in one sum: the errors grow with the number of sums
PARTIALS = 16  # of the weight gradient, at most
AHEAD = 8  # pixels: channels are taken in strides that no CPU foresees, so what comes next is asked for


def forward(x, weight, bias, relu, geometry: Geometry) -> np.ndarray:
    """y = act(x * w + b)."""
    y = empty(output_shape(x.shape, weight.shape, geometry), x.dtype)
    bias = zeros(weight.shape[0], x.dtype) if bias is None else contiguous(bias)
    taps = _taps(*_offsets(weight.shape, geometry), weight.shape[2], x.shape[2], x.shape[3] * x.itemsize)
    _convolve(x, _tap_major(weight), bias, relu, *taps, geometry.stride, (0, 0), (1, 1), y)
    return y


def input_gradient(dz, weight, shape, geometry: Geometry) -> np.ndarray:
    """dx, one class of pixels after the other."""
    dx, bias, tap_major = empty(shape, dz.dtype), zeros(shape[3], dz.dtype), _tap_major(weight)
    stride, padding, dilation, _ = geometry
    for row in range(min(stride[0], shape[1])):
        for column in range(min(stride[1], shape[2])):
            rows = flipped_offsets(row + padding[0], weight.shape[1], stride[0], dilation[0])
            columns = flipped_offsets(column + padding[2], weight.shape[2], stride[1], dilation[1])
            taps = _taps(rows, columns, weight.shape[2], dz.shape[2], dz.shape[3] * dz.itemsize)
            _convolve(dz, tap_major, bias, False, *taps, (1, 1), (row, column), stride, dx)
    return dx


def weight_gradient(dz, x, shape, geometry: Geometry, with_bias: bool):
    """dweight and, where wanted, dbias."""
    channels, taps, step = shape[0], shape[1] * shape[2], REGISTER_BYTES // dz.itemsize
    lines, padded = dz.shape[0] * dz.shape[1], -(-channels // step) * step
    per_job = max(1, -(-lines // PARTIALS))
    partial = empty((2 * max(1, -(-lines // per_job)), taps + with_bias, padded), dz.dtype)
    total = empty(partial.shape[1:], dz.dtype)
    table = _taps(*_offsets(shape, geometry), shape[2], x.shape[2], channels * x.itemsize)
    apart = geometry.dilation[1] * channels * x.itemsize
    _correlate(x, dz, *table, geometry.stride, apart, per_job, partial, total)
    total[:, channels - step : channels] = total[:, padded - step :]
    dweight = np.ascontiguousarray(total[:taps, :channels].T).reshape(shape)
    return dweight, total[taps, :channels].copy() if with_bias else None


def _tap_major(weight) -> np.ndarray:
    """weight (C, R, S, 1) as (R, S, C)."""
    return np.ascontiguousarray(weight[..., 0].transpose(1, 2, 0))


def _offsets(kernel, geometry):
    """For rows and for columns the (offset, tap) of an output pixel p that reads pixel p stride + offset of x."""
    _, padding, dilation, _ = geometry
    return [tuple((t * dilation[a] - padding[2 * a], t) for t in range(kernel[1 + a])) for a in (0, 1)]


@lru_cache(maxsize=256)
def _taps(rows, columns, kernel_columns, width, pixel):
    """Bytes from a pixel to the one that a tap reads, and to the tap's weights: (taps, 2); row and column offsets."""
    table = [((i * width + j) * pixel, (r * kernel_columns + s) * pixel) for i, r in rows for j, s in columns]
    offsets = (np.array([i for i, _ in axis], np.int64) for axis in (rows, columns))
    return np.array(table, np.int64).reshape(-1, 2), *offsets


@helper
def _inside(offsets, place, size):
    """The taps that a pixel meets within the source, (first, one past the last); offsets increase."""
    first, last = 0, offsets.size
    while first < last and place + offsets[first] < 0:
        first += 1
    while first < last and place + offsets[last - 1] >= size:
        last -= 1
    return first, last


@helper
def _whole(offsets, step, pixels, size):
    """The pixels that meet all taps within the source, (first, one past the last)."""
    low, high = 0, pixels
    if offsets.size:
        while low < high and low * step + offsets[0] < 0:
            low += 1
        while low < high and (high - 1) * step + offsets[-1] >= size:
            high -= 1
    return low, high


@inlined
def _block(zero, pixels, wide, source, a_row, weight, taps, r0, r1, across, s0, s1, bias, relu, channels, out, out_row,
           like):  # fmt: skip
    """A tile of neighbouring pixels, `wide` channels at a time: taps s0 to s1 of the kernel rows r0 to r1."""
    next_x, next_y = source + AHEAD * a_row, out + AHEAD * out_row
    if r0 < r1 and s0 < s1:
        next_x += get(taps, 2 * ((r1 - 1) * across + s1 - 1))
    for lane in range(0, channels, wide):
        c = min(lane, channels - wide) * like.itemsize
        for i in range(pixels):
            prefetch(next_x + c + i * a_row)
            prefetch(next_y + c + i * out_row)
        tile = tile_add_row(zero, bias + c)
        for r in range(r0, r1):
            for t in range(r * across + s0, r * across + s1):
                tile = tile_multiply(tile, source + c + get(taps, 2 * t), a_row, weight + c + get(taps, 2 * t + 1))
        if relu:
            tile = tile_relu(tile)
        tile_store(tile, out + c, out_row)


@helper
def _row(zeros, wide, source, i, weight, bias, relu, taps, rows, columns, step, size, out, out_row, pixels, like):
    """A row of output pixels: blocks of them where all meet the whole kernel, the others one by one."""
    across, channels, j = columns.size, weight.shape[2], 0
    r0, r1 = _inside(rows, i * step[0], size[0])
    low, high = _whole(columns, step[1], pixels, size[1])
    a_row = step[1] * channels * like.itemsize
    from_bias, from_weight = address(bias, (0,)), address(weight, (0, 0, 0))
    while j < pixels:
        if low <= j < high and high - low >= PIXELS:
            j = min(j, high - PIXELS)  # the last block overlaps the one before
            _block(zeros[0], PIXELS, wide, source + j * a_row, a_row, from_weight, taps, 0, 1, 0, r0 * across,
                   r1 * across, from_bias, relu, channels, out + j * out_row, out_row, like)  # fmt: skip
            j += PIXELS
        else:
            s0, s1 = _inside(columns, j * step[1], size[1])
            _block(zeros[1], 0, wide, source + j * a_row, 0, from_weight, taps, r0, r1, across, s0, s1, from_bias, relu,
                   channels, out + j * out_row, 0, like)  # fmt: skip
            j += 1


@helper
def _row_job(job, worker, source, weight, bias, relu, taps, rows, columns, step, origin, spread, lines, out):
    """One row of output pixels (of one class); weight (R, S, C)."""
    n, i = divmod(job, lines)
    wide, pixels = lanes(out), -(-(out.shape[2] - origin[1]) // spread[1])
    size = (source.shape[1], source.shape[2])
    start = address(source, (n, i * step[0], 0, 0))
    to, to_row = address(out, (n, origin[0] + i * spread[0], origin[1], 0)), spread[1] * out.strides[2]
    if out.shape[3] >= 2 * wide:  # twice the sums to wait for
        zeros = (tile_zero(PIXELS, 2, out), tile_zero(1, 2, out))
        _row(zeros, 2 * wide, start, i, weight, bias, relu, taps, rows, columns, step, size, to, to_row, pixels, out)
    else:
        narrow = (tile_zero(PIXELS, 1, out), tile_zero(1, 1, out))
        _row(narrow, wide, start, i, weight, bias, relu, taps, rows, columns, step, size, to, to_row, pixels, out)


@jit
def _convolve(source, weight, bias, relu, taps, rows, columns, step, origin, spread, out):
    """out = act(the sum above) for a class of pixels; source (N, H, W, C), weight (R, S, C), bias (C,)."""
    lines = -(-(out.shape[1] - origin[0]) // spread[0])
    arguments = (source, weight, bias, relu, taps, rows, columns, step, origin, spread, lines, out)
    parallel_for(_row_job, out.shape[0] * lines, arguments, out.size * rows.size * columns.size < SERIAL_WORK)


@inlined
def _add_square(zeros, a, a_step, apart, taps, r0, r1, b, pixel, count, to, to_row, sums):
    """`count` pixels, a register of channels, a 3 x 3 kernel: to[t] += sum of x dy for all taps, to[9] += sum of dy.

    A kernel row that lies outside (r0 to r1 do not) is computed from one that does not, and dropped.
    """
    tile0, tile1, tile2 = zeros[0], zeros[0], zeros[0]
    a0, a1, a2 = a + get(taps, 6 * r0), a + get(taps, 6 * max(r0, min(1, r1 - 1))), a + get(taps, 6 * (r1 - 1))
    total, ahead, below = zeros[1], AHEAD * a_step, AHEAD * pixel
    for _ in range(count):
        prefetch(a2 + ahead)
        prefetch(b + below)
        total = tile_add(total, b, 0)
        tile0 = tile_multiply(tile0, a0, apart, b)
        tile1 = tile_multiply(tile1, a1, apart, b)
        tile2 = tile_multiply(tile2, a2, apart, b)
        a0, a1, a2, b = a0 + a_step, a1 + a_step, a2 + a_step, b + pixel
    if r0 == 0:
        tile_store(tile_add(tile0, to, to_row), to, to_row)
    if r0 <= 1 < r1:
        tile_store(tile_add(tile1, to + 3 * to_row, to_row), to + 3 * to_row, to_row)
    if r1 == 3:
        tile_store(tile_add(tile2, to + 6 * to_row, to_row), to + 6 * to_row, to_row)
    if sums:
        tile_store(tile_add(total, to + 9 * to_row, 0), to + 9 * to_row, 0)


@inlined
def _add_sum(zero, b, pixel, count, to):
    """to += sum of dy over `count` pixels, a register of channels."""
    total = tile_add(zero, to, 0)
    for i in range(count):
        total = tile_add(total, b + i * pixel, 0)
    tile_store(total, to, 0)


@inlined
def _add_taps(zeros, a, a_step, apart, taps, first, last, b, pixel, count, to, to_row):
    """`count` pixels, a register of channels: to[t] += sum of x dy for taps of one kernel row, `TAPS` at a time."""
    whole = first + (last - first) // TAPS * TAPS
    for t in range(first, whole, TAPS):
        tile, from_x = zeros[0], a + get(taps, 2 * t)
        for i in range(count):
            tile = tile_multiply(tile, from_x + i * a_step, apart, b + i * pixel)
        tile_store(tile_add(tile, to + t * to_row, to_row), to + t * to_row, to_row)
    for t in range(whole, last):
        one, from_x = zeros[1], a + get(taps, 2 * t)
        for i in range(count):
            one = tile_multiply(one, from_x + i * a_step, 0, b + i * pixel)
        tile_store(tile_add(one, to + t * to_row, 0), to + t * to_row, 0)


@helper
def _add_row(x, p, taps, rows, columns, step, apart, size, dy, pixels, channels, like, to, to_row, sums, runs, block,
             total):  # fmt: skip
    """One row of dy: to (R S, C) += its products with x, and the row behind += its sum, if wanted.

    `to` lies in `block`, which is added to the total after each RUNS runs of pixels; returns how many since the last.
    """
    zeros, item, wide = (tile_zero(TAPS, 1, like), tile_zero(1, 1, like)), like.itemsize, lanes(like)
    pixel, across = channels * item, columns.size
    r0, r1 = _inside(rows, p * step[0], size[0])
    low, high = _whole(columns, step[1], pixels, size[1])
    a_step, square, q = step[1] * pixel, rows.size == 3 and across == TAPS and r0 < r1, 0
    while q < pixels:
        whole = low <= q < high
        count = min(RUN, high - q) if whole else 1
        s0, s1 = _inside(columns, q * step[1], size[1])
        for lane in range(0, channels, wide):
            c = min(lane, channels - wide) * item
            a, b, place = x + q * a_step + c, dy + q * pixel + c, to + lane * item
            if whole and square:
                _add_square(zeros, a, a_step, apart, taps, r0, r1, b, pixel, count, place, to_row, sums)
                continue
            for r in range(r0, r1):
                first, last = r * across + s0, r * across + s1
                _add_taps(zeros, a, a_step, apart, taps, first, last, b, pixel, count, place, to_row)
            if sums:
                _add_sum(zeros[1], b, pixel, count, place + rows.size * across * to_row)
        q += count
        runs += 1
        if runs == RUNS:
            _flush(block, total)
            runs = 0
    return runs


@helper
def _flush(block, total):
    """total += block, block = 0."""
    for i in range(block.shape[0]):
        for j in range(block.shape[1]):
            total[i, j] += block[i, j]
            block[i, j] = 0


@helper
def _gradient_job(job, worker, x, dy, taps, rows, columns, step, apart, per_job, partial):
    """partial[job] (R S, C) over some rows of dy, with dbias behind it where there is room for it; behind those of all
    jobs is room for a block of each.

    The last register of channels has a place of its own: the channels it shares must not be added twice.
    """
    total, block, runs = partial[job], partial[partial.shape[0] // 2 + job], 0
    to, to_row, sums = address(block, (0, 0)), partial.strides[1], partial.shape[1] > taps.shape[0]
    zero_bytes(to, partial.strides[0])
    zero_bytes(address(total, (0, 0)), partial.strides[0])
    for place in range(job * per_job, min(dy.shape[0] * dy.shape[1], (job + 1) * per_job)):
        n, p = divmod(place, dy.shape[1])
        runs = _add_row(address(x, (n, p * step[0], 0, 0)), p, taps, rows, columns, step, apart,
                        (x.shape[1], x.shape[2]), address(dy, (n, p, 0, 0)), dy.shape[2], dy.shape[3], dy, to, to_row,
                        sums, runs, block, total)  # fmt: skip
    _flush(block, total)


@jit
def _correlate(x, dy, taps, rows, columns, step, apart, per_job, partial, total):
    """total = the sum of the partial sums, which are computed first."""
    arguments = (x, dy, taps, rows, columns, step, apart, per_job, partial)
    jobs = partial.shape[0] // 2
    parallel_for(_gradient_job, jobs, arguments, dy.size * taps.shape[0] < SERIAL_WORK)
    parallel_for(add_partials, total.shape[0], (partial[:jobs], total, total[0, :0], False), partial.size < SERIAL_WORK)
