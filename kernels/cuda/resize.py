"""Images of another size, one axis after the other, and the maxima of bins. Defined in `kernels/reference/resize.py`.

Where the pixels come from is made on the host (`resizing.taps`). Backward a thread adds all that its pixel gave to.
"""

from __future__ import annotations

import math

import numpy as np

from ..resizing import bins, taps
from .dialect import cuda, kernel, real, real_dtype
from .loops import THREADS

INFINITY = math.inf


def _blocks(x):
    return -(-x.size // THREADS), 1, 1


@kernel("ppjjsiiii")
def blend(x, y, low, high, share, size, out, inner, n):
    """y (outer, out, inner) = (1 - share) x[low] + share x[high] of x (outer, size, inner)."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        k = i // inner % out
        base = i // inner // out * size * inner + i % inner
        value = x[base + low[k] * inner]
        if share[k] != 0:
            value = (real(1) - share[k]) * value + share[k] * x[base + high[k] * inner]
        y[i] = value


@kernel("ppjjsjjiiii")
def spread(dy, dx, low, high, share, first, end, size, out, inner, n):
    """The gradient of `blend`: pixel i gave to no others than first[i] .. end[i] - 1."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        pixel = i // inner % size
        base = i // inner // size * out * inner + i % inner
        total = real(0)
        for k in range(first[pixel], end[pixel]):
            g = dy[base + k * inner]
            if low[k] == pixel:
                total += (real(1) - share[k]) * g
            if high[k] == pixel and share[k] != 0:
                total += share[k] * g
        dx[i] = total


def _axis(x, axis, size, out, step, mode, align_corners, kernel_, extent):
    """`blend` or `spread` along one axis of images, to `extent`."""
    real_ = real_dtype(x.dtype)
    low, high, share = taps(size, out, step, mode, align_corners, real_)
    put = x.device.upload
    tables = [put(low.astype(np.int32)), put(high.astype(np.int32)), put(share.astype(real_))]
    if kernel_ is spread:
        pixels = np.arange(size)
        tables.append(put(np.searchsorted(high, pixels, side="left").astype(np.int32)))
        tables.append(put(np.searchsorted(low, pixels, side="right").astype(np.int32)))
    shape = (*x.shape[:axis], extent, *x.shape[axis + 1 :])
    y = x.device.empty(shape, x.dtype)
    kernel_(_blocks(y), THREADS, x, y, *tables, size, out, math.prod(shape[axis + 1 :]), y.size)
    return y


def interpolate_forward(x, *, size, step, mode, align_corners):
    y = x
    for axis in (0, 1):
        y = _axis(y, 1 + axis, x.shape[1 + axis], size[axis], step[axis], mode, align_corners, blend, size[axis])
    return y, (x.shape, size, step, mode, align_corners)


def interpolate_backward(dy, saved, needs):
    shape, size, step, mode, align_corners = saved
    if not needs[0]:
        return (None,)
    for axis in (1, 0):
        extent = shape[1 + axis]
        dy = _axis(dy, 1 + axis, extent, size[axis], step[axis], mode, align_corners, spread, extent)
    return (dy,)


@kernel("ppjjjjjiiiiii")
def bin_maxima(x, y, index, tops, bottoms, lefts, rights, h, w, p, q, channels, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        c = i % channels
        column = i // channels % q
        row = i // channels // q % p
        image = i // channels // q // p
        best = real(-INFINITY)
        winner = -1
        for u in range(tops[row], bottoms[row]):
            for v in range(lefts[column], rights[column]):
                value = x[((image * h + u) * w + v) * channels + c]
                if winner < 0 or value > best or (value != value and best == best):
                    best = value
                    winner = u * w + v
        y[i] = best
        index[i] = winner


@kernel("pjpiiiiii")
def bin_maxima_back(dy, index, dx, h, w, p, q, channels, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        c = i % channels
        pixel = i // channels % (h * w)
        u = pixel // w
        v = pixel % w
        image = i // channels // (h * w)
        total = real(0)
        # Bin k holds pixel u where floor(k h / p) <= u < ceil((k + 1) h / p).
        for row in range(u * p // h, min(((u + 1) * p + h - 1) // h, p)):
            for column in range(v * q // w, min(((v + 1) * q + w - 1) // w, q)):
                at = ((image * p + row) * q + column) * channels + c
                if index[at] == pixel:
                    total += dy[at]
        dx[i] = total


def adaptive_max_pool2d_forward(x, *, output_size):
    n, h, w, c = x.shape
    y = x.device.empty((n, *output_size, c), x.dtype)
    index = x.device.empty(y.shape, np.int32)
    edges = [np.array(bins(*axis), np.int32) for axis in zip((h, w), output_size)]
    tables = [x.device.constant(np.ascontiguousarray(each[:, side])) for each in edges for side in (0, 1)]
    bin_maxima(_blocks(y), THREADS, x, y, index, *tables, h, w, *output_size, c, y.size)
    return y, (x.shape, index)


def adaptive_max_pool2d_backward(dy, saved, needs):
    (n, h, w, c), index = saved
    if not needs[0]:
        return (None,)
    dx = dy.device.empty((n, h, w, c), dy.dtype)
    bin_maxima_back(_blocks(dx), THREADS, dy, index, dx, h, w, *dy.shape[1:3], c, dx.size)
    return (dx,)
