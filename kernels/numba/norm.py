"""Normalisation: batch_norm, group_norm and rms_norm in files of their own, and layer_norm of the rows of x (M, C),
weight and bias (C,) or None.

The operations are defined in `kernels/reference/norm.py`. Sums down the columns are kept in float64, one partial sum
for each job, added in order. So is the mean of a row before it is rounded; the mean of what is left once that is
subtracted, below a rounding, counts too, or rows far from 0 would lose their digits.
"""

from __future__ import annotations

import math

import numpy as np

from ..memory import empty, zeros
from .batch_norm import batch_norm_backward, batch_norm_forward, or_value
from .group_norm import group_norm_backward, group_norm_forward
from .jit import contiguous, helper, jit, parallel_for
from .loops import CHUNK, SERIAL, add_row, get, pointer, put, rows_per_job
from .rms_norm import rms_norm_backward, rms_norm_forward
from .vmath import real

__all__ = [
    "batch_norm_backward",
    "batch_norm_forward",
    "group_norm_backward",
    "group_norm_forward",
    "layer_norm_backward",
    "layer_norm_forward",
    "rms_norm_backward",
    "rms_norm_forward",
]


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _sum(x, size):
    total = 0.0
    for c in range(size):
        total += np.float64(get(x, c))
    return total


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _sum_centred(x, mean, size):
    """Sums of x - mean and of its square."""
    rest = square = 0.0
    for start in range(0, size, CHUNK):
        part = part_square = real(mean, 0)
        for c in range(start, min(start + CHUNK, size)):
            centred = get(x, c) - mean
            part += centred
            part_square += centred * centred
        rest += part
        square += part_square
    return rest, square


@helper(noalias=True)
def _layer_row(x, weight, bias, y, mean, rest, rstd, size):
    for c in range(size):
        put(y, c, (get(x, c) - mean - rest) * rstd * get(weight, c) + get(bias, c))


@helper
def _layer_job(job, worker, x, weight, bias, y, means, rstds, eps, per_job):
    size = x.shape[1]
    for row in range(job * per_job, min((job + 1) * per_job, x.shape[0])):
        line = pointer(x, row * size)
        mean = real(get(line, 0), _sum(line, size) / size)
        rest, square = _sum_centred(line, mean, size)
        rest /= size
        var = square / size - rest * rest
        rstd = real(mean, 1 / math.sqrt((var if var > 0 else var * 0) + eps))
        put(means, row, mean)
        put(rstds, row, rstd)
        _layer_row(line, pointer(weight, 0), pointer(bias, 0), pointer(y, row * size), mean,
                   real(mean, rest), rstd, size)  # fmt: skip


@jit
def _layer(x, weight, bias, y, means, rstds, eps, per_job):
    arguments = (x, weight, bias, y, means, rstds, eps, per_job)
    parallel_for(_layer_job, -(-x.shape[0] // per_job), arguments, x.size < SERIAL)


def layer_norm_forward(x, weight, bias, *, eps):
    (rows, columns), dtype = x.shape, x.dtype
    y, mean, rstd = empty(x.shape, dtype), empty(rows, dtype), empty(rows, dtype)
    if y.size:
        scale, shift = or_value(weight, 1, columns, dtype), or_value(bias, 0, columns, dtype)
        _layer(contiguous(x), scale, shift, y, mean, rstd, float(eps), rows_per_job(rows, columns))
    return y, (x, weight, mean, rstd)


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _layer_back_sums(dy, x, weight, mean, rstd, size):
    """(mean of g, mean of g u, mean of x - mean) with g = dy weight, u = (x - mean - the last) rstd."""
    first = second = left = 0.0
    for start in range(0, size, CHUNK):
        one = two = three = real(mean, 0)
        for c in range(start, min(start + CHUNK, size)):
            g, centred = get(dy, c) * get(weight, c), get(x, c) - mean
            one += g
            two += g * centred
            three += centred
        first += one
        second += two
        left += three
    left /= size
    return real(mean, first / size), real(mean, (second - left * first) * rstd / size), real(mean, left)


@helper(noalias=True)
def _layer_back_row(dy, x, weight, mean, rest, rstd, first, second, dx, size):
    """dx = rstd (g - mean of g - u mean of g u)."""
    for c in range(size):
        u = (get(x, c) - mean - rest) * rstd
        put(dx, c, (get(dy, c) * get(weight, c) - first - u * second) * rstd)


@helper(noalias=True)
def _add_row(dy, x, mean, rest, rstd, sums, size):
    """sums[0] += dy, sums[1] += dy u."""
    for c in range(size):
        put(sums, c, get(sums, c) + get(dy, c))
        put(sums, size + c, get(sums, size + c) + get(dy, c) * ((get(x, c) - mean - rest) * rstd))


@helper
def _layer_back_job(job, worker, dy, x, weight, means, rstds, dx, partial, per_job):
    size = x.shape[1]
    sums = pointer(partial, 2 * job * size)
    for c in range(2 * size):
        put(sums, c, 0)
    for row in range(job * per_job, min((job + 1) * per_job, x.shape[0])):
        d, line, scale = pointer(dy, row * size), pointer(x, row * size), pointer(weight, 0)
        mean, rstd = get(means, row), get(rstds, row)
        first, second, rest = _layer_back_sums(d, line, scale, mean, rstd, size)
        _layer_back_row(d, line, scale, mean, rest, rstd, first, second, pointer(dx, row * size), size)
        _add_row(d, line, mean, rest, rstd, sums, size)


@jit
def _layer_back(dy, x, weight, means, rstds, dx, partial, per_job):
    arguments = (dy, x, weight, means, rstds, dx, partial, per_job)
    parallel_for(_layer_back_job, partial.shape[0], arguments, x.size < SERIAL)
    for job in range(1, partial.shape[0]):
        add_row(pointer(partial, 2 * job * x.shape[1]), pointer(partial, 0), 2 * x.shape[1])


def layer_norm_backward(dy, saved, needs):
    x, weight, mean, rstd = saved
    (rows, columns), dtype = x.shape, dy.dtype
    per_job = rows_per_job(rows, columns)
    dx, partial = empty(x.shape, dtype), zeros((max(1, -(-rows // per_job)), 2, columns))
    if dx.size:
        scale = or_value(weight, 1, columns, dtype)
        _layer_back(contiguous(dy), contiguous(x), scale, contiguous(mean), contiguous(rstd), dx, partial, per_job)
    dbias, dweight = partial[0].astype(dtype)
    return dx if needs[0] else None, dweight if needs[1] else None, dbias if needs[2] else None
