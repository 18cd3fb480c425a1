# cython: language_level=3, binding=False
"""Convolution: `conv_methods.choose` names the algorithm of each pass; im2col is conv.h.

N H W C images, R S kernel rows and columns, P Q output rows and columns, K out channels.
"""
include "common.pxi"
include "products.pxi"
include "conv.pxi"
from libc.stdint cimport uint8_t

from .. import destination as _destination
from ..conv_methods import METHODS as CONV_METHODS
from ..conv_methods import method_of as _method_of

cdef extern from "conv_finish.h" nogil:
    void dl_finish_tables(
        dl_finish* f, long k, int dtype, const void* bias_z, const void* weight, const void* bias, const void* mean,
        const void* var, double eps, void* tables
    )

cdef extern from "conv.h" nogil:
    int dl_conv_forward(const dl_conv* v, const void* x, const void* weight, const void* bias, void* y)
    int dl_conv_input_gradient(const dl_conv* v, const void* dz, const void* weight, void* dx)
    int dl_conv_weight_gradient(const dl_conv* v, const void* dz, const void* x, void* dweight)

cdef extern from "depthwise.h" nogil:
    int dl_depthwise_forward(const dl_conv* v, const void* x, const void* weight, const void* bias, void* y)
    int dl_depthwise_gradient(
        const dl_conv* v, const void* dz, const void* x, const void* weight, void* dx, void* dweight, void* dbias
    )

cdef extern from "pointwise.h" nogil:
    int dl_pointwise_forward(const dl_conv* v, const void* x, const void* weight, const void* bias, void* y)
    int dl_pointwise_input_gradient(const dl_conv* v, const void* dz, const void* weight, void* dx)
    int dl_pointwise_weight_gradient(const dl_conv* v, const void* dz, const void* x, void* dweight)

cdef extern from "polyphase.h" nogil:  # and winograd.h
    int dl_polyphase_forward(const dl_conv* v, const void* x, const void* weight, const void* bias, void* y)
    int dl_polyphase_input_gradient(const dl_conv* v, const void* dz, const void* weight, void* dx)
    int dl_polyphase_weight_gradient(const dl_conv* v, const void* dz, const void* x, void* dweight)
    int dl_winograd_windows(
        const dl_conv* v, const void* x, const void* weight, const void* bias, void* y, uint8_t* index
    )

cdef extern from "winograd_both.h" nogil:
    bint dl_winograd_fits_both(const dl_conv* v)
    int dl_winograd_both_gradients(
        const dl_conv* v, const void* dz, const void* y, const uint8_t* index, const void* x, const void* weight,
        void* dx, void* dweight, void* dbias
    )

cdef extern from "direct.h" nogil:
    int dl_direct_forward(const dl_conv* v, const void* x, const void* weight, const void* bias, void* y)
    int dl_direct_input_gradient(const dl_conv* v, const void* dz, const void* weight, void* dx)
    int dl_direct_weight_gradient(const dl_conv* v, const void* dz, const void* x, void* dweight)
    int dl_direct_gradient(
        const dl_conv* v, const void* dy, const void* y, const void* x, void* dweight, void* dbias
    )
    int dl_direct_means(
        const dl_conv* v, long pool_h, long pool_w, const void* x, const void* weight, const void* bias, void* a, void* y
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


cdef object chosen(str passing, object x, object weight, tuple options, object method):
    """The method for one pass: options are those of `Geometry`."""
    return _method_of(passing, x.shape, weight.shape, options, method)


cdef forward_kernel forward_of(object method):
    if method == "winograd":
        return dl_polyphase_forward
    if method == "direct":
        return dl_direct_forward
    if method == "pointwise":
        return dl_pointwise_forward
    return dl_depthwise_forward if method == "depthwise" else dl_conv_forward


cdef gradient_kernel input_gradient_of(object method):
    if method == "winograd":
        return dl_polyphase_input_gradient
    if method == "direct":
        return dl_direct_input_gradient
    if method == "pointwise":
        return dl_pointwise_input_gradient
    return dl_conv_input_gradient


cdef gradient_kernel weight_gradient_of(object method):
    if method == "winograd":
        return dl_polyphase_weight_gradient
    if method == "direct":
        return dl_direct_weight_gradient
    if method == "pointwise":
        return dl_pointwise_weight_gradient
    return dl_conv_weight_gradient


cdef int run_forward(object method, const dl_conv* v, object x, object weight, object bias, object y) except -1:
    """y by that method, of contiguous arrays."""
    cdef int status
    cdef forward_kernel kernel = forward_of(method)
    cdef const void* px = pointer(x)
    cdef const void* pw = pointer(weight)
    cdef const void* pb = optional(bias)
    cdef void* py = pointer(y)
    with nogil:
        status = kernel(v, px, pw, pb, py)
    return check(status)


def conv2d_forward(x, weight, bias, *, stride, padding, dilation, groups, activation, method):
    """y = act(x * w + b): x (N, H, W, C), weight (K, R, S, C/groups), bias (K,) or None, y (N, P, Q, K)."""
    cdef dl_conv v = geometry(x, weight, stride, padding, dilation, groups, activation)
    how = chosen("forward", x, weight, (stride, padding, dilation, groups), method)
    xc = contiguous(x)
    y = new_image(v.n, v.p, v.q, v.k, xc)
    run_forward(how, &v, xc, contiguous(weight), contiguous(bias), y)
    return y, (x, weight, y if activation else None, stride, padding, dilation, groups, activation, method)


def conv2d_batch_norm_forward(
    x, weight, bias, norm_weight, norm_bias, residual, mean, var, *,
    stride, padding, dilation, groups, eps, activation, method
):
    """y = act((x * w + b - mean) / sqrt(var + eps) norm_weight + norm_bias + residual); see conv_norm.py."""
    cdef dl_finish f
    cdef dl_conv v = geometry(x, weight, stride, padding, dilation, groups, None)
    how = chosen("forward", x, weight, (stride, padding, dilation, groups), method)
    xc, rc = contiguous(x), contiguous(residual)
    bc, nw, nb, mc, vc = [contiguous(row) for row in (bias, norm_weight, norm_bias, mean, var)]
    y, tables = new_image(v.n, v.p, v.q, v.k, xc), new_row(2 * v.k, xc)
    dl_finish_tables(
        &f, v.k, v.dtype, optional(bc), optional(nw), optional(nb), pointer(mc), pointer(vc), eps, pointer(tables)
    )
    f.residual, f.out, f.activation, v.finish = optional(rc), pointer(y), _ACTIVATIONS[activation], &f
    run_forward("im2col" if how == "pointwise" else how, &v, xc, contiguous(weight), None, y)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "method": method}
    return y, ((x, weight, bias), (norm_weight, norm_bias, residual, mean, var), options, eps, activation)


def conv2d_backward(dy, saved, needs):
    """With dz = dy act'(y):  dx, dweight, dbias = sum of dz over N, P, Q (see the reference)."""
    x, weight, y, stride, padding, dilation, groups, activation, method = saved
    cdef dl_conv v = geometry(x, weight, stride, padding, dilation, groups, activation)
    options = stride, padding, dilation, groups
    if chosen("dx", x, weight, options, method) == "depthwise":
        return depthwise_gradient(&v, dy, y, x, weight, needs)
    if needs[1] and not needs[0] and chosen("dweight", x, weight, options, method) == "direct":
        return None, *direct_gradient(&v, dy, y, x, weight.shape, needs)
    if fits_both(&v, x, weight, options, method):
        dz, dbias = gradient_rows(dy, y, v.activation, v.n * v.p * v.q, v.k, needs[2] and v.activation)
        dx, dweight, total = both_gradients(&v, dz, None, None, x, weight, (*needs[:2], needs[2] and not v.activation))
        return dx, dweight, total if dbias is None else dbias
    dz, dbias = gradient_rows(dy, y, v.activation, v.n * v.p * v.q, v.k, needs[2])
    dx = dweight = None
    if needs[0]:
        dx = _empty(x.shape, dz.dtype)
        gradient(input_gradient_of(chosen("dx", x, weight, options, method)), &v, dz, contiguous(weight), dx)
    if needs[1]:
        dweight = _destination(needs[1], weight.shape, dz.dtype)
        gradient(weight_gradient_of(chosen("dweight", x, weight, options, method)), &v, dz, contiguous(x), dweight)
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


def direct_means(x, weight, bias, options, activation, pool_size):
    """(y, a) of conv_pool.pyx: a = act(x * w + b), y the mean of each window of it."""
    cdef int status
    cdef long pool_h = pool_size[0], pool_w = pool_size[1]
    stride, padding, dilation, groups = options
    cdef dl_conv v = geometry(x, weight, stride, padding, dilation, groups, activation)
    xc, wc, bc = contiguous(x), contiguous(weight), contiguous(bias)
    a = new_image(v.n, v.p, v.q, v.k, xc)
    y = new_image(v.n, v.p // pool_h, v.q // pool_w, v.k, xc)
    cdef const void* px = pointer(xc)
    cdef const void* pw = pointer(wc)
    cdef const void* pb = optional(bc)
    cdef void* pa = pointer(a)
    cdef void* py = pointer(y)
    with nogil:
        status = dl_direct_means(&v, pool_h, pool_w, px, pw, pb, pa, py)
    check(status)
    return y, a


def direct_windows(x, weight, bias, options, activation, pool_size):
    """(y, index) of conv_pool.pyx: act of the largest of each window, and which pixel that is."""
    cdef int status
    cdef long pool_h = pool_size[0], pool_w = pool_size[1]
    stride, padding, dilation, groups = options
    cdef dl_conv v = geometry(x, weight, stride, padding, dilation, groups, activation)
    xc, wc, bc = contiguous(x), contiguous(weight), contiguous(bias)
    y = _empty((v.n, v.p // pool_h, v.q // pool_w, v.k), x.dtype)
    index = _empty(y.shape, "uint8" if pool_h * pool_w <= 256 else "int32")
    cdef const void* px = pointer(xc)
    cdef const void* pw = pointer(wc)
    cdef const void* pb = optional(bc)
    cdef void* py = pointer(y)
    cdef void* pi = pointer(index)
    with nogil:
        status = dl_direct_windows(&v, pool_h, pool_w, px, pw, pb, py, pi)
    check(status)
    return y, index


def direct_windows_gradient(dy, y, index, x, weight, options, activation, pool_size, needs):
    """(dweight, dbias), each if needed, of a first layer and its windows."""
    cdef int status
    cdef long pool_h = pool_size[0], pool_w = pool_size[1]
    stride, padding, dilation, groups = options
    cdef dl_conv v = geometry(x, weight, stride, padding, dilation, groups, activation)
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
        status = dl_direct_windows_gradient(&v, pool_h, pool_w, pd, py, pi, px, pw, pb)
    check(status)
    return dweight, dbias


def winograd_windows(x, weight, bias, padding, activation):
    """(y, index) of conv_pool.pyx: act of the largest of each 2 x 2 window, and which pixel that is."""
    cdef int status
    cdef dl_conv v = geometry(x, weight, (1, 1), padding, (1, 1), 1, activation)
    xc, wc, bc = contiguous(x), contiguous(weight), contiguous(bias)
    y = _empty((v.n, v.p // 2, v.q // 2, v.k), x.dtype)
    index = _empty(y.shape, "uint8")
    cdef const void* px = pointer(xc)
    cdef const void* pw = pointer(wc)
    cdef const void* pb = optional(bc)
    cdef void* py = pointer(y)
    cdef uint8_t* pi = <uint8_t*>pointer(index)
    with nogil:
        status = dl_winograd_windows(&v, px, pw, pb, py, pi)
    check(status)
    return y, index


def winograd_windows_gradients(dy, y, index, x, weight, padding, activation, method, needs):
    """(dx, dweight, dbias) from the gradient of the windows; None where winograd.h does not take both at once."""
    options = (1, 1), padding, (1, 1), 1
    cdef dl_conv v = geometry(x, weight, (1, 1), padding, (1, 1), 1, activation)
    if not fits_both(&v, x, weight, options, method):
        return None
    return both_gradients(&v, dy, y, index, x, weight, needs)


cdef bint fits_both(const dl_conv* v, object x, object weight, tuple options, object method) except -1:
    """Whether Winograd computes the gradients of x and of the weight at once."""
    return (
        dl_winograd_fits_both(v)
        and chosen("dx", x, weight, options, method) == "winograd"
        and chosen("dweight", x, weight, options, method) == "winograd"
    )


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
