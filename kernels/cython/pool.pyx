# cython: language_level=3, binding=False
"""Pooling by pool.h. N H W C images, R S window rows and columns, P Q output rows and columns."""
include "common.pxi"

from ..geometry import pool_output_size as _pool_output_size

cdef extern from "pool/pool.h" nogil:
    ctypedef struct dl_pool:
        int dtype, wide_index, count_pad
        long n, h, w, c, p, q, r, s, sh, sw, ph, pw, dh, dw
        const void* in_ "in"
        void* out
        void* index
    int dl_pool_forward(dl_pool* v, int max)
    int dl_pool_backward(dl_pool* v, int max)


cdef dl_pool windows(shape, kernel_size, stride, padding, dilation):
    cdef dl_pool v
    v.n, v.h, v.w, v.c = shape
    v.r, v.s = kernel_size
    v.sh, v.sw = stride
    v.ph, v.pw = padding
    v.dh, v.dw = dilation
    v.wide_index = v.r * v.s > 256
    v.count_pad = 0
    v.index = NULL
    return v


cdef void output_size(dl_pool* v, bint ceil_mode) except *:
    v.p = _pool_output_size(v.h, v.r, v.sh, v.ph, v.dh, ceil_mode)
    v.q = _pool_output_size(v.w, v.s, v.sw, v.pw, v.dw, ceil_mode)


cdef int run_forward(dl_pool* v, bint largest) except -1:
    cdef int status
    with nogil:
        status = dl_pool_forward(v, largest)
    if status != 0:
        raise MemoryError("no memory for the tables of a pooling")
    return 0


cdef int run_backward(dl_pool* v, bint largest) except -1:
    cdef int status
    with nogil:
        status = dl_pool_backward(v, largest)
    if status != 0:
        raise MemoryError("no memory for the tables of a pooling")
    return 0


def max_pool2d_forward(x, *, kernel_size, stride, padding, dilation, ceil_mode):
    """y = the largest value in each window, NaN largest of all; saved: r S + s of the first winner."""
    cdef dl_pool v = windows(x.shape, kernel_size, stride, padding, dilation)
    output_size(&v, ceil_mode)
    xc = contiguous(x)
    y = new_image(v.n, v.p, v.q, v.c, xc)
    index = _empty((v.n, v.p, v.q, v.c), "int32" if v.wide_index else "uint8")
    v.dtype, v.in_, v.out, v.index = is_double(xc), pointer(xc), pointer(y), pointer(index)
    run_forward(&v, True)
    return y, (x.shape, index, kernel_size, stride, padding, dilation)


def max_pool2d_backward(dy, saved, needs):
    """dx = the sum of dy over the windows that each pixel won."""
    x_shape, index, kernel_size, stride, padding, dilation = saved
    if not needs[0]:
        return (None,)
    cdef dl_pool v = windows(x_shape, kernel_size, stride, padding, dilation)
    _, v.p, v.q, _ = dy.shape
    dy, index = contiguous(dy), contiguous(index)
    dx = _empty(x_shape, dy.dtype)
    v.dtype, v.in_, v.out, v.index = is_double(dy), pointer(dy), pointer(dx), pointer(index)
    run_backward(&v, True)
    return (dx,)


def avg_pool2d_forward(x, *, kernel_size, stride, padding, ceil_mode, count_include_pad):
    """y = the mean of each window; padding counts as zeros if count_include_pad, else not at all."""
    cdef dl_pool v = windows(x.shape, kernel_size, stride, padding, (1, 1))
    output_size(&v, ceil_mode)
    xc = contiguous(x)
    y = new_image(v.n, v.p, v.q, v.c, xc)
    v.dtype, v.in_, v.out, v.count_pad = is_double(xc), pointer(xc), pointer(y), count_include_pad
    run_forward(&v, False)
    return y, (x.shape, kernel_size, stride, padding, count_include_pad)


def avg_pool2d_backward(dy, saved, needs):
    """dx = the sum over a pixel's windows of dy / cells in the window."""
    x_shape, kernel_size, stride, padding, count_include_pad = saved
    if not needs[0]:
        return (None,)
    cdef dl_pool v = windows(x_shape, kernel_size, stride, padding, (1, 1))
    _, v.p, v.q, _ = dy.shape
    dy = contiguous(dy)
    dx = _empty(x_shape, dy.dtype)
    v.dtype, v.in_, v.out, v.count_pad = is_double(dy), pointer(dy), pointer(dx), count_include_pad
    run_backward(&v, False)
    return (dx,)


cdef dl_pool bins(shape, output_size):
    """An image divided into bins, whose largest has at most this many rows and columns."""
    most = shape[1] // output_size[0] + 2, shape[2] // output_size[1] + 2
    cdef dl_pool v = windows(shape, most, (0, 0), (0, 0), (1, 1))
    v.p, v.q = output_size
    return v


def adaptive_avg_pool2d_forward(x, *, output_size):
    """y = the mean of each of P x Q bins of the image."""
    cdef dl_pool v = bins(x.shape, output_size)
    xc = contiguous(x)
    y = new_image(v.n, v.p, v.q, v.c, xc)
    v.dtype, v.in_, v.out = is_double(xc), pointer(xc), pointer(y)
    run_forward(&v, False)
    return y, (x.shape, output_size)


def adaptive_avg_pool2d_backward(dy, saved, needs):
    """dx = the sum over a pixel's bins of dy / pixels in the bin."""
    x_shape, output_size = saved
    if not needs[0]:
        return (None,)
    cdef dl_pool v = bins(x_shape, output_size)
    dy = contiguous(dy)
    dx = _empty(x_shape, dy.dtype)
    v.dtype, v.in_, v.out = is_double(dy), pointer(dy), pointer(dx)
    run_backward(&v, False)
    return (dx,)
