# cython: language_level=3, binding=False
"""Transposed convolution: conv2d's kernels with image and gradient exchanged, then bias and activation."""
include "common.pxi"
include "products.pxi"

from ..conv_adjoint import collect, spread
from . import elementwise
from .conv import conv2d_backward, conv2d_forward


def conv_transpose2d_forward(x, weight, bias, *, plan):
    """y = act(dx of conv2d + b): x (N, H, W, I), weight (I, R, S, O/groups), y (N, P, Q, O)."""
    y = spread(conv2d_backward, x, weight, plan)
    if bias is not None:
        y += bias
    if plan.activation is not None:
        y = getattr(elementwise, f"{plan.activation}_forward")(y)[0]
    return y, (x, weight, y if plan.activation else None, plan)


def conv_transpose2d_backward(dy, saved, needs):
    """With dz = dy act'(y):  dx = conv2d of dz,  dweight = that of conv2d,  dbias = sum of dz."""
    n, p, q, channels = dy.shape
    plan = saved[3]
    dz, dbias = gradient_rows(dy, saved[2], _ACTIVATIONS[plan.activation], n * p * q, channels, needs[2])
    dx, dweight = collect(conv2d_forward, conv2d_backward, dz, saved, needs)
    return dx, dweight, dbias
