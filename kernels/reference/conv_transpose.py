"""Transposed convolution: every input pixel adds its values times the kernel to a window of the output.

N H W images, P Q output rows and columns, R S kernel rows and columns, I input channels, O output channels.
"""

import numpy as np

from .conv import add_windows, pad_image, windows
from .elementwise import activate, activation_gradient, like


def conv_transpose2d_forward(x, weight, bias, *, plan):
    """The adjoint of conv2d with the same weight: y is its gradient of the image, x the gradient that it got.

    y[n, p, q, o] = act(b[o] + sum of x[n, h, w, i] w[i, r, s, o] over all h, w, r, s, i
                        for which h sh + r dh - top = p and w sw + s dw - left = q)
    where i runs over the channels of o's group. x (N, H, W, I), weight (I, R, S, O/groups), bias (O,) or None,
    y (N, P, Q, O). The plan is that of this conv2d: y has the shape of its image, and of y its padding is cut off; at
    the bottom and right that is negative where y has rows and columns (output_padding) that nothing is added to.
    Zeiler, Krishnan, Taylor and Fergus 2010, "Deconvolutional Networks"; Dumoulin and Visin 2016, "A guide to
    convolution arithmetic for deep learning", chapter 4.
    """
    stride, padding, dilation, groups = plan.geometry
    top, bottom, left, right = (max(side, 0) for side in padding)
    n, h, w, i = x.shape
    _, r, s, o = weight.shape
    _, p, q, _ = plan.image
    rows = x.reshape(n * h * w, groups, i // groups)
    y = np.empty(plan.image, dtype=x.dtype)
    for g, kernels in enumerate(weight.reshape(groups, i // groups, r * s * o)):
        full = np.zeros((n, top + p + bottom, left + q + right, o), dtype=x.dtype)
        add_windows(full, np.matmul(rows[:, g], kernels).reshape(n, h, w, r, s, o), stride, dilation)
        y[..., g * o : (g + 1) * o] = full[:, top : top + p, left : left + q]
    if bias is not None:
        y += bias
    y = like(activate(y, plan.activation), x)
    return y, (x, weight, y if plan.activation else None, plan)


def conv_transpose2d_backward(dy, saved, needs):
    """With dz = dy act'(y) and its windows:  dx = windows(dz) W^T,  dweight = x^T windows(dz),  dbias = sum of dz."""
    x, weight, y, plan = saved
    stride, padding, dilation, groups = plan.geometry
    room = [max(side, 0) for side in padding]
    n, h, w, i = x.shape
    _, r, s, o = weight.shape
    dz = activation_gradient(dy, y, plan.activation)
    rows = x.reshape(n * h * w, groups, i // groups)
    dx, dweight = np.empty_like(rows), np.empty((groups, i // groups, r * s * o), dtype=x.dtype)
    for g, kernels in enumerate(weight.reshape(dweight.shape)):
        full = pad_image(dz[..., g * o : (g + 1) * o], room)
        patches = windows(full, (r, s), (h, w), stride, dilation).reshape(n * h * w, r * s * o)
        dx[:, g] = np.matmul(patches, kernels.T)
        dweight[g] = np.matmul(rows[:, g].T, patches)
    dbias = dz.sum(axis=(0, 1, 2)) if needs[2] else None
    return dx.reshape(x.shape) if needs[0] else None, dweight.reshape(weight.shape) if needs[1] else None, dbias
