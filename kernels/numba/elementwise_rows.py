"""prelu, with a slope for each column, and glu, with two halves; defined in `kernels/reference/elementwise.py`.

prelu takes x as lines of whole rows, some `LINE` numbers where there are so many, and the slopes repeated to that
length: so rows of a few columns, and a single slope for all, become vector code too. dweight is kept in float64 for
each number of a line, one partial sum for each job, added in order; then the columns of a line are added.
"""

from __future__ import annotations

import math

import numpy as np

from ..memory import empty, zeros
from .jit import contiguous, helper, jit, parallel_for
from .loops import BLOCK, SERIAL, add_row, get, pointer, put, rows_per_job
from .vmath import real, sigmoid

LINE = 256


@helper(noalias=True)
def _prelu_line(x, slopes, y, size):
    for i in range(size):
        value = get(x, i)
        below = get(slopes, i) * value
        put(y, i, value if value > 0 else below)


@helper
def _prelu_job(job, worker, x, slopes, y, per_job):
    size = slopes.size
    for start in range(job * per_job * size, min((job + 1) * per_job * size, x.size), size):
        _prelu_line(pointer(x, start), pointer(slopes, 0), pointer(y, start), min(size, x.size - start))


@jit
def _prelu(x, slopes, y, per_job):
    jobs = -(-x.size // (per_job * slopes.size))
    parallel_for(_prelu_job, jobs, (x, slopes, y, per_job), x.size < SERIAL)


def _lines(x, weight):
    """The slopes of a line, how many lines a job takes, and how many jobs there are."""
    columns = weight.size
    slopes = np.tile(contiguous(weight), min(-(-LINE // columns), x.size // columns))
    lines = -(-x.size // slopes.size)
    per_job = rows_per_job(lines, slopes.size)
    return slopes, per_job, -(-lines // per_job)


def prelu_forward(x, weight):
    y = empty(x.shape, x.dtype)
    if x.size:
        slopes, per_job, _ = _lines(x, weight)
        _prelu(contiguous(x).ravel(), slopes, y.ravel(), per_job)
    return y, (x, weight)


@helper(noalias=True)
def _prelu_back_line(dy, x, slopes, dx, size):
    """dx = dy where x > 0, else slope dy."""
    for i in range(size):
        d = get(dy, i)
        below = get(slopes, i) * d
        put(dx, i, d if get(x, i) > 0 else below)


@helper(noalias=True)
def _prelu_add_line(dy, x, sums, size):
    """sums += dy x over x <= 0."""
    for i in range(size):
        value = get(x, i)
        below = get(dy, i) * value
        put(sums, i, get(sums, i) + (real(value, 0) if value > 0 else below))


@helper
def _prelu_back_job(job, worker, dy, x, slopes, dx, partial, per_job):
    size = slopes.size
    for start in range(job * per_job * size, min((job + 1) * per_job * size, x.size), size):
        d, line, count = pointer(dy, start), pointer(x, start), min(size, x.size - start)
        if dx.size:
            _prelu_back_line(d, line, pointer(slopes, 0), pointer(dx, start), count)
        if partial.size:
            _prelu_add_line(d, line, pointer(partial, job * size), count)


@jit
def _prelu_back(dy, x, slopes, dx, partial, per_job):
    jobs = -(-x.size // (per_job * slopes.size))
    parallel_for(_prelu_back_job, jobs, (dy, x, slopes, dx, partial, per_job), x.size < SERIAL)
    for job in range(1, partial.shape[0]):
        add_row(pointer(partial, job * slopes.size), pointer(partial, 0), slopes.size)


def prelu_backward(dy, saved, needs):
    x, weight = saved
    dx = empty(dy.shape if needs[0] else 0, dy.dtype)
    dweight = zeros(weight.shape, dy.dtype) if needs[1] else None
    if x.size:
        slopes, per_job, jobs = _lines(x, weight)
        partial = zeros((jobs if needs[1] else 0, slopes.size))
        _prelu_back(contiguous(dy).ravel(), contiguous(x).ravel(), slopes, dx.ravel(), partial, per_job)
        if needs[1]:
            dweight[...] = partial[0].reshape(-1, weight.size).sum(axis=0)
    return dx if needs[0] else None, dweight


@helper(noalias=True)
def _glu_line(a, b, y, size):
    for i in range(size):
        put(y, i, get(a, i) * sigmoid(get(b, i)))


@helper(noalias=True)
def _glu_back_line(dy, a, b, da, db, size):
    for i in range(size):
        d, value = get(dy, i), get(a, i)
        gate = sigmoid(get(b, i))
        put(da, i, d * gate)
        put(db, i, d * (value * (gate * (real(gate, 1) - gate))))


@helper
def _glu_job(job, worker, x, y, half, group, parts):
    """Some rows of x (rows, 2, half), or a part of one."""
    at, row = job % parts * BLOCK, job // parts * group
    size = min(half - at, BLOCK)
    for i in range(row, min(row + group, y.size // half)):
        a = 2 * i * half + at
        _glu_line(pointer(x, a), pointer(x, a + half), pointer(y, i * half + at), size)


@helper
def _glu_back_job(job, worker, dy, x, dx, half, group, parts):
    at, row = job % parts * BLOCK, job // parts * group
    size = min(half - at, BLOCK)
    for i in range(row, min(row + group, dy.size // half)):
        a = 2 * i * half + at
        d = pointer(dy, i * half + at)
        _glu_back_line(d, pointer(x, a), pointer(x, a + half), pointer(dx, a), pointer(dx, a + half), size)


@jit
def _glu(x, y, half):
    group, parts = max(1, BLOCK // half), -(-half // BLOCK)
    jobs = -(-(y.size // half) // group) * parts
    parallel_for(_glu_job, jobs, (x, y, half, group, parts), x.size < SERIAL)


@jit
def _glu_back(dy, x, dx, half):
    group, parts = max(1, BLOCK // half), -(-half // BLOCK)
    jobs = -(-(dy.size // half) // group) * parts
    parallel_for(_glu_back_job, jobs, (dy, x, dx, half, group, parts), x.size < SERIAL)


def _half(x, axis) -> int:
    """Numbers of a half, in a row."""
    return x.shape[axis] // 2 * math.prod(x.shape[axis % x.ndim + 1 :])


def glu_forward(x, *, axis):
    shape = list(x.shape)
    shape[axis] //= 2
    y = empty(tuple(shape), x.dtype)
    if y.size:
        _glu(contiguous(x).ravel(), y.ravel(), _half(x, axis))
    return y, (x, axis)


def glu_backward(dy, saved, needs):
    x, axis = saved
    if not needs[0]:
        return (None,)
    dx = empty(x.shape, dy.dtype)
    if dx.size:
        _glu_back(contiguous(dy).ravel(), contiguous(x).ravel(), dx.ravel(), _half(x, axis))
    return (dx,)
