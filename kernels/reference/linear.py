"""Affine maps and matrix products. I in features, O out features; ... any leading shape."""

import math

import numpy as np

from ..sums import product, total
from .elementwise import activate, activation_gradient, like


def linear_forward(x, weight, bias, *, activation):
    """y = act(x W^T + b): x (..., I), weight (O, I), bias (O,) or None, y (..., O)."""
    y = np.matmul(x, weight.T)
    if bias is not None:
        y = y + bias
    y = like(activate(y, activation), x)
    return y, (x, weight, y if activation else None, activation)


def linear_backward(dy, saved, needs):
    """With dz = dy act'(y):  dx = dz W,  dweight = dz^T x,  dbias = sum of dz over the leading shape."""
    x, weight, y, activation = saved
    out_features, in_features = weight.shape
    dz = activation_gradient(dy, y, activation)
    count = math.prod(x.shape[:-1])  # reshape(-1, ...) cannot tell where a size is 0
    rows = dz.reshape(count, out_features)
    dx = like(np.matmul(dz, weight), dy) if needs[0] else None
    dweight = like(product(rows.T, x.reshape(count, in_features)), dy) if needs[1] else None
    dbias = total(rows, 0) if needs[2] else None
    return dx, dweight, dbias


def sum_to(values, shape):
    """Sum over the axes that broadcasting added or stretched, so that the result has `shape`."""
    if values.shape == shape:
        return values
    added = values.ndim - len(shape)
    stretched = tuple(added + axis for axis, size in enumerate(shape) if size == 1)
    return np.ascontiguousarray(total(values, tuple(range(added)) + stretched).reshape(shape))


def matmul_forward(a, b):
    """y = a b over the last two axes: a (..., M, K), b (..., K, N), y (..., M, N); the leading axes broadcast."""
    return like(product(a, b), a), (a, b)


def matmul_backward(dy, saved, needs):
    """da = dy b^T,  db = a^T dy, summed over the axes that were broadcast."""
    a, b = saved
    da = like(sum_to(product(dy, b.swapaxes(-1, -2)), a.shape), dy) if needs[0] else None
    db = like(sum_to(product(a.swapaxes(-1, -2), dy), b.shape), dy) if needs[1] else None
    return da, db
