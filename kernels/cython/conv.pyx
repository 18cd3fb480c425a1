# cython: language_level=3, binding=False
"""Convolution by im2col (conv.h), depthwise over channels (depthwise.h).

N H W C images, R S kernel rows and columns, P Q output rows and columns, K out channels.
"""
include "common.pxi"
include "products.pxi"

from .. import destination as _destination
from ..geometry import conv_output_size as _conv_output_size

CONV_METHODS = ("im2col", "pointwise", "depthwise")  # taken wherever they fit

cdef extern from "conv.h" nogil:
    ctypedef struct dl_conv:
        int dtype, activation
        long n, h, w, c, k, r, s, p, q, sh, sw, top, left, dh, dw, groups
    int dl_conv_forward(const dl_conv* v, const void* x, const void* weight, const void* bias, void* y)
    int dl_conv_input_gradient(const dl_conv* v, const void* dz, const void* weight, void* dx)
    int dl_conv_weight_gradient(const dl_conv* v, const void* dz, const void* x, void* dweight)

cdef extern from "depthwise.h" nogil:
    int dl_depthwise_forward(const dl_conv* v, const void* x, const void* weight, const void* bias, void* y)
    int dl_depthwise_input_gradient(const dl_conv* v, const void* dz, const void* weight, void* dx)
    int dl_depthwise_weight_gradient(const dl_conv* v, const void* dz, const void* x, void* dweight)


cdef dl_conv geometry(x, weight, stride, padding, dilation, groups, activation):
    cdef dl_conv v
    v.n, v.h, v.w, v.c = x.shape
    v.k, v.r, v.s = weight.shape[:3]
    v.sh, v.sw = stride
    v.top, v.left = padding[0], padding[2]
    v.dh, v.dw = dilation
    v.p = _conv_output_size(v.h, v.r, v.sh, padding[0], padding[1], v.dh)
    v.q = _conv_output_size(v.w, v.s, v.sw, padding[2], padding[3], v.dw)
    v.groups, v.activation, v.dtype = groups, _ACTIVATIONS[activation], is_double(x)
    return v


cdef inline bint depthwise(const dl_conv* v) noexcept nogil:
    """One input channel and one kernel a group."""
    return v.groups > 1 and v.groups == v.c and v.groups == v.k


cdef int check(int status) except -1:
    if status != 0:
        raise MemoryError("no memory for the patches or the packed weights of a convolution")
    return 0


def conv2d_forward(x, weight, bias, *, stride, padding, dilation, groups, activation, method):
    """y = act(x * w + b): x (N, H, W, C), weight (K, R, S, C/groups), bias (K,) or None, y (N, P, Q, K)."""
    cdef int status
    cdef dl_conv v = geometry(x, weight, stride, padding, dilation, groups, activation)
    xc, wc, bc = contiguous(x), contiguous(weight), contiguous(bias)
    y = _empty((v.n, v.p, v.q, v.k), x.dtype)
    cdef const void* px = pointer(xc)
    cdef const void* pw = pointer(wc)
    cdef const void* pb = optional(bc)
    cdef void* py = pointer(y)
    with nogil:
        status = dl_depthwise_forward(&v, px, pw, pb, py) if depthwise(&v) else dl_conv_forward(&v, px, pw, pb, py)
    check(status)
    return y, (x, weight, y if activation else None, stride, padding, dilation, groups, activation, method)


def conv2d_backward(dy, saved, needs):
    """With dz = dy act'(y):  dx, dweight, dbias = sum of dz over N, P, Q (see the reference)."""
    x, weight, y, stride, padding, dilation, groups, activation, _ = saved
    cdef dl_conv v = geometry(x, weight, stride, padding, dilation, groups, activation)
    dz, dbias = gradient_rows(dy, y, v.activation, v.n * v.p * v.q, v.k, needs[2])
    dx = input_gradient(&v, dz, contiguous(weight), x.shape) if needs[0] else None
    dweight = weight_gradient(&v, dz, contiguous(x), weight.shape, needs[1]) if needs[1] else None
    return dx, dweight, dbias


cdef object input_gradient(const dl_conv* v, object dz, object weight, object shape):
    dx = _empty(shape, dz.dtype)
    cdef int status
    cdef const void* pz = pointer(dz)
    cdef const void* pw = pointer(weight)
    cdef void* px = pointer(dx)
    with nogil:
        status = dl_depthwise_input_gradient(v, pz, pw, px) if depthwise(v) else dl_conv_input_gradient(v, pz, pw, px)
    check(status)
    return dx


cdef object weight_gradient(const dl_conv* v, object dz, object x, object shape, object need):
    dweight = _destination(need, shape, dz.dtype)
    cdef int status
    cdef const void* pz = pointer(dz)
    cdef const void* px = pointer(x)
    cdef void* pw = pointer(dweight)
    with nogil:
        status = dl_depthwise_weight_gradient(v, pz, px, pw) if depthwise(v) else dl_conv_weight_gradient(v, pz, px, pw)
    check(status)
    return dweight
