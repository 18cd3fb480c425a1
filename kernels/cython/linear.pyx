# cython: language_level=3, binding=False
"""Affine maps and matrix products by gemm.h. I in features, O out features; ... any leading shape."""
include "common.pxi"
include "products.pxi"
include "affine.pxi"
from cpython.buffer cimport PyBUF_STRIDES

from math import prod as _prod

from ..reference.linear import sum_to as _sum_to
from .products import PackedWeight, product_path  # for layers in evaluation, for explain


def linear_forward(x, weight, bias, *, activation):
    """y = act(x W^T + b): x (..., I), weight (O, I), bias (O,) or None, y (..., O)."""
    xc, wc, bc = contiguous(x), contiguous(weight), contiguous(bias)
    cdef long features = dim(wc, 1), out = dim(wc, 0)
    y = with_last(xc, out)
    affine(xc, wc, bc, y, size(y) // out if out else 0, features, out, _ACTIVATIONS[activation], False)
    return y, (x, weight, y if activation else None, activation)


def linear_backward(dy, saved, needs):
    """With dz = dy act'(y):  dx = dz W,  dweight = dz^T x,  dbias = sum of dz over the leading shape."""
    x, weight, y, activation = saved
    dy, xc, wc = contiguous(dy), contiguous(x), contiguous(weight)
    cdef long out = dim(wc, 0), features = dim(wc, 1), rows = size(dy) // out if out else 0
    dz, dbias = gradient_rows(dy, y, _ACTIVATIONS[activation], rows, out, needs[2])
    dx = dweight = None
    if needs[0]:
        dx = like(xc)
        times(dz, wc, dx, size(dx) // features if features else 0, out, features, False)
    if needs[1]:
        dweight = place_for(needs[1], wc)
        times_transposed(dz, xc, dweight, rows, out, features)
    return dx, dweight, dbias


cdef object whole_strides(object a):
    """a itself if the strides of its matrices are whole elements, else a copy."""
    item = a.itemsize
    return a if a.strides[-1] % item == 0 and a.strides[-2] % item == 0 and a.flags.aligned else aligned(a)


cdef const void* matrix(object a, tuple index) except? NULL:
    """Address of a[index], an operand of any strides."""
    cdef Py_buffer view
    cdef Py_ssize_t offset = sum([i * stride for i, stride in zip(index, a.strides)])
    PyObject_GetBuffer(a, &view, PyBUF_STRIDES)
    cdef char* start = <char*>view.buf
    PyBuffer_Release(&view)
    return start + offset


cdef object product(object a, object b):
    """a b over the last two axes, leading axes broadcast; transposed operands are read where they lie."""
    cdef dl_gemm g
    cdef long item = a.itemsize
    cdef tuple lead = _np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = _empty((*lead, a.shape[-2], b.shape[-1]), a.dtype)
    a, b = whole_strides(a), whole_strides(b)
    g.dtype, g.m, g.n, g.k = is_double(a), a.shape[-2], b.shape[-1], a.shape[-1]
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous:  # one product with the rows of all of a
        g.m *= _prod(lead)
        a, lead = a.reshape(g.m, g.k), ()
    g.ars, g.acs, g.brs, g.bcs = [stride // item for array in (a, b) for stride in array.strides[-2:]]
    g.bias, g.ldc, g.activation, g.accumulate = NULL, g.n, 0, 0
    a, b = _np.broadcast_to(a, lead + a.shape[-2:]), _np.broadcast_to(b, lead + b.shape[-2:])
    cdef char* out = <char*>pointer(y)
    for index in _np.ndindex(*lead):
        g.a, g.b, g.c = matrix(a, index), matrix(b, index), <void*>out
        with nogil:
            gemm(&g)
        out += g.m * g.n * item
    return y


def matmul_forward(a, b):
    """y = a b over the last two axes: a (..., M, K), b (..., K, N), y (..., M, N); the leading axes broadcast."""
    return product(a, b), (a, b)


def matmul_backward(dy, saved, needs):
    """da = dy b^T,  db = a^T dy, summed over the axes that were broadcast."""
    a, b = saved
    da = _sum_to(product(dy, b.swapaxes(-1, -2)), a.shape) if needs[0] else None
    db = _sum_to(product(a.swapaxes(-1, -2), dy), b.shape) if needs[1] else None
    return da, db
