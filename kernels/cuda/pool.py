"""Pooling: a thread makes one number. Backward it looks at the windows that its pixel is in, so that nothing is added
by two threads. Channels are the last axis, and neighbours read neighbours.

The operations are defined in `kernels/reference/pool.py`.
"""

from __future__ import annotations

import math

import numpy as np

from ..geometry import pool_output_size
from .dialect import cuda, i32, kernel, real
from .loops import THREADS

INFINITY = math.inf


def _blocks(x):
    return -(-x.size // THREADS), 1, 1


@kernel("ppj" + 14 * "i")
def max_windows(x, y, index, h, w, p, q, channels, r, s, sh, sw, top, left, dh, dw, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        c = i % channels
        column = i // channels % q * sw - left
        row = i // channels // q % p * sh - top
        image = i // channels // q // p
        best = real(-INFINITY)
        winner = -1
        for a in range(r):
            for b in range(s):
                u = row + a * dh
                v = column + b * dw
                if u >= 0 and u < h and v >= 0 and v < w:
                    value = x[((image * h + u) * w + v) * channels + c]
                    if winner < 0 or value > best or (value != value and best == best):
                        best = value
                        winner = a * s + b
        y[i] = best
        index[i] = max(winner, 0)


@kernel("pjp" + 14 * "i")
def max_windows_back(dy, index, dx, h, w, p, q, channels, r, s, sh, sw, top, left, dh, dw, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        c = i % channels
        v = i // channels % w + left
        u = i // channels // w % h + top
        image = i // channels // w // h
        total = real(0)
        for a in range(r):
            for b in range(s):
                y = u - a * dh
                z = v - b * dw
                if y >= 0 and y % sh == 0 and y // sh < p and z >= 0 and z % sw == 0 and z // sw < q:
                    at = ((image * p + y // sh) * q + z // sw) * channels + c
                    if index[at] == a * s + b:
                        total += dy[at]
        dx[i] = total


def max_pool2d_forward(x, *, kernel_size, stride, padding, dilation, ceil_mode):
    n, h, w, c = x.shape
    options = zip((h, w), kernel_size, stride, padding, dilation, strict=True)
    p, q = (pool_output_size(*axis, ceil_mode) for axis in options)
    y, index = x.device.empty((n, p, q, c), x.dtype), x.device.empty((n, p, q, c), np.int32)
    max_windows(_blocks(y), THREADS, x, y, index, h, w, p, q, c, *kernel_size, *stride, *padding, *dilation, y.size)
    return y, (x.shape, index, kernel_size, stride, padding, dilation)


def max_pool2d_backward(dy, saved, needs):
    (n, h, w, c), index, kernel_size, stride, padding, dilation = saved
    if not needs[0]:
        return (None,)
    dx = dy.device.empty((n, h, w, c), dy.dtype)
    _, p, q, _ = dy.shape
    max_windows_back(_blocks(dx), THREADS, dy, index, dx, h, w, p, q, c, *kernel_size, *stride, *padding, *dilation,
                     dx.size)  # fmt: skip
    return (dx,)


@kernel("ppjjjj" + 7 * "i")
def means(x, y, tops, bottoms, lefts, rights, counted, h, w, p, q, channels, n):
    """The mean over rows tops[p] .. bottoms[p] - 1 and columns lefts[q] .. rights[q] - 1, those outside being 0.

    What it is divided by: all of them where `counted`, else those inside.
    """
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        c = i % channels
        column = i // channels % q
        row = i // channels // q % p
        image = i // channels // q // p
        top, bottom = max(tops[row], i32(0)), min(bottoms[row], h)
        left, right = max(lefts[column], i32(0)), min(rights[column], w)
        total = real(0)
        for u in range(top, bottom):
            for v in range(left, right):
                total += x[((image * h + u) * w + v) * channels + c]
        cells = (bottom - top) * (right - left)
        if counted:
            cells = (bottoms[row] - tops[row]) * (rights[column] - lefts[column])
        y[i] = total / real(cells)


@kernel("pp" + 8 * "j" + 7 * "i")
def means_back(dy, dx, tops, bottoms, lefts, rights, first_p, end_p, first_q, end_q, counted, h, w, p, q, channels, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        c = i % channels
        v = i // channels % w
        u = i // channels // w % h
        image = i // channels // w // h
        total = real(0)
        for row in range(first_p[u], end_p[u]):
            for column in range(first_q[v], end_q[v]):
                top, bottom = tops[row], bottoms[row]
                left, right = lefts[column], rights[column]
                if not counted:
                    top, bottom = max(top, i32(0)), min(bottom, h)
                    left, right = max(left, i32(0)), min(right, w)
                cells = (bottom - top) * (right - left)
                total += dy[((image * p + row) * q + column) * channels + c] / real(cells)
        dx[i] = total


class _Windows:
    """The windows along one axis: [begin, end) of each in the image, and for each pixel those that hold it."""

    def __init__(self, size, begin, end):
        self.begin, self.end, pixels = begin, end, np.arange(size)
        self.first = np.searchsorted(np.maximum.accumulate(end), pixels, side="right")
        self.last = np.searchsorted(begin, pixels, side="right")

    def bounds(self, device):
        return [device.constant(each.astype(np.int32)) for each in (self.begin, self.end)]

    def holders(self, device):
        return [device.constant(each.astype(np.int32)) for each in (self.first, self.last)]


def _sliding(size, count, kernel_size, stride, padding):
    """Average-pooling's windows; what lies beyond the padding never counts."""
    begin = np.arange(count) * stride - padding
    return _Windows(size, begin, np.minimum(begin + kernel_size, size + padding))


def _bins(size, count):
    """Those of adaptive pooling, see `geometry.pool_bins`."""
    i = np.arange(count)
    return _Windows(size, i * size // count, -(-(i + 1) * size // count))


def _means(x, down, across, counted):
    n, h, w, c = x.shape
    p, q = len(down.begin), len(across.begin)
    y = x.device.empty((n, p, q, c), x.dtype)
    tables = *down.bounds(x.device), *across.bounds(x.device)
    means(_blocks(y), THREADS, x, y, *tables, counted, h, w, p, q, c, y.size)
    return y


def _means_back(dy, shape, down, across, counted):
    n, h, w, c = shape
    _, p, q, _ = dy.shape
    dx = dy.device.empty(shape, dy.dtype)
    tables = *down.bounds(dy.device), *across.bounds(dy.device), *down.holders(dy.device), *across.holders(dy.device)
    means_back(_blocks(dx), THREADS, dy, dx, *tables, counted, h, w, p, q, c, dx.size)
    return dx


def avg_pool2d_forward(x, *, kernel_size, stride, padding, ceil_mode, count_include_pad):
    axes = list(zip(x.shape[1:3], kernel_size, stride, padding, strict=True))
    down, across = (
        _sliding(size, pool_output_size(size, kernel, step, pad, 1, ceil_mode), kernel, step, pad)
        for size, kernel, step, pad in axes
    )
    return _means(x, down, across, count_include_pad), (x.shape, kernel_size, stride, padding, count_include_pad)


def avg_pool2d_backward(dy, saved, needs):
    shape, kernel_size, stride, padding, count_include_pad = saved
    if not needs[0]:
        return (None,)
    axes = zip(shape[1:3], dy.shape[1:3], kernel_size, stride, padding, strict=True)
    down, across = (_sliding(*axis) for axis in axes)
    return (_means_back(dy, shape, down, across, count_include_pad),)


def adaptive_avg_pool2d_forward(x, *, output_size):
    down, across = (_bins(*axis) for axis in zip(x.shape[1:3], output_size, strict=True))
    return _means(x, down, across, True), (x.shape, output_size)


def adaptive_avg_pool2d_backward(dy, saved, needs):
    shape, output_size = saved
    if not needs[0]:
        return (None,)
    down, across = (_bins(*axis) for axis in zip(shape[1:3], output_size, strict=True))
    return (_means_back(dy, shape, down, across, True),)
