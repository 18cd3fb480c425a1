"""Transposed convolution: conv2d's kernels with image and gradient exchanged, then bias and ReLU in one pass.

Few output channels would leave most lanes of those kernels idle. For them one matrix product gives what every pixel
of x adds to every pixel that it reaches, (N H W, R S O), and each pixel of y sums up what reached it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..conv_adjoint import collect, spread
from ..memory import empty
from .conv import ABILITIES, conv2d_backward, conv2d_forward
from .gemm import bias_gradient, gemm, padded_bias
from .jit import contiguous, helper, jit, parallel_for
from .linear import activate, activation_gradient

ELEMENTS = 1 << 14  # of y in a job


def conv_transpose2d_forward(x, weight, bias, *, plan):
    """y = act(dx of conv2d + b): x (N, H, W, I), weight (I, R, S, O/groups), y (N, P, Q, O)."""
    plan, relu = plan.of(ABILITIES), plan.activation == "relu"
    if plan.scatters:
        y = _scatter(x, weight, bias, relu, plan.image, plan.geometry)
    else:
        y = spread(conv2d_backward, x, weight, plan)
        if bias is not None or relu:
            channels = y.shape[3]
            _finish(y.reshape(-1, channels), padded_bias(bias, channels, y), relu)
    y = activate(y, plan.activation)
    return y, (x, weight, y if plan.activation else None, plan)


def conv_transpose2d_backward(dy, saved, needs):
    """With dz = dy act'(y):  dx = conv2d of dz,  dweight = that of conv2d,  dbias = sum of dz."""
    x, weight, y, plan = saved
    dz = contiguous(activation_gradient(dy, y, plan.activation))
    dx, dweight = collect(conv2d_forward, conv2d_backward, dz, (x, weight, y, plan.of(ABILITIES)), needs)
    return dx, dweight, bias_gradient(dz, bool(needs[2]))


@jit
def _finish(y, bias, relu):
    """y = relu(y + bias) in place, row by row."""
    per_job = max(1, ELEMENTS // y.shape[1])
    parallel_for(_finish_job, -(-y.shape[0] // per_job), (y, bias, relu, per_job), y.size <= ELEMENTS)


@helper(noalias=True)
def _finish_job(job, worker, y, bias, relu, per_job):
    zero = y.dtype.type(0)
    for i in range(job * per_job, min(y.shape[0], (job + 1) * per_job)):
        for j in range(y.shape[1]):
            value = y[i, j]
            if bias.size:
                value += bias[j]
            y[i, j] = zero if relu and value <= zero else value


def _scatter(x, weight, bias, relu, shape, geometry):
    """y (N, P, Q, O) = relu(the sum of all that reaches each pixel + b)."""
    inputs, r, s, channels = weight.shape
    values = gemm(contiguous(x).reshape(-1, inputs), contiguous(weight).reshape(inputs, r * s * channels))
    y = empty(shape, x.dtype)
    stride, padding, dilation, _ = geometry
    rows = _reach(shape[1], x.shape[1], r, stride[0], padding[0], dilation[0])
    columns = _reach(shape[2], x.shape[2], s, stride[1], padding[2], dilation[1])
    _sum_up(values.reshape(*x.shape[:3], r * s * channels), padded_bias(bias, channels, x), relu, rows, columns, y)
    return y


@lru_cache(maxsize=256)
def _reach(outputs, size, kernel, stride, cut, dilation):
    """table[p, r] = the row of x that reaches row p of y through kernel row r, -1 for none."""
    steps = np.arange(outputs)[:, None] + cut - np.arange(kernel) * dilation
    valid = (steps >= 0) & (steps % stride == 0) & (steps // stride < size)
    return np.where(valid, steps // stride, -1).astype(np.int64)


@jit
def _sum_up(values, bias, relu, rows, columns, y):
    parallel_for(_sum_up_job, y.shape[0] * y.shape[1], (values, bias, relu, rows, columns, y), y.size <= 1 << 10)


@helper(noalias=True)
def _sum_up_job(job, worker, values, bias, relu, rows, columns, y):
    """One row of y; values (N, H, W, R S O)."""
    n, p = divmod(job, y.shape[1])
    channels, zero = y.shape[3], y.dtype.type(0)
    for q in range(y.shape[2]):
        for o in range(channels):
            total = bias[o] if bias.size else zero
            for r in range(rows.shape[1]):
                for s in range(columns.shape[1]):
                    if rows[p, r] >= 0 and columns[q, s] >= 0:
                        total += values[n, rows[p, r], columns[q, s], (r * columns.shape[1] + s) * channels + o]
            y[n, p, q, o] = zero if relu and total <= zero else total
