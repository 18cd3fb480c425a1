# cython: language_level=3, binding=False
"""Convolution to few channels and average pooling in windows of 2 x 2, by lines.h: for conv_pool.pyx."""
include "common.pxi"
include "conv.pxi"

from .. import destination as _destination

cdef extern from "conv/lines.h" nogil:
    bint dl_lines_fit(const dl_conv* v)
    int dl_lines_forward(
        const dl_conv* v, const void* x, const void* weight, const void* bias, void* pixels, void* y
    )
    int dl_lines_gradient(
        const dl_conv* v, const void* dy, const void* pixels, const void* x, void* dweight, void* dbias
    )


def takes_lines(x, plan):
    """Whether lines.h takes this convolution with its pooling, for arrays of the dtype of x."""
    cdef dl_planned p
    read_plan(plan, x, &p)
    return bool(p.windows == DIRECT and p.pool_h == p.pool_w == 2 and dl_lines_fit(&p.v))


def line_means(x, weight, bias, plan):
    """(y, a): the means of windows of 2 x 2, and act(x * w + b) (N, P, Q, K), in memory (N, P, K, Q); None where
    lines.h does not take this convolution."""
    cdef int status
    cdef dl_planned p
    cdef dl_conv* v = &p.v
    read_plan(plan, x, &p)
    if not dl_lines_fit(v):
        return None
    xc, wc, bc = contiguous(x), contiguous(weight), contiguous(bias)
    y, lines = new_image(v.n, v.p // 2, v.q // 2, v.k, xc), new_image(v.n, v.p, v.k, v.q, xc)
    cdef const void* px = pointer(xc)
    cdef const void* pw = pointer(wc)
    cdef const void* pb = optional(bc)
    cdef void* pl = pointer(lines)
    cdef void* py = pointer(y)
    with nogil:
        status = dl_lines_forward(v, px, pw, pb, pl, py)
    check(status)
    return y, lines.transpose(0, 1, 3, 2)


def line_means_gradient(dy, a, x, weight, plan, needs):
    """(dweight, dbias), each if needed; None where lines.h does not take this convolution."""
    cdef int status
    cdef dl_planned p
    cdef dl_conv* v = &p.v
    read_plan(plan, x, &p)
    if not dl_lines_fit(v):
        return None
    dy, x, lines = contiguous(dy), contiguous(x), contiguous(None if a is None else a.transpose(0, 1, 3, 2))
    dweight = _destination(needs[1], weight.shape, dy.dtype) if needs[1] else None
    dbias = _empty(v.k, dy.dtype) if needs[2] else None
    cdef const void* pd = pointer(dy)
    cdef const void* pl = optional(lines)
    cdef const void* px = pointer(x)
    cdef void* pw = optional(dweight)
    cdef void* pb = optional(dbias)
    with nogil:
        status = dl_lines_gradient(v, pd, pl, px, pw, pb)
    check(status)
    return dweight, dbias
