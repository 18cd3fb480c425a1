"""Convolution by im2col: copy every window of the image into a row, then multiply matrices.

N H W C images, R S kernel rows and columns, P Q output rows and columns, K out channels.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..conv_methods import PLAIN
from .elementwise import activate, activation_gradient, like

ABILITIES = PLAIN


def pad_image(x, padding, value=0):
    """x (N, H, W, C) with (top, bottom, left, right) rows and columns of `value` around it."""
    top, bottom, left, right = padding
    n, h, w, c = x.shape
    padded = np.full((n, top + h + bottom, left + w + right, c), value, dtype=x.dtype)
    padded[:, top : top + h, left : left + w] = x
    return padded


def windows(padded, kernel_size, output_size, stride, dilation):
    """A view (N, P, Q, R, S, C) of the padded image: [n, p, q, r, s] is pixel (p sh + r dh, q sw + s dw)."""
    n, row, column, c = padded.strides
    strides = (n, row * stride[0], column * stride[1], row * dilation[0], column * dilation[1], c)
    shape = (padded.shape[0], *output_size, *kernel_size, padded.shape[3])
    return as_strided(padded, shape, strides, writeable=False)


def add_windows(padded, values, stride, dilation):
    """Add values (N, P, Q, R, S, C) to the pixels that `windows` reads them from: its transpose, col2im."""
    _, p, q, kernel_rows, kernel_columns, _ = values.shape
    for r in range(kernel_rows):
        rows = slice(r * dilation[0], r * dilation[0] + p * stride[0], stride[0])
        for s in range(kernel_columns):
            columns = slice(s * dilation[1], s * dilation[1] + q * stride[1], stride[1])
            # The stop of a slice may lie past the edge: the last window still starts inside.
            padded[:, rows, columns] += values[:, :, :, r, s]


def _group_columns(x, weight_shape, output_size, stride, padding, dilation, group):
    """The windows of one group's channels as a matrix (N P Q, R S C/groups)."""
    _, r, s, c = weight_shape
    padded = pad_image(x[..., group * c : (group + 1) * c], padding)
    return windows(padded, (r, s), output_size, stride, dilation).reshape(-1, r * s * c)


def conv2d_forward(x, weight, bias, *, plan):
    """Cross-correlation, y = act(x * w + b), the image padded with zeros.

    y[n, p, q, k] = act(b[k] + sum over r, s, c of x[n, p sh + r dh - top, q sw + s dw - left, c] w[k, r, s, c])
    where c runs over the channels of k's group. x (N, H, W, C), weight (K, R, S, C/groups), bias (K,) or None,
    y (N, P, Q, K). The plan (`conv_plan.Plan`) has the geometry: stride (sh, sw), padding (top, bottom, left, right),
    dilation (dh, dw), groups; the activation; and the method of each pass, which here is always im2col.
    """
    stride, padding, dilation, groups = plan.geometry
    n, p, q, k = plan.output
    y = np.empty((n, p, q, groups, k // groups), dtype=x.dtype)
    for g, kernels in enumerate(weight.reshape(groups, k // groups, -1)):
        columns = _group_columns(x, weight.shape, (p, q), stride, padding, dilation, g)
        y[:, :, :, g] = np.matmul(columns, kernels.T).reshape(n, p, q, k // groups)
    y = y.reshape(n, p, q, k)
    if bias is not None:
        y += bias
    y = like(activate(y, plan.activation), x)
    return y, (x, weight, y if plan.activation else None, plan)


def conv2d_backward(dy, saved, needs):
    """With dz = dy act'(y):  dx = col2im(dz W),  dweight = dz^T im2col(x),  dbias = sum of dz over N, P, Q."""
    x, weight, y, plan = saved
    stride, padding, dilation, groups = plan.geometry
    dz = activation_gradient(dy, y, plan.activation)
    dx = _input_gradient(dz, weight, x.shape, stride, padding, dilation, groups) if needs[0] else None
    dweight = _weight_gradient(dz, x, weight.shape, stride, padding, dilation, groups) if needs[1] else None
    dbias = dz.sum(axis=(0, 1, 2)) if needs[2] else None
    return dx, dweight, dbias


def _input_gradient(dz, weight, x_shape, stride, padding, dilation, groups):
    """dx (N, H, W, C): each output pixel adds its gradient times the kernel to the window it was read from."""
    n, h, w, _ = x_shape
    _, p, q, k = dz.shape
    _, r, s, c = weight.shape
    top, _, left, _ = padding
    dz = dz.reshape(n * p * q, groups, k // groups)
    dx = np.empty(x_shape, dtype=dz.dtype)
    for g, kernels in enumerate(weight.reshape(groups, k // groups, -1)):
        padded = pad_image(np.zeros((n, h, w, c), dtype=dz.dtype), padding)
        add_windows(padded, np.matmul(dz[:, g], kernels).reshape(n, p, q, r, s, c), stride, dilation)
        dx[..., g * c : (g + 1) * c] = padded[:, top : top + h, left : left + w]
    return dx


def _weight_gradient(dz, x, weight_shape, stride, padding, dilation, groups):
    """dweight (K, R, S, C/groups): each output pixel adds its gradient times the window it was read from."""
    n, p, q, k = dz.shape
    dz = dz.reshape(n * p * q, groups, k // groups)
    dweight = np.empty((groups, k // groups, int(np.prod(weight_shape[1:]))), dtype=dz.dtype)
    for g in range(groups):
        columns = _group_columns(x, weight_shape, (p, q), stride, padding, dilation, g)
        dweight[g] = np.matmul(dz[:, g].T, columns)
    return dweight.reshape(weight_shape)
