"""Images of another size: interpolation, and the maxima of bins. N H W C images, P Q output rows and columns.

The operations are defined in `kernels/reference/resize.py`. A job is some rows of what is made, or in the backward of
the maxima some channels of an image: no two jobs write to one place. Loops run along channels.
"""

from __future__ import annotations

import math

import numpy as np

from ..memory import empty
from ..resizing import bins, summing, taps
from .jit import JOB, contiguous, helper, jit, parallel_for, scratch
from .loops import BLOCK, SERIAL, get, pointer, put
from .vmath import real, where

CHANNELS = 64  # in a job of the maxima's backward


def _rows_per_job(row_work: int) -> int:
    return max(1, BLOCK // max(row_work, 1))


@helper(noalias=True)
def _copy(x, y, count):
    for c in range(count):
        put(y, c, get(x, c))


@helper(noalias=True)
def _blend(a, b, down, left, right, across, y, channels):
    """y from the pixels `left` and `right` of the rows a and b; what has a share of 0 does not count at all."""
    one, zero = real(down, 1), real(down, 0)
    for c in range(channels):
        low, high = get(a, left + c), get(a, right + c)
        low = where(down == zero, low, (one - down) * low + down * get(b, left + c))
        high = where(down == zero, high, (one - down) * high + down * get(b, right + c))
        put(y, c, where(across == zero, low, (one - across) * low + across * high))


@helper
def _blend_job(job, worker, x, y, down, across, per_job):
    height, width, channels, p_size, q_size = x.shape[1], x.shape[2], x.shape[3], y.shape[1], y.shape[2]
    low, high, share = down
    left, right, across_share = across
    for row in range(job * per_job, min((job + 1) * per_job, y.shape[0] * p_size)):
        p, start = row % p_size, row // p_size * height
        if p and row > job * per_job and share[p] == 0 and share[p - 1] == 0 and low[p] == low[p - 1]:
            # The row above is the same.
            _copy(pointer(y, (row - 1) * q_size * channels), pointer(y, row * q_size * channels), q_size * channels)
            continue
        a = pointer(x, (start + low[p]) * width * channels)
        b = pointer(x, (start + high[p]) * width * channels)
        for q in range(q_size):
            to = pointer(y, (row * q_size + q) * channels)
            if share[p] == 0 and across_share[q] == 0:
                _copy(pointer(x, ((start + low[p]) * width + left[q]) * channels), to, channels)
            else:
                _blend(a, b, share[p], left[q] * channels, right[q] * channels, across_share[q], to, channels)


@jit
def _interpolate(x, y, down, across, per_job):
    rows = y.shape[0] * y.shape[1]
    parallel_for(_blend_job, -(-rows // per_job), (x, y, down, across, per_job), y.size < SERIAL)


@helper(noalias=True)
def _add(x, share, y, count):
    for c in range(count):
        put(y, c, get(y, c) + share * get(x, c))


@helper
def _gather_line(dy, place, across, line, channels):
    """The gradient of a row's pixels, from a row of dy at `place`."""
    left, right, share = across
    for i in range(line.size):
        line[i] = 0
    for q in range(share.size):
        d = pointer(dy, place + q * channels)
        _add(d, 1 - share[q], pointer(line, left[q] * channels), channels)
        if share[q] != 0:
            _add(d, share[q], pointer(line, right[q] * channels), channels)


@helper
def _gather_job(job, worker, dy, dx, down, across, per_job):
    """Some rows of one image of dx, from the rows of dy that reach them, from the top down."""
    height, channels = dx.shape[1], dx.shape[3]
    per_image, size = -(-height // per_job), dx.shape[2] * dx.shape[3]
    image, first = job // per_image, job % per_image * per_job
    end, (low, high, share) = min(height, first + per_job), down
    line = scratch(dx, JOB, (size,))
    for i in range((image * height + first) * size, (image * height + end) * size):
        put(dx, i, 0)
    for p in range(share.size):
        if low[p] >= end or high[p] < first:
            continue
        _gather_line(dy, (image * share.size + p) * across[0].size * channels, across, line, channels)
        if low[p] >= first:
            _add(pointer(line, 0), 1 - share[p], pointer(dx, (image * height + low[p]) * size), size)
        if share[p] != 0 and high[p] < end:
            _add(pointer(line, 0), share[p], pointer(dx, (image * height + high[p]) * size), size)


@jit
def _interpolate_back(dy, dx, down, across, per_job):
    jobs = dx.shape[0] * -(-dx.shape[1] // per_job)
    parallel_for(_gather_job, jobs, (dy, dx, down, across, per_job), dx.size < SERIAL)


def _taps(x_shape, size, step, mode, align_corners, dtype):
    """Those of rows and of columns, the shares in the arrays' dtype."""
    found = []
    for axis in range(2):
        low, high, share = taps(x_shape[1 + axis], size[axis], step[axis], mode, align_corners, dtype)
        found.append((low, high, share.astype(dtype)))
    return found


def interpolate_forward(x, *, size, step, mode, align_corners):
    y = empty((x.shape[0], *size, x.shape[3]), x.dtype)
    if y.size:
        axes = _taps(x.shape, size, step, mode, align_corners, x.dtype)
        _interpolate(contiguous(x), y, *axes, _rows_per_job(size[1] * x.shape[3]))
    return y, (x.shape, size, step, mode, align_corners)


def interpolate_backward(dy, saved, needs):
    x_shape, *options = saved
    if not needs[0]:
        return (None,)
    wide = summing(dy, x_shape)
    dx = empty(x_shape, wide.dtype)
    if dx.size:
        per_job = min(x_shape[1], _rows_per_job(x_shape[2] * x_shape[3]))
        down, across = (
            (low, high, share.astype(wide.dtype)) for low, high, share in _taps(x_shape, *options, dy.dtype)
        )
        _interpolate_back(contiguous(wide), dx, down, across, per_job)
    return (dx.astype(dy.dtype, copy=False),)


@helper(noalias=True)
def _keep_larger(x, place, y, index, first, channels):
    """y and index of a bin, with one more pixel; NaN is larger than any number, of equals the first stays."""
    for c in range(channels):
        value, best = get(x, c), get(y, c)
        larger = first or (best == best and not value <= best)
        put(y, c, where(larger, value, best))
        put(index, c, np.int32(place) if larger else get(index, c))


@helper
def _bins_job(job, worker, x, y, index, down, across, per_job):
    height, width, channels, p_size, q_size = x.shape[1], x.shape[2], x.shape[3], y.shape[1], y.shape[2]
    for row in range(job * per_job, min((job + 1) * per_job, y.shape[0] * p_size)):
        image, p = row // p_size, row % p_size
        for q in range(q_size):
            to = (row * q_size + q) * channels
            for h in range(down[p, 0], down[p, 1]):
                for w in range(across[q, 0], across[q, 1]):
                    first, pixel = h == down[p, 0] and w == across[q, 0], h * width + w
                    at = pointer(x, (image * height * width + pixel) * channels)
                    _keep_larger(at, pixel, pointer(y, to), pointer(index, to), first, channels)


@jit
def _max_bins(x, y, index, down, across, per_job):
    rows = y.shape[0] * y.shape[1]
    parallel_for(_bins_job, -(-rows // per_job), (x, y, index, down, across, per_job), x.size < SERIAL)


def adaptive_max_pool2d_forward(x, *, output_size):
    shape = x.shape[0], *output_size, x.shape[3]
    y, index = empty(shape, x.dtype), empty(shape, np.int32)
    if y.size:
        down, across = (np.array(bins(*axis), np.int64) for axis in zip(x.shape[1:3], output_size, strict=True))
        per_job = _rows_per_job(x.shape[2] * x.shape[3] * -(-x.shape[1] // output_size[0]))
        _max_bins(contiguous(x), y, index, down, across, per_job)
    return y, (x.shape, index)


@helper
def _bins_back_job(job, worker, dy, index, dx):
    """Some channels of an image."""
    pixels, channels, cells = dx.shape[1] * dx.shape[2], dx.shape[3], dy.shape[1] * dy.shape[2]
    parts = -(-channels // CHANNELS)
    image, first = job // parts, job % parts * CHANNELS
    end = min(channels, first + CHANNELS)
    for pixel in range(image * pixels, (image + 1) * pixels):
        for c in range(first, end):
            put(dx, pixel * channels + c, 0)
    for cell in range(image * cells, (image + 1) * cells):
        for c in range(first, end):
            at = (image * pixels + get(index, cell * channels + c)) * channels + c
            put(dx, at, get(dx, at) + get(dy, cell * channels + c))


@jit
def _max_bins_back(dy, index, dx):
    jobs = dx.shape[0] * -(-dx.shape[3] // CHANNELS)
    parallel_for(_bins_back_job, jobs, (dy, index, dx), dx.size < SERIAL)


def adaptive_max_pool2d_backward(dy, saved, needs):
    x_shape, index = saved
    if not needs[0]:
        return (None,)
    wide = summing(dy, x_shape)
    dx = empty(x_shape, wide.dtype)
    if math.prod(x_shape):
        _max_bins_back(contiguous(wide), contiguous(index), dx)
    return (dx.astype(dy.dtype, copy=False),)
