"""Batch normalisation of each channel of x (..., C), with a residual and ReLU in the same passes.

The operation is defined in `kernels/reference/norm.py`. Numbers about the columns are kept in float64, one for each of
at most `SUMS` jobs, which are joined in order. A job takes `ROWS` rows at a time, which stay in cache.
"""

from __future__ import annotations

import math

import numpy as np

from ..memory import empty, zeros
from .jit import contiguous, helper, jit, parallel_for
from .linear import activate, activation_gradient
from .loops import SERIAL, add_row, get, pointer, put, rows_per_job
from .vmath import inlined, real, where

ROWS = 32
PLAIN, FROM_Y, FROM_X = range(3)  # dy passes; or where y > 0, y being kept or made again from x


def or_value(vector, value, size, dtype):
    """The vector, or one filled with a value where it is None."""
    return np.full(size, value, dtype) if vector is None else contiguous(vector)


@helper(noalias=True)
def _add_apart(x, block, size):
    """block = (mean, rest, square): rest += x - mean, square += (x - mean)^2."""
    for c in range(size):
        apart = get(x, c) - get(block, c)
        put(block, size + c, get(block, size + c) + apart)
        put(block, 2 * size + c, get(block, 2 * size + c) + apart * apart)


@helper(noalias=True)
def _scaled(x, share, size):
    """x *= share; 0 makes it 0, whatever it was."""
    for c in range(size):
        put(x, c, get(x, c) * real(get(x, c), share) if share != 0 else real(get(x, c), 0))


@helper(noalias=True)
def _join(moments, before, mean, rest, square, n, count, size):
    """The means of `before` rows, behind them the sums of squares about them, and what the means lack for being
    rounded, become those of n more as well.

    rest: what the means of the n rows lack, times count. Source: Chan, Golub and LeVeque 1983, "Algorithms for
    computing the sample variance", equation 2.1.
    """
    share = n / (before + n)
    for c in range(size):
        before_it, lack = get(moments, c), get(moments, 2 * size + c)
        apart = (get(mean, c) - before_it) + (get(rest, c) / count - lack)
        step = lack + apart * share
        put(moments, c, before_it + step)
        put(moments, 2 * size + c, step - (get(moments, c) - before_it))
        put(moments, size + c, get(moments, size + c) + (get(square, c) + apart * apart * before * share))


@helper
def _moments_job(job, worker, x, moments, blocks, per_job):
    """Moments of the rows of a job: block by block first the mean, then squares about it, so no offset costs digits."""
    size, begin = x.shape[1], job * per_job
    here, block = pointer(moments, 3 * job * size), pointer(blocks, 3 * job * size)
    for c in range(3 * size):
        put(here, c, 0)
    stop = min(begin + per_job, x.shape[0])
    for start in range(begin, stop, ROWS):
        end = min(start + ROWS, stop)
        _scaled(block, 0.0, 3 * size)
        for row in range(start, end):
            add_row(pointer(x, row * size), block, size)
        _scaled(block, 1 / (end - start), size)
        for row in range(start, end):
            _add_apart(pointer(x, row * size), block, size)
        count = float(end - start)
        _join(here, float(start - begin), block, pointer(block, size), pointer(block, 2 * size), count, count, size)


@jit
def _moments(x, moments, blocks, per_job):
    """moments (jobs, 3, C): moments[0] = means of the columns, sums of squares about them, and what the means lack."""
    parallel_for(_moments_job, moments.shape[0], (x, moments, blocks, per_job), x.size < SERIAL)
    size = x.shape[1]
    for job in range(1, moments.shape[0]):
        rows, more = min(per_job, x.shape[0] - job * per_job), pointer(moments, 3 * job * size)
        _join(pointer(moments, 0), float(job * per_job), more, pointer(more, 2 * size), pointer(more, size),
              float(rows), 1.0, size)  # fmt: skip


def _statistics(x):
    """Mean and biased variance of each column, in its dtype; 0 for no rows."""
    rows, columns = x.shape
    if rows == 0:
        return zeros(columns, x.dtype), zeros(columns, x.dtype)
    per_job = rows_per_job(rows, columns)
    moments = empty((-(-rows // per_job), 3, columns))
    _moments(x, moments, empty(moments.shape, x.dtype), per_job)
    return moments[0, 0].astype(x.dtype), (moments[0, 1] / rows).astype(x.dtype)


@helper(noalias=True)
def _apply_row(x, mean, scale, shift, residual, add, low, y, size):
    """y = max((x - mean) scale + shift, low), with the residual added first where `add` says so."""
    for c in range(size):
        value = (get(x, c) - get(mean, c)) * get(scale, c) + get(shift, c)
        value = where(add, value + get(residual, c), value)
        put(y, c, where(value <= low, low, value))


@helper
def _apply_job(job, worker, x, mean, scale, shift, residual, low, y, per_job):
    size, add = x.shape[1], residual.size > 0
    for row in range(job * per_job, min((job + 1) * per_job, x.shape[0])):
        _apply_row(pointer(x, row * size), pointer(mean, 0), pointer(scale, 0), pointer(shift, 0),
                   pointer(residual if add else x, row * size), add, low, pointer(y, row * size), size)  # fmt: skip


@jit
def _apply(x, mean, scale, shift, residual, low, y, per_job):
    arguments = (x, mean, scale, shift, residual, real(get(mean, 0), low), y, per_job)
    parallel_for(_apply_job, -(-x.shape[0] // per_job), arguments, x.size < SERIAL)


def _scale(weight, var, eps):
    """weight / sqrt(var + eps) for each column."""
    rstd = 1 / np.sqrt(var + eps)
    return rstd if weight is None else rstd * weight


def _rows(x):
    """(M, C) from (..., C)."""
    return contiguous(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))


def batch_norm_forward(x, weight, bias, residual, mean, var, *, eps, activation):
    rows, batch_statistics = _rows(x), mean is None
    if batch_statistics:
        mean, var = _statistics(rows)
    y = empty(x.shape, x.dtype)
    if y.size:
        scale = _scale(weight, var, eps).astype(x.dtype, copy=False)
        shift = or_value(bias, 0, x.shape[-1], x.dtype)
        more = empty((0, 0), x.dtype) if residual is None else _rows(residual)
        _apply(rows, contiguous(mean), scale, shift, more, 0.0 if activation == "relu" else -math.inf,
               y.reshape(rows.shape), rows_per_job(*rows.shape))  # fmt: skip
    y = activate(y, activation)
    kept = None if activation is None or (activation == "relu" and residual is None) else y
    return y, (x, weight, bias, mean, var, kept, eps, batch_statistics, activation)


@inlined
def _passed(dy, y, centred, scale, shift, mask):
    """dy act'(y)."""
    above = where(mask == FROM_X, centred * scale + shift, where(mask == FROM_Y, y, real(y, 1)))
    return where(above <= 0, real(y, 0), dy)


@helper(noalias=True)
def _sums_row(x, dy, y, columns, mask, keep, sums, dresidual, size):
    """sums += g, and behind it g (x - mean), g = dy act'(y); dresidual = g with `keep`."""
    mean, scale, shift = columns
    for c in range(size):
        centred = get(x, c) - get(mean, c)
        g = _passed(get(dy, c), get(y, c), centred, get(scale, c), get(shift, c), mask)
        put(sums, c, get(sums, c) + g)
        put(sums, size + c, get(sums, size + c) + g * centred)
        if keep:
            put(dresidual, c, g)


@helper
def _sums_job(job, worker, x, dy, y, columns, mask, dresidual, partial, blocks, per_job):
    """Blocks of rows are summed in the arrays' dtype, blocks in float64."""
    size, begin = x.shape[1], job * per_job
    here, sums, keep = pointer(partial, 2 * job * size), pointer(blocks, 2 * job * size), dresidual.size > 0
    vectors = pointer(columns, 0), pointer(columns, size), pointer(columns, 2 * size)
    for c in range(2 * size):
        put(here, c, 0)
    stop = min(begin + per_job, x.shape[0])
    for start in range(begin, stop, ROWS):
        _scaled(sums, 0.0, 2 * size)
        for row in range(start, min(start + ROWS, stop)):
            at = row * size
            _sums_row(pointer(x, at), pointer(dy, at), pointer(y if mask == FROM_Y else x, at), vectors, mask, keep,
                      sums, pointer(dresidual, at if keep else 0), size)  # fmt: skip
        add_row(sums, here, 2 * size)


@jit
def _sums(x, dy, y, columns, mask, dresidual, partial, blocks, per_job):
    """partial[0] = the sums down the columns of g and of g (x - mean)."""
    arguments = (x, dy, y, columns, mask, dresidual, partial, blocks, per_job)
    parallel_for(_sums_job, partial.shape[0], arguments, x.size < SERIAL)
    size = 2 * x.shape[1]
    for job in range(1, partial.shape[0]):
        add_row(pointer(partial, job * size), pointer(partial, 0), size)


@helper(noalias=True)
def _batch_back_row(x, dy, y, columns, mask, dx, size):
    """dx = scale (g - a - (x - mean) b); with b = 0, of given statistics, whatever x is, NaN and infinity too."""
    mean, scale, shift, a, b = columns
    for c in range(size):
        centred = get(x, c) - get(mean, c)
        g = _passed(get(dy, c), get(y, c), centred, get(scale, c), get(shift, c), mask)
        tilt = where(get(b, c) == 0, real(centred, 0), centred * get(b, c))
        put(dx, c, get(scale, c) * (g - get(a, c) - tilt))


@helper
def _batch_back_job(job, worker, x, dy, y, columns, mask, dx, per_job):
    size = x.shape[1]
    vectors = (pointer(columns, 0), pointer(columns, size), pointer(columns, 2 * size), pointer(columns, 3 * size),
               pointer(columns, 4 * size))  # fmt: skip
    for row in range(job * per_job, min((job + 1) * per_job, x.shape[0])):
        at = row * size
        _batch_back_row(pointer(x, at), pointer(dy, at), pointer(y if mask == FROM_Y else x, at), vectors, mask,
                        pointer(dx, at), size)  # fmt: skip


@jit
def _batch_back(x, dy, y, columns, mask, dx, per_job):
    arguments = (x, dy, y, columns, mask, dx, per_job)
    parallel_for(_batch_back_job, -(-x.shape[0] // per_job), arguments, x.size < SERIAL)


def batch_norm_backward(dy, saved, needs):
    x, weight, bias, mean, var, y, eps, batch_statistics, activation = saved
    mask = PLAIN if activation != "relu" else FROM_X if y is None else FROM_Y
    if mask == PLAIN:
        dy, y = activation_gradient(dy, y, activation), None
    dtype, rows, g = dy.dtype, _rows(x), _rows(dy)
    none = empty((0, 0), dtype)
    outputs = none if y is None else _rows(y)
    dx, dresidual = [empty(x.shape, dtype) if need else None for need in (needs[0], needs[3])]
    columns = _columns(weight, bias, mean, var, eps, dtype)
    sums = zeros((2, x.shape[-1]))
    if x.size:
        per_job = rows_per_job(*rows.shape)
        partial = empty((-(-len(rows) // per_job), *sums.shape))
        _sums(rows, g, outputs, columns, mask, none if dresidual is None else dresidual.reshape(rows.shape), partial,
              empty(partial.shape, dtype), per_job)  # fmt: skip
        sums = partial[0]
    rstd = 1 / np.sqrt(var.astype(np.float64) + eps)
    columns[3:] = 0
    if batch_statistics:
        columns[3:] = sums[0], sums[1] * rstd * rstd
        columns[3:] /= max(len(rows), 1)
    if needs[0] and x.size:
        _batch_back(rows, g, outputs, columns, mask, dx.reshape(rows.shape), per_job)
    dweight, dbias = (sums[1] * rstd).astype(dtype), sums[0].astype(dtype)
    return dx, dweight if needs[1] else None, dbias if needs[2] else None, dresidual, None, None


def _columns(weight, bias, mean, var, eps, dtype):
    """(5, C): mean, scale and shift, and room for the two numbers that the column sums give."""
    columns = empty((5, mean.size), dtype)
    columns[0], columns[1], columns[2] = mean, _scale(weight, var, eps), 0 if bias is None else bias
    return columns
