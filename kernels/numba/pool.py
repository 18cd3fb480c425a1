"""Pooling. N H W C images, R S window rows and columns, P Q output rows and columns; loops run along channels.

The operations are defined in `kernels/reference/pool.py`. A job is some rows of the output (forward) or of dx
(backward): a pixel of dx gathers from the windows that hold it, so that no two jobs write to one place. Which cells of
a window lie in the image, and which windows hold a pixel, is worked out once for each axis and shape, in `_axis`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..geometry import pool_output_size
from ..memory import empty
from .jit import JOB, TAIL, contiguous, helper, jit, parallel_for, scratch
from .loops import BLOCK, SERIAL, get, pointer, put
from .simd import lanes
from .vmath import inlined, real, where


class _Axis(NamedTuple):
    """The rows (or columns) of image and output, `size` and `out` of them, for a window of `kernel` cells."""

    out: int
    cells: np.ndarray  # (out, 3): the first cell in the image, one past the last, the first cell's position
    windows: np.ndarray  # (entries, 2): window and cell, position by position: all the windows that hold it
    starts: np.ndarray  # (size + 1,): where the entries of a position begin


@lru_cache(maxsize=1024)
def _axis(size, kernel, stride, padding, dilation, ceil_mode) -> _Axis:
    out = pool_output_size(size, kernel, stride, padding, dilation, ceil_mode)
    places = np.arange(out)[:, None] * stride - padding + np.arange(kernel) * dilation  # (out, kernel) positions
    inside = (places >= 0) & (places < size)
    first = np.argmax(inside, axis=1)
    last = np.where(inside.any(axis=1), kernel - np.argmax(inside[:, ::-1], axis=1), first)
    cells = np.stack([first, last, places[np.arange(out), first]], axis=1)
    window, cell = np.nonzero(inside)
    position = places[inside]
    order = np.argsort(position, kind="stable")
    starts = np.searchsorted(position[order], np.arange(size + 1))
    return _Axis(out, cells, np.stack([window[order], cell[order]], axis=1), starts)


@lru_cache(maxsize=1024)
def _counts(size, out, kernel, stride, padding, count_include_pad) -> np.ndarray:
    """How many cells each window averages along one axis, (out,) float64; those beyond the padding never count."""
    start = np.arange(out) * stride - padding
    end = np.minimum(start + kernel, size + padding)
    count = end - start if count_include_pad else np.minimum(end, size) - np.maximum(start, 0)
    return count.astype(np.float64)


def _rows_per_job(row_work) -> int:
    return max(1, BLOCK // max(row_work, 1))


@helper
def _span(like, channels, to, end, place, size):
    """How many channels to run over: whole vectors, unless those at `to` reach past the end of the job's share or those
    at `place` past the size of the input. What is written beyond the pixel, the next pixels overwrite."""
    whole = -(-channels // lanes(like)) * lanes(like)
    return channels if to + whole > end or place + whole > size else whole


@inlined
def _larger(value, number, best, winner):
    """The larger of the best so far and a value, with its number; the first of equals, and the first NaN."""
    wins = (not value <= best) & (best == best)
    return where(wins, value, best), where(wins, number, winner)


@helper(noalias=True)
def _fold(x, places, numbers, more, y, index, channels):
    """y and index = the largest of five cells, and with `more` of what y holds already."""
    for c in range(channels):
        first = get(x, get(places, 0) + c)
        best = where(more, get(y, c), first)
        winner = where(more, real(best, get(index, c)), get(numbers, 0))
        best, winner = _larger(first, get(numbers, 0), best, winner)
        best, winner = _larger(get(x, get(places, 1) + c), get(numbers, 1), best, winner)
        best, winner = _larger(get(x, get(places, 2) + c), get(numbers, 2), best, winner)
        best, winner = _larger(get(x, get(places, 3) + c), get(numbers, 3), best, winner)
        best, winner = _larger(get(x, get(places, 4) + c), get(numbers, 4), best, winner)
        put(y, c, best)
        put(index, c, np.int32(winner))


@helper
def _max_row(x, y, index, row, end, image, across, sizes, steps, places, numbers):
    """A row of windows: each lists its cells inside the image and folds them by fives, the last repeated to fill up.

    `image` = (first cell row, one past the last, its place in x); sizes = (channels, S); steps from cell to cell.
    """
    channels = sizes[0]
    for q in range(across.shape[0]):
        count, to = 0, (row * across.shape[0] + q) * channels
        for r in range(image[0], image[1]):
            place = image[2] + (r - image[0]) * steps[0] + across[q, 2] * channels
            for s in range(across[q, 0], across[q, 1]):
                put(places, count, place + (s - across[q, 0]) * steps[1])
                put(numbers, count, r * sizes[1] + s)
                count += 1
        if count == 0:
            for c in range(channels):
                put(y, to + c, -math.inf)
                put(index, to + c, 0)
            continue
        for k in range(count, count + 4):
            put(places, k, get(places, count - 1))
            put(numbers, k, get(numbers, count - 1))
        span = _span(x, channels, to, end, get(places, count - 1), x.size)
        for k in range(0, count, 5):
            _fold(pointer(x, 0), pointer(places, k), pointer(numbers, k), k > 0, pointer(y, to), pointer(index, to),
                  span)  # fmt: skip


@helper
def _max_job(job, worker, x, y, index, per_job, shape, down, across, kernel, dilation):
    cells = kernel[0] * kernel[1] + 4
    places = scratch(down, JOB, (cells,))
    numbers = scratch(x, TAIL, (cells,))  # floats: one mask then chooses value and number
    line = shape[2] * shape[3]
    stop = min((job + 1) * per_job, shape[0] * down.shape[0])
    steps = (dilation[0] * line, dilation[1] * shape[3])
    for row in range(job * per_job, stop):
        p = row % down.shape[0]
        image = (down[p, 0], down[p, 1], (row // down.shape[0] * shape[1] + down[p, 2]) * line)
        _max_row(x, y, index, row, stop * across.shape[0] * shape[3], image, across, (shape[3], kernel[1]), steps,
                 places, numbers)  # fmt: skip


@jit
def _max_pool(x, y, index, per_job, down, across, kernel, dilation):
    arguments = (x, y, index, per_job, x.shape, down, across, kernel, dilation)
    parallel_for(_max_job, -(-x.shape[0] * down.shape[0] // per_job), arguments, x.size < SERIAL)


def max_pool2d_forward(x, *, kernel_size, stride, padding, dilation, ceil_mode):
    options = zip(x.shape[1:3], kernel_size, stride, padding, dilation, strict=True)
    down, across = (_axis(*axis, ceil_mode) for axis in options)
    shape, cells = (x.shape[0], down.out, across.out, x.shape[3]), kernel_size[0] * kernel_size[1]
    y, index = empty(shape, x.dtype), empty(shape, np.uint8 if cells <= 256 else np.int32)
    if y.size:
        _max_pool(contiguous(x), y, index, _rows_per_job(across.out * x.shape[3] * cells), down.cells, across.cells,
                  kernel_size, dilation)  # fmt: skip
    return y, (x.shape, index, kernel_size, stride, padding, dilation)


@helper(noalias=True)
def _gather_won(dy, index, number, more, dx, channels):
    """dx = dy where the window's winner is this cell, else 0; added to dx with `more`."""
    zero = real(get(dy, 0), 0)
    for c in range(channels):
        won = where(get(index, c) == number, get(dy, c), zero)
        put(dx, c, where(more, get(dx, c), zero) + won)


@helper(noalias=True)
def _gather_share(dy, share, more, dx, channels):
    """dx = dy share; added to dx with `more`."""
    zero = real(get(dy, 0), 0)
    for c in range(channels):
        put(dx, c, where(more, get(dx, c), zero) + get(dy, c) * share)


@helper
def _back_job(job, worker, dy, index, dx, per_job, shape, out, kernel_columns, down, rows, across, columns, counts):
    """Rows of dx: each pixel gathers from its windows. Max pooling has an index, average pooling counts instead."""
    height, width, channels = shape[1], shape[2], shape[3]
    stop = min((job + 1) * per_job, shape[0] * height)
    end = stop * width * channels
    for row in range(job * per_job, stop):
        image, h = row // height, row % height
        for w in range(width):
            to, more = (row * width + w) * channels, False
            for e in range(rows[h], rows[h + 1]):
                line, number = (image * out[0] + down[e, 0]) * out[1], down[e, 1] * kernel_columns
                for f in range(columns[w], columns[w + 1]):
                    place = (line + across[f, 0]) * channels
                    span = _span(dy, channels, to, end, place, dy.size)
                    if index.size:
                        _gather_won(pointer(dy, place), pointer(index, place), number + across[f, 1], more,
                                    pointer(dx, to), span)  # fmt: skip
                    else:
                        count = counts[down[e, 0]] * counts[out[0] + across[f, 0]]
                        _gather_share(pointer(dy, place), real(get(dy, 0), 1 / count), more, pointer(dx, to), span)
                    more = True
            if not more:
                for c in range(channels):
                    put(dx, to + c, 0)


@jit
def _pool_back(dy, index, dx, per_job, kernel_columns, down, rows, across, columns, counts):
    arguments = (dy, index, dx, per_job, dx.shape, dy.shape[1:3], kernel_columns,
                 down, rows, across, columns, counts)  # fmt: skip
    parallel_for(_back_job, -(-dx.shape[0] * dx.shape[1] // per_job), arguments, dx.size < SERIAL)


def _backward(dy, index, x_shape, kernel_size, axes, counts):
    """dx from the gradients of the windows on the two axes."""
    dx = empty(x_shape, dy.dtype)
    if dy.size == 0:
        dx[...] = 0
    elif dx.size:
        down, across = axes
        per_job = _rows_per_job(x_shape[2] * x_shape[3])
        _pool_back(contiguous(dy), contiguous(index), dx, per_job, kernel_size[1], down.windows, down.starts,
                   across.windows, across.starts, counts)  # fmt: skip
    return dx


def _axes(x_shape, out, kernel_size, stride, padding, dilation):
    """The axes of an output that is there already: with or without ceil_mode, as its size tells."""
    options = zip(x_shape[1:3], kernel_size, stride, padding, dilation, out, strict=True)
    return [_axis(*axis, size != pool_output_size(*axis, False)) for *axis, size in options]


def max_pool2d_backward(dy, saved, needs):
    x_shape, index, kernel_size, stride, padding, dilation = saved
    if not needs[0]:
        return (None,)
    axes = _axes(x_shape, dy.shape[1:3], kernel_size, stride, padding, dilation)
    return (_backward(dy, index, x_shape, kernel_size, axes, empty(0)),)


@helper(noalias=True)
def _add_cell(x, more, share, y, channels):
    """y = x, or y + x with `more`, times share."""
    zero = real(get(x, 0), 0)
    for c in range(channels):
        put(y, c, (where(more, get(y, c), zero) + get(x, c)) * share)


@helper
def _average_job(job, worker, x, y, per_job, shape, down, across, counts):
    height, width, channels = shape[1], shape[2], shape[3]
    p_size, q_size = down.shape[0], across.shape[0]
    stop = min((job + 1) * per_job, shape[0] * p_size)
    end = stop * q_size * channels
    for row in range(job * per_job, stop):
        image, p = row // p_size, row % p_size
        for q in range(q_size):
            to = (row * q_size + q) * channels
            cells = (down[p, 1] - down[p, 0]) * (across[q, 1] - across[q, 0])
            done = 0
            for r in range(down[p, 1] - down[p, 0]):
                for s in range(across[q, 1] - across[q, 0]):
                    place = (((image * height) + down[p, 2] + r) * width + across[q, 2] + s) * channels
                    share = 1 / (counts[p] * counts[p_size + q]) if done + 1 == cells else 1.0
                    span = _span(x, channels, to, end, place, x.size)
                    _add_cell(pointer(x, place), done > 0, real(get(x, 0), share), pointer(y, to), span)
                    done += 1


@jit
def _average_pool(x, y, per_job, down, across, counts):
    arguments = (x, y, per_job, x.shape, down, across, counts)
    parallel_for(_average_job, -(-x.shape[0] * down.shape[0] // per_job), arguments, x.size < SERIAL)


def _window_counts(axes, x_shape, kernel_size, stride, padding, count_include_pad) -> np.ndarray:
    """Cells of the windows along both axes, one behind the other: (P + Q,)."""
    options = zip(x_shape[1:3], axes, kernel_size, stride, padding, strict=True)
    return np.concatenate([_counts(size, axis.out, *rest, count_include_pad) for size, axis, *rest in options])


def avg_pool2d_forward(x, *, kernel_size, stride, padding, ceil_mode, count_include_pad):
    options = zip(x.shape[1:3], kernel_size, stride, padding, strict=True)
    down, across = axes = [_axis(*axis, 1, ceil_mode) for axis in options]
    y = empty((x.shape[0], down.out, across.out, x.shape[3]), x.dtype)
    if y.size:
        per_job = _rows_per_job(across.out * x.shape[3] * kernel_size[0] * kernel_size[1])
        counts = _window_counts(axes, x.shape, kernel_size, stride, padding, count_include_pad)
        _average_pool(contiguous(x), y, per_job, down.cells, across.cells, counts)
    return y, (x.shape, kernel_size, stride, padding, count_include_pad)


def avg_pool2d_backward(dy, saved, needs):
    x_shape, kernel_size, stride, padding, count_include_pad = saved
    if not needs[0]:
        return (None,)
    axes = _axes(x_shape, dy.shape[1:3], kernel_size, stride, padding, (1, 1))
    counts = _window_counts(axes, x_shape, kernel_size, stride, padding, count_include_pad)
    return (_backward(dy, empty((0, 0, 0, 0), np.uint8), x_shape, kernel_size, axes, counts),)
