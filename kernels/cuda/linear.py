"""Affine maps and matrix products by `gemm`. The operations are defined in `kernels/reference/linear.py`."""

from __future__ import annotations

import math

from .columns import activated_sums, column_sums, sum_to
from .elementwise import relu_backward, sigmoid_backward, tanh_backward
from .gemm import gemm, matrix
from .loops import destination

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
    dz, dbias = activated(dy, y, activation, rows, needs[2])
    dx = dweight = None
    if needs[0]:
        dx = gemm(matrix(dz), matrix(weight), x.device.empty(x.shape, x.dtype), rows, inputs, outputs)
    if needs[1]:
        dweight, dbias = weight_gradient(dz, x.reshape(rows, inputs), needs[2], dbias, needs[1])
    elif needs[2] and dbias is None:
        dbias = column_sums(dz)
    return dx, dweight, dbias


def activated(dy, y, activation, rows, sums):
    """dz (rows, O) = dy act'(.), and behind an activation, where they are wanted, its sums from the same pass."""
    dy = dy.reshape(rows, dy.shape[-1])
    if not activation:
        return dy, None
    y = y.reshape(dy.shape)
    return activated_sums(dy, y, activation) if sums else (activation_gradient(dy, y, activation), None)


def weight_gradient(dz, x, sums, dbias=None, need=True):
    """dweight (O, I) = dz^T x for dz (rows, O) and x (rows, I); and dbias (O,), dz's sums, where wanted and not there.

    cuBLASLt can add dz up while it multiplies (BGRADB). need: where dweight goes, see `destination`.
    """
    (rows, outputs), inputs = dz.shape, x.shape[1]
    dweight = destination(need, (outputs, inputs), dz.device, dz.dtype)
    left, right = matrix(dz).transposed, matrix(x)
    if sums and dbias is None:
        dbias, cublas = dz.device.empty((outputs,), dz.dtype), dz.device.cublas
        if cublas is not None and cublas.product(
            left, right, dweight, outputs, inputs, rows, epilogue="BGRADB", vector=dbias
        ):
            return dweight, dbias
        dbias = column_sums(dz)
    return gemm(left, right, dweight, outputs, inputs, rows), dbias


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


def _stacked(array, count):
    """The matrices of an array as `count` ones: all of them, or the only one again and again; None for a mixture."""
    own = math.prod(array.shape[:-2])
    return matrix(array) if own == count else matrix(array)._replace(step=0) if own == 1 else None


def _multiply(a, b, leading, m, n, k, turn_a=False, turn_b=False):
    """(*leading, M, N): the products of two stacks, the left or the right matrices transposed."""
    count = math.prod(leading)
    out = a.device.empty((*leading, m, n), a.dtype)
    left, right = _stacked(a, count), _stacked(b, count)
    if left is not None and right is not None:
        return gemm(left.transposed if turn_a else left, right.transposed if turn_b else right, out, m, n, k,
                    batch=count)  # fmt: skip
    for one, other, result in zip(_parts(a, leading), _parts(b, leading), _parts(out, leading)):
        gemm(one.transposed if turn_a else one, other.transposed if turn_b else other, result.array, m, n, k)
    return out


def _folds(a, b, leading):
    """Whether one b is for all matrices of a, so that their rows can lie one behind the other in a single product."""
    return math.prod(b.shape[:-2]) == 1 and math.prod(a.shape[:-2]) == math.prod(leading)


def matmul_forward(a, b):
    leading = _broadcast(a, b)
    (m, k), n = a.shape[-2:], b.shape[-1]
    if _folds(a, b, leading):
        rows = math.prod(leading) * m
        y = gemm(matrix(a), matrix(b), a.device.empty((*leading, m, n), a.dtype), rows, n, k)
    else:
        y = _multiply(a, b, leading, m, n, k)
    return y, (a, b)


def matmul_backward(dy, saved, needs):
    a, b = saved
    leading = dy.shape[:-2]
    (m, k), n = a.shape[-2:], b.shape[-1]
    da = db = None
    if _folds(a, b, leading):
        rows = math.prod(leading) * m
        if needs[0]:
            da = gemm(matrix(dy), matrix(b).transposed, a.device.empty(a.shape, a.dtype), rows, k, n)
        if needs[1]:
            db = gemm(matrix(a).transposed, matrix(dy), a.device.empty(b.shape, b.dtype), k, n, rows)
        return da, db
    if needs[0]:
        da = sum_to(_multiply(dy, b, leading, m, k, n, turn_b=True), a.shape)
    if needs[1]:
        db = sum_to(_multiply(a, dy, leading, k, n, m, turn_a=True), b.shape)
    return da, db
