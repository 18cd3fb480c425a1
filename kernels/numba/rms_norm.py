"""Root mean square normalisation of the rows of x (M, C), weight (C,) or None; defined in `kernels/reference/norm.py`.

dweight is kept in float64, one partial sum for each job, added in order.
"""

from __future__ import annotations

import math

from ..memory import empty, zeros
from .batch_norm import or_value
from .jit import contiguous, helper, jit, parallel_for
from .loops import CHUNK, SERIAL, add_row, get, pointer, put, rows_per_job
from .vmath import real


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _dot(a, b, weight, size):
    """Sum of a b weight."""
    total = 0.0
    for start in range(0, size, CHUNK):
        part = real(get(a, 0), 0)
        for c in range(start, min(start + CHUNK, size)):
            part += get(a, c) * get(b, c) * get(weight, c)
        total += part
    return total


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _square_sum(x, size):
    total = 0.0
    for start in range(0, size, CHUNK):
        part = real(get(x, 0), 0)
        for c in range(start, min(start + CHUNK, size)):
            part += get(x, c) * get(x, c)
        total += part
    return total


@helper(noalias=True)
def _row(x, weight, y, rstd, size):
    for c in range(size):
        put(y, c, get(x, c) * rstd * get(weight, c))


@helper
def _job(job, worker, x, weight, y, rstds, eps, per_job):
    size = x.shape[1]
    for row in range(job * per_job, min((job + 1) * per_job, x.shape[0])):
        line = pointer(x, row * size)
        rstd = real(get(line, 0), 1 / math.sqrt(_square_sum(line, size) / size + eps))
        put(rstds, row, rstd)
        _row(line, pointer(weight, 0), pointer(y, row * size), rstd, size)


@jit
def _forward(x, weight, y, rstds, eps, per_job):
    parallel_for(_job, -(-x.shape[0] // per_job), (x, weight, y, rstds, eps, per_job), x.size < SERIAL)


def rms_norm_forward(x, weight, *, eps):
    (rows, columns), dtype = x.shape, x.dtype
    y, rstd = empty(x.shape, dtype), empty(rows, dtype)
    if y.size:
        scale = or_value(weight, 1, columns, dtype)
        _forward(contiguous(x), scale, y, rstd, float(eps), rows_per_job(rows, columns))
    return y, (x, weight, rstd)


@helper(noalias=True)
def _back_row(dy, x, weight, rstd, mean, dx, size):
    """dx = rstd (g - u mean), g = dy weight, u = x rstd."""
    for c in range(size):
        put(dx, c, (get(dy, c) * get(weight, c) - get(x, c) * rstd * mean) * rstd)


@helper(noalias=True)
def _add_row(dy, x, rstd, sums, size):
    """sums += dy u."""
    for c in range(size):
        put(sums, c, get(sums, c) + get(dy, c) * (get(x, c) * rstd))


@helper
def _back_job(job, worker, dy, x, weight, rstds, dx, partial, per_job):
    size = x.shape[1]
    sums = pointer(partial, job * size)
    for row in range(job * per_job, min((job + 1) * per_job, x.shape[0])):
        d, line, scale = pointer(dy, row * size), pointer(x, row * size), pointer(weight, 0)
        rstd = get(rstds, row)
        mean = real(rstd, _dot(d, line, scale, size) * rstd / size)
        _back_row(d, line, scale, rstd, mean, pointer(dx, row * size), size)
        _add_row(d, line, rstd, sums, size)


@jit
def _backward(dy, x, weight, rstds, dx, partial, per_job):
    arguments = (dy, x, weight, rstds, dx, partial, per_job)
    parallel_for(_back_job, partial.shape[0], arguments, x.size < SERIAL)
    for job in range(1, partial.shape[0]):
        add_row(pointer(partial, job * x.shape[1]), pointer(partial, 0), x.shape[1])


def rms_norm_backward(dy, saved, needs):
    x, weight, rstd = saved
    (rows, columns), dtype = x.shape, dy.dtype
    per_job = rows_per_job(rows, columns)
    dx, partial = empty(x.shape, dtype), zeros((max(1, -(-rows // per_job)), columns))
    if dx.size:
        scale = or_value(weight, 1, columns, dtype)
        _backward(contiguous(dy), contiguous(x), scale, contiguous(rstd), dx, partial, per_job)
    return dx if needs[0] else None, partial[0].astype(dtype) if needs[1] else None
