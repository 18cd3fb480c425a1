"""Transposed convolution: every input pixel adds its values times the kernel to a window of the output.

N H W images, P Q output rows and columns, R S kernel rows and columns, I input channels, O output channels.
"""

import numpy as np

from ..geometry import conv_transpose_output_size
from ..sums import product, total
from .conv import add_windows, pad_image, windows
from .elementwise import activate, activation_gradient, like


def conv_transpose2d_forward(x, weight, bias, *, stride, padding, output_padding, dilation, groups, activation, method):
    """The adjoint of conv2d with the same weight: y is its gradient of the image, x the gradient that it got.

    y[n, p, q, o] = act(b[o] + sum of x[n, h, w, i] w[i, r, s, o] over all h, w, r, s, i
                        for which h sh + r dh - top = p and w sw + s dw - left = q)
    where i runs over the channels of o's group. x (N, H, W, I), weight (I, R, S, O/groups), bias (O,) or None,
    stride (sh, sw), padding (top, bottom, left, right) pixels that are cut off, dilation (dh, dw), y (N, P, Q, O) with
    P = (H - 1) sh - top - bottom + dh (R - 1) + output_padding[0] + 1. `method` as in conv2d.
    Zeiler, Krishnan, Taylor and Fergus 2010, "Deconvolutional Networks"; Dumoulin and Visin 2016, "A guide to
    convolution arithmetic for deep learning", chapter 4.
    """
    top, bottom, left, right = padding
    n, h, w, i = x.shape
    _, r, s, o = weight.shape
    p = conv_transpose_output_size(h, r, stride[0], top + bottom, dilation[0], output_padding[0])
    q = conv_transpose_output_size(w, s, stride[1], left + right, dilation[1], output_padding[1])
    rows = x.reshape(n * h * w, groups, i // groups)
    y = np.empty((n, p, q, groups * o), dtype=x.dtype)
    for g, kernels in enumerate(weight.reshape(groups, i // groups, r * s * o)):
        full = np.zeros((n, top + p + bottom, left + q + right, o), dtype=x.dtype)
        add_windows(full, np.matmul(rows[:, g], kernels).reshape(n, h, w, r, s, o), stride, dilation)
        y[..., g * o : (g + 1) * o] = full[:, top : top + p, left : left + q]
    if bias is not None:
        y += bias
    y = like(activate(y, activation), x)
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
    """With dz = dy act'(y) and its windows:  dx = windows(dz) W^T,  dweight = x^T windows(dz),  dbias = sum of dz."""
    x, weight, y, stride, padding, _, dilation, groups, activation, _ = saved
    n, h, w, i = x.shape
    _, r, s, o = weight.shape
    dz = activation_gradient(dy, y, activation)
    rows = x.reshape(n * h * w, groups, i // groups)
    dx, dweight = np.empty_like(rows), np.empty((groups, i // groups, r * s * o), dtype=x.dtype)
    for g, kernels in enumerate(weight.reshape(dweight.shape)):
        full = pad_image(dz[..., g * o : (g + 1) * o], padding)
        patches = windows(full, (r, s), (h, w), stride, dilation).reshape(n * h * w, r * s * o)
        dx[:, g] = np.matmul(patches, kernels.T)
        dweight[g] = product(rows[:, g].T, patches)
    dbias = total(dz, (0, 1, 2)) if needs[2] else None
    return dx.reshape(x.shape) if needs[0] else None, dweight.reshape(weight.shape) if needs[1] else None, dbias
