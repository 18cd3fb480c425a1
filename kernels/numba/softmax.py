"""Softmax and its logarithm along one axis: a row of numbers at a time, a block of rows in a job.

The operations are defined in `kernels/reference/softmax.py`.
"""

from __future__ import annotations

import math

import numpy as np

from ..memory import empty
from .jit import contiguous, helper, jit, parallel_for
from .loops import BLOCK, CHUNK, SERIAL, get, pointer, put
from .vmath import exp_negative, inlined, maximum, real


@inlined
def _largest(x, size):
    """The largest of `size` numbers behind a pointer; NaN with any NaN."""
    most = get(x, 0)
    for c in range(1, size):
        most = maximum(most, get(x, c))
    return most


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _exp_row(x, y, size, most):
    """y = exp(x - most), unless y is None; returns its sum in float64 (chunks: in x's dtype, in any order)."""
    total = 0.0
    for start in range(0, size, CHUNK):
        part = real(most, 0)
        for c in range(start, min(start + CHUNK, size)):
            e = exp_negative(get(x, c) - most)
            if y is not None:
                put(y, c, e)
            part += e
        total += part
    return total


@helper
def row_logs(x, size):
    """max x and log(sum of exp(x - max)) of one row of `size` numbers behind a pointer."""
    most = _largest(x, size)
    return most, real(most, math.log(_exp_row(x, None, size, most)))


@helper(noalias=True)
def _log_softmax_row(x, y, size):
    """y = (x - max) - log(sum of exp(x - max)) for one row."""
    most, log_total = row_logs(x, size)
    for c in range(size):
        put(y, c, (get(x, c) - most) - log_total)


@helper(noalias=True)
def _softmax_row(x, y, size):
    """y = exp(x - max) / sum of exp(x - max) for one row."""
    scale = real(get(x, 0), 1 / _exp_row(x, y, size, _largest(x, size)))
    for c in range(size):
        put(y, c, get(y, c) * scale)


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _dot(a, b, size):
    """Sum of a b, or of a alone where b is None."""
    total = 0.0
    for start in range(0, size, CHUNK):
        part = real(get(a, 0), 0)
        for c in range(start, min(start + CHUNK, size)):
            part += get(a, c) if b is None else get(a, c) * get(b, c)
        total += part
    return real(get(a, 0), total)


@helper(noalias=True)
def _softmax_back_row(dy, y, dx, size):
    """dx = y (dy - sum of y dy)."""
    total = _dot(dy, y, size)
    for c in range(size):
        put(dx, c, get(y, c) * (get(dy, c) - total))


@helper(noalias=True)
def _log_softmax_back_row(dy, y, dx, size):
    """dx = dy - exp(y) (sum of dy)."""
    total = _dot(dy, None, size)
    for c in range(size):
        put(dx, c, get(dy, c) - exp_negative(get(y, c)) * total)


def rows_per_job(size: int) -> int:
    """Rows of `size` numbers that make up a job."""
    return max(1, BLOCK // max(size, 1))


@helper
def _softmax_job(job, worker, x, y, per_job, log):
    size = x.shape[1]
    for row in range(job * per_job, min((job + 1) * per_job, x.shape[0])):
        at = row * size
        if log:
            _log_softmax_row(pointer(x, at), pointer(y, at), size)
        else:
            _softmax_row(pointer(x, at), pointer(y, at), size)


@jit
def _softmax(x, y, per_job, log):
    parallel_for(_softmax_job, -(-x.shape[0] // per_job), (x, y, per_job, log), x.size < SERIAL)


@helper
def _back_job(job, worker, dy, y, dx, per_job, log):
    size = y.shape[1]
    for row in range(job * per_job, min((job + 1) * per_job, y.shape[0])):
        at = row * size
        if log:
            _log_softmax_back_row(pointer(dy, at), pointer(y, at), pointer(dx, at), size)
        else:
            _softmax_back_row(pointer(dy, at), pointer(y, at), pointer(dx, at), size)


@jit
def _softmax_back(dy, y, dx, per_job, log):
    parallel_for(_back_job, -(-y.shape[0] // per_job), (dy, y, dx, per_job, log), y.size < SERIAL)


def _rows(kernel, arrays, axis, log):
    """The result of a kernel on the rows along `axis`, which is moved to the end and back if it is not there."""
    if axis not in (-1, arrays[0].ndim - 1):
        moved = [np.moveaxis(array, axis, -1) for array in arrays]
        return np.ascontiguousarray(np.moveaxis(_rows(kernel, moved, -1, log), -1, axis))
    y, size = empty(arrays[0].shape, arrays[0].dtype), arrays[0].shape[-1]
    if y.size:
        kernel(*[contiguous(array).reshape(-1, size) for array in (*arrays, y)], rows_per_job(size), log)
    return y


def softmax_forward(x, *, axis):
    y = _rows(_softmax, (x,), axis, False)
    return y, (y, axis)


def softmax_backward(dy, saved, needs):
    y, axis = saved
    return (_rows(_softmax_back, (dy, y), axis, False) if needs[0] else None,)


def log_softmax_forward(x, *, axis):
    y = _rows(_softmax, (x,), axis, True)
    return y, (y, axis)


def log_softmax_backward(dy, saved, needs):
    y, axis = saved
    return (_rows(_softmax_back, (dy, y), axis, True) if needs[0] else None,)
