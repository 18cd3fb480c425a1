"""Products with up to `FEW` rows, a batch of one above all: every matrix is read once, in place, without packing."""

from __future__ import annotations

from .jit import JOB, SERIAL_WORK, helper, jit, parallel_for, scratch

FEW = 4
BLOCK = 2048  # of k in one sum: the errors grow with the number of sums


@jit(fastmath={"reassoc", "contract"})
def dot_rows(a, b, c, bias, relu):
    """c[m, n] = relu(a[m] . b[n] + bias[n]): each row of B is read once."""
    per_job = max(1, SERIAL_WORK // max(1, a.shape[0] * a.shape[1]))
    parallel_for(_dot_job, -(-b.shape[0] // per_job), (a, b, c, bias, relu, per_job), False)


@helper(fastmath={"reassoc", "contract"})
def _dot_job(job, worker, a, b, c, bias, relu, per_job):
    zero = c.dtype.type(0)
    for n in range(job * per_job, min(b.shape[0], (job + 1) * per_job)):
        for m in range(a.shape[0]):
            value = 0.0
            for start in range(0, a.shape[1], BLOCK):
                part = zero
                for k in range(start, min(a.shape[1], start + BLOCK)):
                    part += a[m, k] * b[n, k]
                value += part
            if bias.size:
                value += bias[n]
            if relu and value <= zero:
                value = zero
            c[m, n] = value


@jit
def combine_rows(a, b, c, bias, relu):
    """c[m] = relu(sum over k of a[m, k] b[k] + bias): columns of B are the jobs."""
    per_job = max(64, SERIAL_WORK // max(1, b.shape[0] * a.shape[0]))
    parallel_for(_combine_job, -(-b.shape[1] // per_job), (a, b, c, bias, relu, per_job), False)


@helper
def _combine_job(job, worker, a, b, c, bias, relu, per_job):
    zero = c.dtype.type(0)
    start, stop = job * per_job, min(b.shape[1], (job + 1) * per_job)
    for m in range(a.shape[0]):
        out, block = c[m, start:stop], scratch(c, JOB, (stop - start,))
        for n in range(stop - start):
            out[n] = zero
        for first in range(0, b.shape[0], BLOCK):
            _combine_block(a[m], b, start, first, min(b.shape[0], first + BLOCK), block if first else out)
            for n in range(stop - start if first else 0):
                out[n] += block[n]
        if bias.size:
            for n in range(stop - start):
                out[n] += bias[start + n]
        if relu:
            for n in range(stop - start):
                out[n] = zero if out[n] <= zero else out[n]


@helper
def _combine_block(a, b, column, first, last, out):
    """out = sum over k, from first to before last, of a[k] b[k], from a column on."""
    for n in range(out.size):
        out[n] = 0
    for k in range(first, last):
        factor, row = a[k], b[k, column : column + out.size]
        for n in range(out.size):
            out[n] += factor * row[n]


@jit
def outer_rows(a, b, c):
    """c = A^T B for few rows in A and B: C is written row by row."""
    per_job = max(1, SERIAL_WORK // max(1, b.shape[0] * b.shape[1]))
    parallel_for(_outer_job, -(-a.shape[1] // per_job), (a, b, c, per_job), False)


@helper
def _outer_job(job, worker, a, b, c, per_job):
    for m in range(job * per_job, min(a.shape[1], (job + 1) * per_job)):
        out, factor, row = c[m], a[0, m], b[0]
        for n in range(c.shape[1]):
            out[n] = factor * row[n]
        for k in range(1, a.shape[0]):
            factor, row = a[k, m], b[k]
            for n in range(c.shape[1]):
                out[n] += factor * row[n]
