"""Transposed convolution: conv2d's kernels with image and gradient exchanged, then bias and ReLU in one pass."""

from __future__ import annotations

from ..conv_adjoint import collect, spread
from .conv import conv2d_backward, conv2d_forward
from .gemm import padded_bias, sum_rows
from .jit import contiguous, helper, jit, parallel_for
from .linear import activate, activation_gradient

ELEMENTS = 1 << 14  # of y in a job


def conv_transpose2d_forward(x, weight, bias, *, stride, padding, output_padding, dilation, groups, activation, method):
    """y = act(dx of conv2d + b): x (N, H, W, I), weight (I, R, S, O/groups), y (N, P, Q, O)."""
    y = spread(conv2d_backward, x, weight, stride, padding, output_padding, dilation, groups, method)
    if bias is not None or activation == "relu":
        channels = y.shape[3]
        _finish(y.reshape(-1, channels), padded_bias(bias, channels, y), activation == "relu")
    y = activate(y, activation)
    return y, (
        x,
        weight,
        y if activation else None,
        stride,
        padding,
        output_padding,
        dilation,
        groups,
        activation,
        method,
    )


def conv_transpose2d_backward(dy, saved, needs):
    """With dz = dy act'(y):  dx = conv2d of dz,  dweight = that of conv2d,  dbias = sum of dz."""
    dz = contiguous(activation_gradient(dy, saved[2], saved[8]))
    dx, dweight = collect(conv2d_forward, conv2d_backward, dz, saved, needs)
    return dx, dweight, sum_rows(dz.reshape(-1, dz.shape[3])) if needs[2] else None


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
