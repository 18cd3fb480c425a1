"""Transposed convolution by a backend's conv2d, whose image and gradient change places. Shared by the fast backends.

The forward of conv_transpose2d is conv2d's gradient of the image, its gradient of x is conv2d's forward, and its
gradient of the weight is conv2d's, all with the same weight array and so by the same algorithms (`conv_methods`).
"""

from __future__ import annotations

import numpy as np

from .conv_methods import FEW_CHANNELS
from .geometry import conv_transpose_output_size


def spread(conv2d_backward, x, weight, stride, padding, output_padding, dilation, groups, method):
    """y (N, P, Q, O) without bias: the gradient of an image, where conv2d's output has the gradient x."""
    shape = image_shape(x.shape, weight.shape, stride, padding, output_padding, dilation, groups)
    # Of the image that conv2d read its gradient needs no more than the shape: one zero, repeated without memory.
    image = np.broadcast_to(np.zeros((), x.dtype), shape)
    padding = image_padding(padding, output_padding)
    saved = image, weight, None, stride, padding, dilation, groups, None, method
    return conv2d_backward(x, saved, (True, False, False))[0]


def collect(conv2d_forward, conv2d_backward, dz, saved, needs):
    """(dx, dweight) for the gradient dz (N, P, Q, O) of y before its activation."""
    x, weight, _, stride, padding, output_padding, dilation, groups, _, method = saved
    padding = image_padding(padding, output_padding)
    dx = dweight = None
    if needs[0]:
        dx, _ = conv2d_forward(dz, weight, None, stride=stride, padding=padding, dilation=dilation, groups=groups,
                               activation=None, method=method)  # fmt: skip
    if needs[1]:
        image = dz, weight, None, stride, padding, dilation, groups, None, method
        dweight = conv2d_backward(x, image, (False, needs[1], False))[1]
    return dx, dweight


def scatters(weight, groups) -> bool:
    """Whether so few output channels are better scattered than gathered; Numba has a kernel for it."""
    return groups == 1 and weight[3] < FEW_CHANNELS


def image_shape(x, weight, stride, padding, output_padding, dilation, groups):
    """(N, P, Q, O) for x (N, H, W, I) and a weight (I, R, S, O/groups)."""
    p = conv_transpose_output_size(x[1], weight[1], stride[0], sum(padding[:2]), dilation[0], output_padding[0])
    q = conv_transpose_output_size(x[2], weight[2], stride[1], sum(padding[2:]), dilation[1], output_padding[1])
    return x[0], p, q, weight[3] * groups


def image_padding(padding, output_padding):
    """The padding with which conv2d has exactly as many windows as x has pixels.

    The rows and columns that output_padding adds are beyond the last window, so the padding there may be negative.
    """
    top, bottom, left, right = padding
    return top, bottom - output_padding[0], left, right - output_padding[1]
