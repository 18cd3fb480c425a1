"""Group normalisation of images x (N, ..., C), weight and bias (C,) or None; defined in `kernels/reference/norm.py`.

A job has one group of one image: `depth` channels of each pixel. Its sums are kept in float64.
"""

from __future__ import annotations

import math

from ..memory import empty, zeros
from .batch_norm import or_value
from .jit import contiguous, helper, jit, parallel_for
from .loops import SERIAL, get, pointer, put
from .vmath import real


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _moments(x, mean, pixels, channels, depth):
    """(sum of x - mean, sum of (x - mean)^2)."""
    total = square = 0.0
    for pixel in range(pixels):
        one = two = real(get(x, 0), 0)
        for c in range(pixel * channels, pixel * channels + depth):
            centred = get(x, c) - mean
            one += centred
            two += centred * centred
        total += one
        square += two
    return total, square


@helper(noalias=True)
def _apply(x, weight, bias, y, mean, less, rstd, pixels, channels, depth):
    for pixel in range(pixels):
        for c in range(depth):
            at = pixel * channels + c
            put(y, at, (get(x, at) - mean - less) * rstd * get(weight, c) + get(bias, c))


@helper
def _job(job, worker, x, weight, bias, y, means, rstds, eps, groups):
    pixels, channels = x.shape[1], x.shape[2]
    depth = channels // groups
    image, first = job // groups, job % groups * depth
    start = image * pixels * channels + first
    line = pointer(x, start)
    near = real(get(line, 0), _moments(line, real(get(line, 0), 0), pixels, channels, depth)[0] / (pixels * depth))
    rest, square = _moments(line, near, pixels, channels, depth)
    rest /= pixels * depth
    mean = near + rest
    rstd = real(near, 1 / math.sqrt(max(square / (pixels * depth) - rest * rest, 0.0) + eps))
    put(means, job, mean)
    put(rstds, job, rstd)
    most = real(near, mean)
    less = real(near, mean - most)
    scale, shift = pointer(weight, first), pointer(bias, first)
    _apply(line, scale, shift, pointer(y, start), most, less, rstd, pixels, channels, depth)


@jit
def _forward(x, weight, bias, y, means, rstds, eps, groups):
    arguments = (x, weight, bias, y, means, rstds, eps, groups)
    parallel_for(_job, x.shape[0] * groups, arguments, x.size < SERIAL)


def group_norm_forward(x, weight, bias, *, groups, eps):
    n, channels, dtype = x.shape[0], x.shape[-1], x.dtype
    y, mean, rstd = empty(x.shape, dtype), zeros((n, groups)), zeros((n, groups), dtype)  # 0 for no pixels
    if y.size:
        scale, shift = or_value(weight, 1, channels, dtype), or_value(bias, 0, channels, dtype)
        rows = (n, -1, channels)
        _forward(contiguous(x).reshape(rows), scale, shift, y.reshape(rows), mean, rstd, float(eps), groups)
    return y, (x, weight, mean, rstd, groups)


@helper(noalias=True)
def _column_sums(dy, x, sums, mean, less, pixels, channels, depth):
    """sums[0] = sum of dy, sums[1] = sum of dy (x - mean), for each channel."""
    for pixel in range(pixels):
        for c in range(depth):
            at = pixel * channels + c
            put(sums, c, get(sums, c) + get(dy, at))
            put(sums, channels + c, get(sums, channels + c) + get(dy, at) * (get(x, at) - mean - less))


@helper(noalias=True)
def _back(dy, x, weight, dx, mean, less, rstd, first, second, pixels, channels, depth):
    """dx = rstd (g - mean of g - u mean of g u), u = (x - mean) rstd."""
    for pixel in range(pixels):
        for c in range(depth):
            at = pixel * channels + c
            u = (get(x, at) - mean - less) * rstd
            put(dx, at, (get(dy, at) * get(weight, c) - first - u * second) * rstd)


@helper
def _back_job(job, worker, dy, x, weight, means, rstds, dx, sums, groups):
    pixels, channels = x.shape[1], x.shape[2]
    depth = channels // groups
    image, first = job // groups, job % groups * depth
    start = image * pixels * channels + first
    own, scale = pointer(sums, 2 * image * channels + first), pointer(weight, first)
    rstd = get(rstds, job)
    most = real(rstd, get(means, job))
    less = real(rstd, get(means, job) - most)
    d, line = pointer(dy, start), pointer(x, start)
    for c in range(depth):
        put(own, c, 0)
        put(own, channels + c, 0)
    _column_sums(d, line, own, most, less, pixels, channels, depth)
    plain = product = 0.0
    for c in range(depth):
        put(own, channels + c, get(own, channels + c) * rstd)
        plain += get(own, c) * get(scale, c)
        product += get(own, channels + c) * get(scale, c)
    one, two = real(rstd, plain / (pixels * depth)), real(rstd, product / (pixels * depth))
    _back(d, line, scale, pointer(dx, start), most, less, rstd, one, two, pixels, channels, depth)


@jit
def _backward(dy, x, weight, means, rstds, dx, sums, groups):
    arguments = (dy, x, weight, means, rstds, dx, sums, groups)
    parallel_for(_back_job, x.shape[0] * groups, arguments, x.size < SERIAL)


def group_norm_backward(dy, saved, needs):
    x, weight, mean, rstd, groups = saved
    n, channels, dtype = x.shape[0], x.shape[-1], dy.dtype
    dx, sums = empty(x.shape, dtype), zeros((n, 2, channels))
    if dx.size:
        scale, rows = or_value(weight, 1, channels, dtype), (n, -1, channels)
        d, a = contiguous(dy).reshape(rows), contiguous(x).reshape(rows)
        _backward(d, a, scale, contiguous(mean), contiguous(rstd), dx.reshape(rows), sums, groups)
    dbias, dweight = sums.sum(axis=0).astype(dtype)
    return dx if needs[0] else None, dweight if needs[1] else None, dbias if needs[2] else None
