"""Linear layers and matrix products on `gemm`; the backward passes are products with one operand transposed."""

import math

import numpy as np

from ..memory import empty
from ..reference.linear import sum_to
from . import elementwise
from .batch import gemm_each, is_small
from .gemm import gemm, product_path, sum_rows  # noqa: F401 (explain asks for product_path)
from .jit import contiguous


def activate(y, activation):
    """act(y) where the epilogue of the product did not apply it: None and "relu" are done there."""
    return y if activation in (None, "relu") else getattr(elementwise, f"{activation}_forward")(y)[0]


def activation_gradient(dy, y, activation):
    """dy * act'(.), a function of the output y for every activation that linear and conv2d take."""
    return dy if activation is None else getattr(elementwise, f"{activation}_backward")(dy, (y,), (True,))[0]


def linear_forward(x, weight, bias, *, activation):
    """y = act(x W^T + b), bias and ReLU in the epilogue of the product. x (..., I), weight (O, I), y (..., O)."""
    y = gemm(_matrix(x), contiguous(weight), trans_b=True, bias=bias, relu=activation == "relu")
    y = activate(y.reshape(*x.shape[:-1], weight.shape[0]), activation)
    return y, (x, weight, y if activation else None, activation)


def linear_backward(dy, saved, needs):
    """With dz = dy act'(y):  dx = dz W,  dweight = dz^T x,  dbias = sum of dz."""
    x, weight, y, activation = saved
    dz = _matrix(activation_gradient(dy, y, activation))
    dx = gemm(dz, contiguous(weight)).reshape(x.shape) if needs[0] else None
    dweight = gemm(dz, _matrix(x), trans_a=True, into=needs[1]) if needs[1] else None
    return dx, dweight, sum_rows(dz) if needs[2] else None


def matmul_forward(a, b):
    """y = a b over the last two axes, the leading axes broadcast."""
    return _multiply(a, b), (a, b)


def matmul_backward(dy, saved, needs):
    """da = dy b^T,  db = a^T dy, summed over the axes that were broadcast."""
    a, b = saved
    da = sum_to(_multiply(dy, b, trans_b=True), a.shape) if needs[0] else None
    if not needs[1]:
        return da, None
    if b.ndim == 2:  # all matrices of a meet the same b: one product over all their rows
        return da, gemm(_matrix(a), _matrix(dy), trans_a=True)
    return da, sum_to(_multiply(a, dy, trans_a=True), b.shape)


def _multiply(a, b, *, trans_a=False, trans_b=False):
    """op(a) op(b), where op transposes the last two axes and the leading axes broadcast."""
    m = a.shape[-1] if trans_a else a.shape[-2]
    n = b.shape[-2] if trans_b else b.shape[-1]
    if b.ndim == 2 and not trans_a:
        return gemm(_matrix(a), contiguous(b), trans_b=trans_b).reshape(*a.shape[:-1], n)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = empty((*batch, m, n), a.dtype)
    a, b = np.broadcast_to(a, (*batch, *a.shape[-2:])), np.broadcast_to(b, (*batch, *b.shape[-2:]))
    if is_small(y, a.shape[-2] if trans_a else a.shape[-1]):
        gemm_each(a, b, y, trans_a=trans_a, trans_b=trans_b)
        return y
    for place in np.ndindex(batch):
        y[place] = gemm(contiguous(a[place]), contiguous(b[place]), trans_a=trans_a, trans_b=trans_b)
    return y


def _matrix(x) -> np.ndarray:
    """x (..., n) as (rows, n), contiguous; -1 would be ambiguous for n = 0."""
    return contiguous(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
