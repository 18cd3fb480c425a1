# cython: language_level=3, binding=False
"""Convolution: the plan names the algorithm of each pass; im2col is conv.h.

N H W C images, R S kernel rows and columns, P Q output rows and columns, K out channels.
"""
include "common.pxi"
include "products.pxi"
include "conv.pxi"
from libc.stdint cimport uint8_t

from .. import destination as _destination

cdef extern from "conv/conv_finish.h" nogil:
    void dl_finish_tables(
        dl_finish* f, long k, int dtype, const void* bias_z, const void* weight, const void* bias, const void* mean,
        const void* var, double eps, void* tables
    )

cdef extern from "conv/conv.h" nogil:
    int dl_conv_forward(const dl_conv* v, const void* x, const void* weight, const void* bias, void* y)
    int dl_conv_input_gradient(const dl_conv* v, const void* dz, const void* weight, void* dx)
    int dl_conv_weight_gradient(const dl_conv* v, const void* dz, const void* x, void* dweight)

cdef extern from "conv/grouped.h" nogil:  # and depthwise.h
    bint dl_depthwise_fits(const dl_conv* v)
    int dl_grouped_forward(const dl_conv* v, const void* x, const void* weight, const void* bias, void* y)
    int dl_grouped_input_gradient(const dl_conv* v, const void* dz, const void* weight, void* dx)
    int dl_grouped_weight_gradient(const dl_conv* v, const void* dz, const void* x, void* dweight)
    int dl_depthwise_gradient(
        const dl_conv* v, const void* dz, const void* x, const void* weight, void* dx, void* dweight, void* dbias
    )

cdef extern from "conv/pointwise.h" nogil:
    int dl_pointwise_forward(const dl_conv* v, const void* x, const void* weight, const void* bias, void* y)
    int dl_pointwise_input_gradient(const dl_conv* v, const void* dz, const void* weight, void* dx)
    int dl_pointwise_weight_gradient(const dl_conv* v, const void* dz, const void* x, void* dweight)

cdef extern from "conv/polyphase.h" nogil:  # and winograd.h
    int dl_polyphase_forward(const dl_conv* v, const void* x, const void* weight, const void* bias, void* y)
    int dl_polyphase_input_gradient(const dl_conv* v, const void* dz, const void* weight, void* dx)
    int dl_polyphase_weight_gradient(const dl_conv* v, const void* dz, const void* x, void* dweight)
    int dl_winograd_windows(
        const dl_conv* v, const void* x, const void* weight, const void* bias, void* y, uint8_t* index
    )

cdef extern from "conv/winograd_both.h" nogil:
    bint dl_winograd_fits_both(const dl_conv* v)
    int dl_winograd_both_gradients(
        const dl_conv* v, const void* dz, const void* y, const uint8_t* index, const void* x, const void* weight,
        void* dx, void* dweight, void* dbias
    )

cdef extern from "conv/direct.h" nogil:
    int dl_direct_forward(const dl_conv* v, const void* x, const void* weight, const void* bias, void* y)
    int dl_direct_input_gradient(const dl_conv* v, const void* dz, const void* weight, void* dx)
    int dl_direct_weight_gradient(const dl_conv* v, const void* dz, const void* x, void* dweight)
    int dl_direct_gradient(
        const dl_conv* v, const void* dy, const void* y, const void* x, void* dweight, void* dbias
    )
    int dl_direct_means(
        const dl_conv* v, long pool_h, long pool_w, const void* x, const void* weight, const void* bias, void* a,
        void* y
    )
    bint dl_direct_sparse_fits(const dl_conv* v, long pool_h, long pool_w)
    bint dl_direct_means_fit(const dl_conv* v)
    int dl_direct_means_gradient(
        const dl_conv* v, long pool_h, long pool_w, const void* dy, const void* y, const void* x, const void* weight,
        void* dx, void* dweight, void* dbias
    )
    int dl_direct_windows(
        const dl_conv* v, long pool_h, long pool_w, const void* x, const void* weight, const void* bias, void* y,
        void* index
    )
    int dl_direct_windows_gradient(
        const dl_conv* v, long pool_h, long pool_w, const void* dy, const void* y, const void* index, const void* x,
        void* dweight, void* dbias
    )

ctypedef int (*forward_kernel)(const dl_conv*, const void*, const void*, const void*, void*) noexcept nogil
ctypedef int (*gradient_kernel)(const dl_conv*, const void*, const void*, void*) noexcept nogil


cdef forward_kernel[5] forward_kernels = [
    dl_conv_forward, dl_direct_forward, dl_polyphase_forward, dl_pointwise_forward, dl_grouped_forward
]
cdef gradient_kernel[5] input_kernels = [
    dl_conv_input_gradient, dl_direct_input_gradient, dl_polyphase_input_gradient, dl_pointwise_input_gradient,
    dl_grouped_input_gradient
]
cdef gradient_kernel[5] weight_kernels = [
    dl_conv_weight_gradient, dl_direct_weight_gradient, dl_polyphase_weight_gradient, dl_pointwise_weight_gradient,
    dl_grouped_weight_gradient
]


cdef int run_forward(int method, const dl_conv* v, object x, object weight, object bias, object y) except -1:
    """y by that method, of contiguous arrays."""
    cdef int status
    cdef forward_kernel kernel = forward_kernels[method]
    cdef const void* px = pointer(x)
    cdef const void* pw = pointer(weight)
    cdef const void* pb = optional(bias)
    cdef void* py = pointer(y)
    with nogil:
        status = kernel(v, px, pw, pb, py)
    return check(status)


def conv2d_forward(x, weight, bias, *, plan):
    """y = act(x * w + b): x (N, H, W, C), weight (K, R, S, C/groups), bias (K,) or None, y (N, P, Q, K)."""
    cdef dl_planned p
    read_plan(plan, x, &p)
    xc = contiguous(x)
    y = new_image(p.v.n, p.v.p, p.v.q, p.v.k, xc)
    run_forward(p.forward, &p.v, xc, contiguous(weight), contiguous(bias), y)
    return y, (x, weight, y if p.v.activation else None, plan)


def conv2d_batch_norm_forward(x, weight, bias, norm_weight, norm_bias, residual, mean, var, *, plan, eps):
    """y = act((x * w + b - mean) / sqrt(var + eps) norm_weight + norm_bias + residual); see conv_norm.py."""
    cdef dl_finish f
    cdef dl_planned p
    cdef dl_conv* v = &p.v
    read_plan(plan, x, &p)
    xc, rc = contiguous(x), contiguous(residual)
    bc, nw, nb, mc, vc = [contiguous(row) for row in (bias, norm_weight, norm_bias, mean, var)]
    y, tables = new_image(v.n, v.p, v.q, v.k, xc), new_row(2 * v.k, xc)
    dl_finish_tables(
        &f, v.k, v.dtype, optional(bc), optional(nw), optional(nb), pointer(mc), pointer(vc), eps, pointer(tables)
    )
    f.residual, f.out, f.activation, v.finish, v.activation = optional(rc), pointer(y), v.activation, &f, 0
    run_forward(IM2COL if p.forward == POINTWISE else p.forward, v, xc, contiguous(weight), None, y)
    return y, ((x, weight, bias), (norm_weight, norm_bias, residual, mean, var), plan, eps)


def conv2d_backward(dy, saved, needs):
    """With dz = dy act'(y):  dx, dweight, dbias = sum of dz over N, P, Q (see the reference)."""
    cdef dl_planned p
    cdef dl_conv* v = &p.v
    x, weight, y, plan = saved
    read_plan(plan, x, &p)
    if p.dx == DEPTHWISE and dl_depthwise_fits(v):
        return depthwise_gradient(v, dy, y, x, weight, needs)
    if p.dweight == DIRECT and needs[1] and not needs[0]:
        return None, *direct_gradient(v, dy, y, x, weight.shape, needs)
    if fits_both(&p):
        dz, dbias = gradient_rows(dy, y, v.activation, v.n * v.p * v.q, v.k, needs[2] and v.activation)
        dx, dweight, total = both_gradients(v, dz, None, None, x, weight, (*needs[:2], needs[2] and not v.activation))
        return dx, dweight, total if dbias is None else dbias
    dz, dbias = gradient_rows(dy, y, v.activation, v.n * v.p * v.q, v.k, needs[2])
    dx = dweight = None
    if needs[0]:
        dx = _empty(plan.image, dz.dtype)
        gradient(input_kernels[p.dx], v, dz, contiguous(weight), dx)
    if needs[1]:
        dweight = _destination(needs[1], plan.kernel, dz.dtype)
        gradient(weight_kernels[p.dweight], v, dz, contiguous(x), dweight)
    return dx, dweight, dbias


cdef int gradient(gradient_kernel kernel, const dl_conv* v, object dz, object other, object out) except -1:
    """Runs dx from dz and the weight, or dweight from dz and x."""
    cdef int status
    cdef const void* pz = pointer(dz)
    cdef const void* po = pointer(other)
    cdef void* to = pointer(out)
    with nogil:
        status = kernel(v, pz, po, to)
    return check(status)


cdef tuple depthwise_gradient(const dl_conv* v, object dy, object y, object x, object weight, object needs):
    """(dx, dweight, dbias) in one pass over dz and x; dbias is a by-product of dweight."""
    cdef int status
    cdef bint with_weight = needs[1] or needs[2]
    dz, _ = gradient_rows(dy, y, v.activation, v.n * v.p * v.q, v.k, False)
    dx = _empty(x.shape, dz.dtype) if needs[0] else None
    x, weight = contiguous(x) if with_weight else None, contiguous(weight)
    dweight = _destination(needs[1], weight.shape, dz.dtype) if with_weight else None
    dbias = _empty(v.k, dz.dtype) if needs[2] else None
    cdef const void* pz = pointer(dz)
    cdef const void* px = optional(x)
    cdef const void* pw = pointer(weight)
    cdef void* to_x = optional(dx)
    cdef void* to_w = optional(dweight)
    cdef void* to_b = optional(dbias)
    with nogil:
        status = dl_depthwise_gradient(v, pz, px, pw, to_x, to_w, to_b)
    check(status)
    return dx, dweight if needs[1] else None, dbias


cdef tuple direct_gradient(const dl_conv* v, object dy, object y, object x, object shape, object needs):
    """(dweight, dbias) of a first layer: dz is made on the way and kept in cache."""
    cdef int status
    dy, y, x = contiguous(dy), contiguous(y), contiguous(x)
    dweight = _destination(needs[1], shape, dy.dtype)
    dbias = _empty(v.k, dy.dtype) if needs[2] else None
    cdef const void* pd = pointer(dy)
    cdef const void* py = optional(y)
    cdef const void* px = pointer(x)
    cdef void* pw = pointer(dweight)
    cdef void* pb = optional(dbias)
    with nogil:
        status = dl_direct_gradient(v, pd, py, px, pw, pb)
    check(status)
    return dweight, dbias


def direct_means(x, weight, bias, plan):
    """(y, a) of conv_pool.pyx: a = act(x * w + b), y the mean of each window of it."""
    cdef int status
    cdef dl_planned p
    cdef dl_conv* v = &p.v
    read_plan(plan, x, &p)
    xc, wc, bc = contiguous(x), contiguous(weight), contiguous(bias)
    a = new_image(v.n, v.p, v.q, v.k, xc)
    y = new_image(v.n, v.p // p.pool_h, v.q // p.pool_w, v.k, xc)
    cdef const void* px = pointer(xc)
    cdef const void* pw = pointer(wc)
    cdef const void* pb = optional(bc)
    cdef void* pa = pointer(a)
    cdef void* py = pointer(y)
    with nogil:
        status = dl_direct_means(v, p.pool_h, p.pool_w, px, pw, pb, pa, py)
    check(status)
    return y, a


def direct_means_gradient(dy, a, x, weight, plan, needs):
    """(dx, dweight, dbias), each if needed, from dy of the means; None where direct.h does not take all at once."""
    cdef int status
    cdef dl_planned p
    cdef dl_conv* v = &p.v
    read_plan(plan, x, &p)
    if not dl_direct_means_fit(v):
        return None
    dy, a, x, weight = contiguous(dy), contiguous(a), contiguous(x), contiguous(weight)
    dx = _empty(x.shape, dy.dtype) if needs[0] else None
    dweight = _destination(needs[1], weight.shape, dy.dtype) if needs[1] else None
    dbias = _empty(v.k, dy.dtype) if needs[2] else None
    cdef const void* pd = pointer(dy)
    cdef const void* pa = optional(a)
    cdef const void* px = pointer(x)
    cdef const void* pw = pointer(weight)
    cdef void* to_x = optional(dx)
    cdef void* to_weight = optional(dweight)
    cdef void* to_bias = optional(dbias)
    with nogil:
        status = dl_direct_means_gradient(v, p.pool_h, p.pool_w, pd, pa, px, pw, to_x, to_weight, to_bias)
    check(status)
    return dx, dweight, dbias


def direct_windows(x, weight, bias, plan):
    """(y, index) of conv_pool.pyx: act of the largest of each window, and which pixel that is."""
    cdef int status
    cdef dl_planned p
    cdef dl_conv* v = &p.v
    read_plan(plan, x, &p)
    xc, wc, bc = contiguous(x), contiguous(weight), contiguous(bias)
    y = new_image(v.n, v.p // p.pool_h, v.q // p.pool_w, v.k, xc)
    index = _empty(y.shape, "uint8" if p.pool_h * p.pool_w <= 256 else "int32")
    cdef const void* px = pointer(xc)
    cdef const void* pw = pointer(wc)
    cdef const void* pb = optional(bc)
    cdef void* py = pointer(y)
    cdef void* pi = pointer(index)
    with nogil:
        status = dl_direct_windows(v, p.pool_h, p.pool_w, px, pw, pb, py, pi)
    check(status)
    return y, index


def direct_windows_gradient(dy, y, index, x, weight, plan, needs):
    """(dweight, dbias), each if needed, of a first layer and its windows."""
    cdef int status
    cdef dl_planned p
    cdef dl_conv* v = &p.v
    read_plan(plan, x, &p)
    dy, y, index, x = contiguous(dy), contiguous(y), contiguous(index), contiguous(x)
    dweight = _destination(needs[1], weight.shape, dy.dtype) if needs[1] else None
    dbias = _empty(v.k, dy.dtype) if needs[2] else None
    cdef const void* pd = pointer(dy)
    cdef const void* py = optional(y)
    cdef const void* pi = pointer(index)
    cdef const void* px = pointer(x)
    cdef void* pw = optional(dweight)
    cdef void* pb = optional(dbias)
    with nogil:
        status = dl_direct_windows_gradient(v, p.pool_h, p.pool_w, pd, py, pi, px, pw, pb)
    check(status)
    return dweight, dbias


def winograd_windows(x, weight, bias, plan):
    """(y, index) of conv_pool.pyx: act of the largest of each 2 x 2 window, and which pixel that is."""
    cdef int status
    cdef dl_planned p
    cdef dl_conv* v = &p.v
    read_plan(plan, x, &p)
    xc, wc, bc = contiguous(x), contiguous(weight), contiguous(bias)
    y = new_image(v.n, v.p // 2, v.q // 2, v.k, xc)
    index = _empty(y.shape, "uint8")
    cdef const void* px = pointer(xc)
    cdef const void* pw = pointer(wc)
    cdef const void* pb = optional(bc)
    cdef void* py = pointer(y)
    cdef uint8_t* pi = <uint8_t*>pointer(index)
    with nogil:
        status = dl_winograd_windows(v, px, pw, pb, py, pi)
    check(status)
    return y, index


def winograd_windows_gradients(dy, y, index, x, weight, plan, needs):
    """(dx, dweight, dbias) from the gradient of the windows; None where winograd.h does not take both at once."""
    cdef dl_planned p
    read_plan(plan, x, &p)
    if not fits_both(&p):
        return None
    return both_gradients(&p.v, dy, y, index, x, weight, needs)


def gradients_at_once(x, plan):
    """Whether the gradients of x and of the weight share one transform of dz, for arrays of the dtype of x."""
    cdef dl_planned p
    read_plan(plan, x, &p)
    return bool(fits_both(&p))


def sparse_windows(x, plan):
    """Whether the direct method's winners of windows give straight to the weights."""
    cdef dl_planned p
    read_plan(plan, x, &p)
    return bool(p.windows_back == DIRECT and dl_direct_sparse_fits(&p.v, p.pool_h, p.pool_w))


cdef bint fits_both(const dl_planned* p):
    """Whether Winograd computes the gradients of x and of the weight at once."""
    return p.dx == WINOGRAD and p.dweight == WINOGRAD and dl_winograd_fits_both(&p.v)


cdef tuple both_gradients(const dl_conv* v, dz, y, index, x, weight, needs):
    """(dx, dweight, dbias), each if needed, from dz or the gradient of windows."""
    cdef int status
    dz, y, index, x, weight = contiguous(dz), contiguous(y), contiguous(index), contiguous(x), contiguous(weight)
    dx = _empty(x.shape, dz.dtype) if needs[0] else None
    dweight = _destination(needs[1], weight.shape, dz.dtype) if needs[1] else None
    dbias = _empty(v.k, dz.dtype) if needs[2] else None
    cdef const void* pz = pointer(dz)
    cdef const void* py = optional(y)
    cdef const uint8_t* pi = <const uint8_t*>optional(index)
    cdef const void* px = pointer(x)
    cdef const void* pw = pointer(weight)
    cdef void* to_x = optional(dx)
    cdef void* to_weight = optional(dweight)
    cdef void* to_bias = optional(dbias)
    with nogil:
        status = dl_winograd_both_gradients(v, pz, py, pi, px, pw, to_x, to_weight, to_bias)
    check(status)
    return dx, dweight, dbias
