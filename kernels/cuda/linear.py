"""Affine maps and matrix products by `gemm`. The operations are defined in `kernels/reference/linear.py`."""

from __future__ import annotations

import math

from .columns import column_sums, sum_to
from .elementwise import relu_backward, sigmoid_backward, tanh_backward
from .gemm import Matrix, gemm, matrix

_GRADIENTS = {"relu": relu_backward, "sigmoid": sigmoid_backward, "tanh": tanh_backward}


def activation_gradient(dy, y, activation):
    """dy act'(.), from the output y; dy itself where there is no activation."""
    return _GRADIENTS[activation](dy, (y,), (True,))[0] if activation else dy


def linear_forward(x, weight, bias, *, activation):
    outputs, inputs = weight.shape
    rows = math.prod(x.shape[:-1])
    y = x.device.empty((*x.shape[:-1], outputs), x.dtype)
    gemm(matrix(x.reshape(rows, inputs)), matrix(weight).transposed, y, rows, outputs, inputs, bias=bias,
         activation=activation)  # fmt: skip
    return y, (x, weight, y if activation else None, activation)


def linear_backward(dy, saved, needs):
    x, weight, y, activation = saved
    outputs, inputs = weight.shape
    rows = math.prod(x.shape[:-1])
    dz = activation_gradient(dy, y, activation).reshape(rows, outputs)
    empty = x.device.empty
    dx = dweight = dbias = None
    if needs[0]:
        dx = gemm(matrix(dz), matrix(weight), empty(x.shape, x.dtype), rows, inputs, outputs)
    if needs[1]:
        flat = matrix(x.reshape(rows, inputs))
        dweight = gemm(matrix(dz).transposed, flat, empty(weight.shape, x.dtype), outputs, inputs, rows)
    if needs[2]:
        dbias = column_sums(dz)
    return dx, dweight, dbias


def _broadcast(a, b):
    """The leading axes of a product of stacks."""
    longer = max(a.ndim, b.ndim) - 2
    one, other = ((1,) * (longer + 2 - x.ndim) + x.shape[:-2] for x in (a, b))
    return tuple(q if p == 1 else p for p, q in zip(one, other))


def _offsets(shape, leading):
    """The number of the matrix that each matrix of a broadcast stack is."""
    own = (1,) * (len(leading) - (len(shape) - 2)) + shape[:-2]
    numbers = [0]
    step = math.prod(own)
    for size, length in zip(own, leading):
        step //= max(size, 1)
        numbers = [base + (i * step if size > 1 else 0) for base in numbers for i in range(length)]
    return numbers


def _parts(array, leading):
    """The matrices of a broadcast stack."""
    rows, columns = array.shape[-2:]
    flat = array.reshape(math.prod(array.shape[:-2]), rows, columns)
    return [matrix(flat.rows(i, i + 1)) for i in _offsets(array.shape, leading)]


def matmul_forward(a, b):
    leading = _broadcast(a, b)
    (m, k), n = a.shape[-2:], b.shape[-1]
    y = a.device.empty((*leading, m, n), a.dtype)
    if a.shape[:-2] == b.shape[:-2]:
        gemm(matrix(a), matrix(b), y, m, n, k, batch=math.prod(leading))
    else:
        _each(_parts(a, leading), _parts(b, leading), _parts(y, leading), m, n, k)
    return y, (a, b)


def _each(left: list[Matrix], right: list[Matrix], out: list[Matrix], m, n, k):
    for one, other, result in zip(left, right, out):
        gemm(one, other, result.array, m, n, k)


def matmul_backward(dy, saved, needs):
    a, b = saved
    leading = dy.shape[:-2]
    (m, k), n = a.shape[-2:], b.shape[-1]
    da = db = None
    if needs[0]:
        da = _stack(dy, leading, (m, k), _parts(dy, leading), _turned(_parts(b, leading)), m, k, n)
    if needs[1]:
        db = _stack(dy, leading, (k, n), _turned(_parts(a, leading)), _parts(dy, leading), k, n, m)
    return (None if da is None else sum_to(da, a.shape)), (None if db is None else sum_to(db, b.shape))


def _turned(matrices: list[Matrix]) -> list[Matrix]:
    return [each.transposed for each in matrices]


def _stack(like, leading, shape, left, right, m, n, k):
    """The products of two lists of matrices, as one array."""
    out = like.device.empty((*leading, *shape), like.dtype)
    _each(left, right, _parts(out, leading), m, n, k)
    return out
