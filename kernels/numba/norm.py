"""Normalisation of rows x (M, C): over M for batch_norm, over C for layer_norm. weight and bias (C,) or None.

The operations are defined in `kernels/reference/norm.py`. Sums down the columns are kept in float64, one partial sum
for each of at most `SUMS` blocks of rows, added in order.
"""

from __future__ import annotations

import math

import numpy as np

from ..memory import empty, zeros
from .jit import contiguous, helper, jit, parallel_for
from .loops import BLOCK, CHUNK, SERIAL, get, pointer, put
from .vmath import real

SUMS = 64


def _rows_per_job(rows, columns) -> int:
    return max(1, BLOCK // max(columns, 1), -(-rows // SUMS))


def _or(vector, value, size, dtype):
    """The vector, or one filled with a value where it is None."""
    return np.full(size, value, dtype) if vector is None else contiguous(vector)


@helper(noalias=True)
def _add_products(a, a_shift, b, b_shift, sums, size):
    """sums[0] += a - a_shift, sums[1] += (a - a_shift) (b - b_shift), column by column, in float64."""
    for c in range(size):
        u = np.float64(get(a, c)) - get(a_shift, c)
        put(sums, c, get(sums, c) + u)
        put(sums, size + c, get(sums, size + c) + u * (get(b, c) - get(b_shift, c)))


@helper
def _moments_job(job, worker, a, a_shift, b, b_shift, partial, per_job):
    size = a.shape[1]
    for c in range(2 * size):
        put(partial, 2 * job * size + c, 0)
    for row in range(job * per_job, min((job + 1) * per_job, a.shape[0])):
        _add_products(pointer(a, row * size), pointer(a_shift, 0), pointer(b, row * size), pointer(b_shift, 0),
                      pointer(partial, 2 * job * size), size)  # fmt: skip


@jit
def _moments(a, a_shift, b, b_shift, partial, per_job):
    """partial[0] = the sums over rows of a - a_shift and of (a - a_shift) (b - b_shift)."""
    parallel_for(_moments_job, partial.shape[0], (a, a_shift, b, b_shift, partial, per_job), a.size < SERIAL)
    _add_partials(partial)


@helper
def _add_partials(partial):
    for job in range(1, partial.shape[0]):
        for k in range(2):
            for c in range(partial.shape[2]):
                partial[0, k, c] += partial[job, k, c]


def _column_sums(a, a_shift, b, b_shift):
    """(sum of a - a_shift, sum of (a - a_shift) (b - b_shift)) down the columns, float64; shifts are float64."""
    rows, columns = a.shape
    per_job = _rows_per_job(rows, columns)
    partial = empty((max(1, -(-rows // per_job)), 2, columns))
    _moments(a, a_shift, b, b_shift, partial, per_job)
    return partial[0]


def _statistics(x):
    """Mean and biased variance of each column, float64, in one pass.

    Both are taken about the first row, which is within sqrt(M) standard deviations of the mean: no digits are lost.
    """
    rows = max(len(x), 1)
    shift = x[0].astype(np.float64) if len(x) else zeros(x.shape[1])
    shift[~np.isfinite(shift)] = 0
    first, second = _column_sums(x, shift, x, shift) / rows
    return shift + first, second - first * first


@helper(noalias=True)
def _apply_row(x, mean, scale, shift, y, size):
    """y = (x - mean) scale + shift."""
    for c in range(size):
        put(y, c, (get(x, c) - get(mean, c)) * get(scale, c) + get(shift, c))


@helper
def _apply_job(job, worker, x, mean, scale, shift, y, per_job):
    size = x.shape[1]
    for row in range(job * per_job, min((job + 1) * per_job, x.shape[0])):
        _apply_row(pointer(x, row * size), pointer(mean, 0), pointer(scale, 0), pointer(shift, 0),
                   pointer(y, row * size), size)  # fmt: skip


@jit
def _apply(x, mean, scale, shift, y, per_job):
    parallel_for(_apply_job, -(-x.shape[0] // per_job), (x, mean, scale, shift, y, per_job), x.size < SERIAL)


def _scale(weight, var, eps):
    """weight / sqrt(var + eps) for each column."""
    rstd = 1 / np.sqrt(var + eps)
    return rstd if weight is None else rstd * weight


def batch_norm_forward(x, weight, bias, mean, var, *, eps):
    xc, batch_statistics = contiguous(x), mean is None
    if batch_statistics:
        mean, var = (statistic.astype(x.dtype) for statistic in _statistics(xc))
    y = empty(x.shape, x.dtype)
    scale = _scale(weight, var, eps).astype(x.dtype, copy=False)
    shift = _or(bias, 0, x.shape[1], x.dtype)
    _apply(xc, contiguous(mean), scale, shift, y, _rows_per_job(*x.shape))
    return y, (x, weight, mean, var, eps, batch_statistics)


@helper(noalias=True)
def _batch_back_row(dy, x, mean, scale, constant, slope, dx, size):
    """dx = scale (dy - constant - (x - mean) slope)."""
    for c in range(size):
        centred = get(x, c) - get(mean, c)
        put(dx, c, get(scale, c) * (get(dy, c) - get(constant, c) - centred * get(slope, c)))


@helper
def _batch_back_job(job, worker, dy, x, mean, scale, constant, slope, dx, per_job):
    size = x.shape[1]
    for row in range(job * per_job, min((job + 1) * per_job, x.shape[0])):
        at = row * size
        _batch_back_row(pointer(dy, at), pointer(x, at), pointer(mean, 0), pointer(scale, 0), pointer(constant, 0),
                        pointer(slope, 0), pointer(dx, at), size)  # fmt: skip


@jit
def _batch_back(dy, x, mean, scale, constant, slope, dx, per_job):
    arguments = (dy, x, mean, scale, constant, slope, dx, per_job)
    parallel_for(_batch_back_job, -(-x.shape[0] // per_job), arguments, x.size < SERIAL)


def batch_norm_backward(dy, saved, needs):
    x, weight, mean, var, eps, batch_statistics = saved
    dyc, xc, dtype = contiguous(dy), contiguous(x), dy.dtype
    rows, columns = x.shape
    mean64, rstd = mean.astype(np.float64), 1 / np.sqrt(var.astype(np.float64) + eps)
    dbias, product = _column_sums(dyc, zeros(columns), xc, mean64)
    dx = None
    if needs[0]:
        share = 1 / max(rows, 1) if batch_statistics else 0.0
        coefficients = (mean64, _scale(weight, var, eps), dbias * share, product * rstd * rstd * share)
        dx = empty(x.shape, dtype)
        _batch_back(dyc, xc, *[c.astype(dtype) for c in coefficients], dx, _rows_per_job(rows, columns))
    dweight = (product * rstd).astype(dtype) if needs[1] else None
    return dx, dweight, dbias.astype(dtype) if needs[2] else None, None, None


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _sum(x, size):
    total = 0.0
    for start in range(0, size, CHUNK):
        part = real(get(x, 0), 0)
        for c in range(start, min(start + CHUNK, size)):
            part += get(x, c)
        total += part
    return total


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _sum_squares(x, mean, size):
    """Sum of (x - mean)^2."""
    total = 0.0
    for start in range(0, size, CHUNK):
        part = real(mean, 0)
        for c in range(start, min(start + CHUNK, size)):
            centred = get(x, c) - mean
            part += centred * centred
        total += part
    return total


@helper(noalias=True)
def _layer_row(x, weight, bias, y, mean, rstd, size):
    for c in range(size):
        put(y, c, (get(x, c) - mean) * rstd * get(weight, c) + get(bias, c))


@helper
def _layer_job(job, worker, x, weight, bias, y, means, rstds, eps, per_job):
    size = x.shape[1]
    for row in range(job * per_job, min((job + 1) * per_job, x.shape[0])):
        line = pointer(x, row * size)
        mean = real(get(line, 0), _sum(line, size) / size)
        rstd = real(mean, 1 / math.sqrt(_sum_squares(line, mean, size) / size + eps))
        put(means, row, mean)
        put(rstds, row, rstd)
        _layer_row(line, pointer(weight, 0), pointer(bias, 0), pointer(y, row * size), mean, rstd, size)


@jit
def _layer(x, weight, bias, y, means, rstds, eps, per_job):
    arguments = (x, weight, bias, y, means, rstds, eps, per_job)
    parallel_for(_layer_job, -(-x.shape[0] // per_job), arguments, x.size < SERIAL)


def layer_norm_forward(x, weight, bias, *, eps):
    (rows, columns), dtype = x.shape, x.dtype
    y, mean, rstd = empty(x.shape, dtype), empty(rows, dtype), empty(rows, dtype)
    if y.size:
        _layer(contiguous(x), _or(weight, 1, columns, dtype), _or(bias, 0, columns, dtype), y, mean, rstd, float(eps),
               _rows_per_job(rows, columns))  # fmt: skip
    return y, (x, weight, mean, rstd)


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _layer_back_sums(dy, x, weight, mean, rstd, size):
    """(mean of g, mean of g u) with g = dy weight, u = (x - mean) rstd."""
    first = second = 0.0
    for start in range(0, size, CHUNK):
        one = two = real(mean, 0)
        for c in range(start, min(start + CHUNK, size)):
            g = get(dy, c) * get(weight, c)
            one += g
            two += g * ((get(x, c) - mean) * rstd)
        first += one
        second += two
    return real(mean, first / size), real(mean, second / size)


@helper(noalias=True)
def _layer_back_row(dy, x, weight, mean, rstd, first, second, dx, size):
    """dx = rstd (g - mean of g - u mean of g u)."""
    for c in range(size):
        u = (get(x, c) - mean) * rstd
        put(dx, c, (get(dy, c) * get(weight, c) - first - u * second) * rstd)


@helper(noalias=True)
def _add_row(dy, x, mean, rstd, sums, size):
    """sums[0] += dy, sums[1] += dy u."""
    for c in range(size):
        put(sums, c, get(sums, c) + get(dy, c))
        put(sums, size + c, get(sums, size + c) + get(dy, c) * ((get(x, c) - mean) * rstd))


@helper
def _layer_back_job(job, worker, dy, x, weight, means, rstds, dx, partial, per_job):
    size = x.shape[1]
    sums = pointer(partial, 2 * job * size)
    for c in range(2 * size):
        put(sums, c, 0)
    for row in range(job * per_job, min((job + 1) * per_job, x.shape[0])):
        d, line, scale = pointer(dy, row * size), pointer(x, row * size), pointer(weight, 0)
        mean, rstd = get(means, row), get(rstds, row)
        first, second = _layer_back_sums(d, line, scale, mean, rstd, size)
        _layer_back_row(d, line, scale, mean, rstd, first, second, pointer(dx, row * size), size)
        _add_row(d, line, mean, rstd, sums, size)


@jit
def _layer_back(dy, x, weight, means, rstds, dx, partial, per_job):
    arguments = (dy, x, weight, means, rstds, dx, partial, per_job)
    parallel_for(_layer_back_job, partial.shape[0], arguments, x.size < SERIAL)
    _add_partials(partial)


def layer_norm_backward(dy, saved, needs):
    x, weight, mean, rstd = saved
    (rows, columns), dtype = x.shape, dy.dtype
    per_job = _rows_per_job(rows, columns)
    dx, partial = empty(x.shape, dtype), zeros((max(1, -(-rows // per_job)), 2, columns))
    if dx.size:
        _layer_back(contiguous(dy), contiguous(x), _or(weight, 1, columns, dtype), contiguous(mean), contiguous(rstd),
                    dx, partial, per_job)  # fmt: skip
    dbias, dweight = partial[0].astype(dtype)
    return dx if needs[0] else None, dweight if needs[1] else None, dbias if needs[2] else None
