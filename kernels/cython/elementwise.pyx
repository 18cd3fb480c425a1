# cython: language_level=3, binding=False
"""Activations and dropout by elementwise.h and elementwise_rows.h; formulas as in the reference."""
include "common.pxi"
include "elementwise_rows.pxi"
from libc.stdint cimport uint32_t, uint64_t

from ..reference.elementwise import SELU_ALPHA as _SELU_ALPHA, SELU_SCALE as _SELU_SCALE

cdef extern from "rowwise/elementwise.h" nogil:
    ctypedef struct dl_map:
        long n
        const void* a
        const void* b
        void* out
        void* slope
        double p, q
        uint64_t seed
        uint32_t threshold
    enum:
        DL_MAP_RELU
        DL_MAP_SIGMOID
        DL_MAP_TANH
        DL_MAP_LEAKY_RELU
        DL_MAP_ELU
        DL_MAP_SOFTPLUS
        DL_MAP_HARDSWISH
        DL_MAP_HARDTANH
        DL_MAP_HARDSIGMOID
        DL_MAP_SELU
        DL_MAP_CELU
        DL_MAP_SOFTSIGN
        DL_MAP_LOGSIGMOID
        DL_MAP_THRESHOLD
        DL_MAP_HARDSHRINK
        DL_MAP_SOFTSHRINK
        DL_MAP_GELU
        DL_MAP_GELU_TANH
        DL_MAP_SILU
        DL_MAP_MISH
    void dl_map_run(dl_map* m, int op, int backward, int dtype)
    void dl_dropout_run(dl_map* m, int dtype)


cdef object forward(int op, object x, double p=0, double q=0, object slope=None):
    """op(x), in an array of its own."""
    cdef dl_map m
    cdef object xc = contiguous(x)
    cdef object y = like(x)
    cdef int dtype = is_double(x)
    m.n, m.a, m.out, m.slope, m.p, m.q = size(xc), pointer(xc), pointer(y), optional(slope), p, q
    m.b = m.a
    with nogil:
        dl_map_run(&m, op, 0, dtype)
    return y


cdef tuple backward(int op, object dy, object kept, object needs, double p=0, double q=0):
    """(dx,) from dy and the saved x or y; (None,) where it is not wanted."""
    if not needs[0]:
        return (None,)
    cdef dl_map m
    cdef object dx = like(dy)
    dy, kept = contiguous(dy), contiguous(kept)
    cdef int dtype = is_double(dy)
    m.n, m.a, m.b, m.out, m.p, m.q = size(dy), pointer(dy), pointer(kept), pointer(dx), p, q
    m.slope = NULL
    with nogil:
        dl_map_run(&m, op, 1, dtype)
    return (dx,)


cdef tuple with_slope(int op, object x):
    """op(x) and, as what is saved, its derivative at x."""
    cdef object slope = like(x)
    return forward(op, x, 0, 0, slope), (slope,)


def relu_forward(x):
    """y = max(x, 0)."""
    y = forward(DL_MAP_RELU, x)
    return y, (y,)


def relu_backward(dy, saved, needs):
    """dx = 0 where y <= 0, else dy."""
    return backward(DL_MAP_RELU, dy, saved[0], needs)


def sigmoid_forward(x):
    """y = 1 / (1 + exp(-x))."""
    y = forward(DL_MAP_SIGMOID, x)
    return y, (y,)


def sigmoid_backward(dy, saved, needs):
    """dx = dy y (1 - y)."""
    return backward(DL_MAP_SIGMOID, dy, saved[0], needs)


def tanh_forward(x):
    """y = tanh(x)."""
    y = forward(DL_MAP_TANH, x)
    return y, (y,)


def tanh_backward(dy, saved, needs):
    """dx = dy (1 - y^2)."""
    return backward(DL_MAP_TANH, dy, saved[0], needs)


def leaky_relu_forward(x, *, negative_slope):
    """y = x where x > 0, else negative_slope x."""
    return forward(DL_MAP_LEAKY_RELU, x, negative_slope), (x, negative_slope)


def leaky_relu_backward(dy, saved, needs):
    """dx = dy where x > 0, else negative_slope dy."""
    return backward(DL_MAP_LEAKY_RELU, dy, saved[0], needs, saved[1])


def elu_forward(x, *, alpha):
    """y = x where x > 0, else alpha (exp(x) - 1)."""
    return forward(DL_MAP_ELU, x, alpha), (x, alpha)


def elu_backward(dy, saved, needs):
    """dx = dy where x > 0, else dy alpha exp(x)."""
    return backward(DL_MAP_ELU, dy, saved[0], needs, saved[1])


def gelu_forward(x, *, approximate):
    """y = x Phi(x), Phi the normal distribution function, or its tanh approximation; saved: the derivative."""
    return with_slope(DL_MAP_GELU if approximate == "none" else DL_MAP_GELU_TANH, x)


def gelu_backward(dy, saved, needs):
    """dx = dy slope."""
    return backward(DL_MAP_GELU, dy, saved[0], needs)


def silu_forward(x):
    """y = x sigmoid(x); saved: the derivative."""
    return with_slope(DL_MAP_SILU, x)


def silu_backward(dy, saved, needs):
    """dx = dy slope."""
    return backward(DL_MAP_SILU, dy, saved[0], needs)


def softplus_forward(x, *, beta, threshold):
    """y = log(1 + exp(beta x)) / beta, and x where beta x > threshold."""
    return forward(DL_MAP_SOFTPLUS, x, beta, threshold), (x, beta, threshold)


def softplus_backward(dy, saved, needs):
    """dx = dy sigmoid(beta x), and dy where beta x > threshold."""
    return backward(DL_MAP_SOFTPLUS, dy, saved[0], needs, saved[1], saved[2])


def hardswish_forward(x):
    """y = x min(max(x + 3, 0), 6) / 6."""
    return forward(DL_MAP_HARDSWISH, x), (x,)


def hardswish_backward(dy, saved, needs):
    """dx = dy (x / 3 + 1/2) for -3 < x < 3; 0 below, dy above."""
    return backward(DL_MAP_HARDSWISH, dy, saved[0], needs)


def hardtanh_forward(x, *, min_val, max_val):
    """y = min(max(x, min_val), max_val)."""
    return forward(DL_MAP_HARDTANH, x, min_val, max_val), (x, min_val, max_val)


def hardtanh_backward(dy, saved, needs):
    """dx = dy where min_val < x < max_val, else 0."""
    return backward(DL_MAP_HARDTANH, dy, saved[0], needs, saved[1], saved[2])


def hardsigmoid_forward(x):
    """y = min(max(x + 3, 0), 6) / 6."""
    return forward(DL_MAP_HARDSIGMOID, x), (x,)


def hardsigmoid_backward(dy, saved, needs):
    """dx = dy / 6 where -3 < x < 3, else 0."""
    return backward(DL_MAP_HARDSIGMOID, dy, saved[0], needs)


def selu_forward(x):
    """y = scale x where x > 0, else scale alpha (exp(x) - 1)."""
    return forward(DL_MAP_SELU, x, _SELU_ALPHA * _SELU_SCALE, _SELU_SCALE), (x,)


def selu_backward(dy, saved, needs):
    """dx = scale dy where x > 0, else dy scale alpha exp(x)."""
    return backward(DL_MAP_SELU, dy, saved[0], needs, _SELU_ALPHA * _SELU_SCALE, _SELU_SCALE)


def celu_forward(x, *, alpha):
    """y = x where x > 0, else alpha (exp(x / alpha) - 1)."""
    return forward(DL_MAP_CELU, x, alpha), (x, alpha)


def celu_backward(dy, saved, needs):
    """dx = dy where x > 0, else dy exp(x / alpha)."""
    return backward(DL_MAP_CELU, dy, saved[0], needs, saved[1])


def mish_forward(x):
    """y = x tanh(softplus(x)); saved: the derivative."""
    return with_slope(DL_MAP_MISH, x)


def mish_backward(dy, saved, needs):
    """dx = dy slope."""
    return backward(DL_MAP_MISH, dy, saved[0], needs)


def softsign_forward(x):
    """y = x / (1 + |x|)."""
    return forward(DL_MAP_SOFTSIGN, x), (x,)


def softsign_backward(dy, saved, needs):
    """dx = dy / (1 + |x|)^2."""
    return backward(DL_MAP_SOFTSIGN, dy, saved[0], needs)


def logsigmoid_forward(x):
    """y = -softplus(-x)."""
    return forward(DL_MAP_LOGSIGMOID, x), (x,)


def logsigmoid_backward(dy, saved, needs):
    """dx = dy sigmoid(-x)."""
    return backward(DL_MAP_LOGSIGMOID, dy, saved[0], needs)


def threshold_forward(x, *, threshold, value):
    """y = value where x <= threshold, else x."""
    return forward(DL_MAP_THRESHOLD, x, threshold, value), (x, threshold)


def threshold_backward(dy, saved, needs):
    """dx = 0 where x <= threshold, else dy."""
    return backward(DL_MAP_THRESHOLD, dy, saved[0], needs, saved[1])


def hardshrink_forward(x, *, lambd):
    """y = 0 where |x| <= lambd, else x."""
    return forward(DL_MAP_HARDSHRINK, x, lambd), (x, lambd)


def hardshrink_backward(dy, saved, needs):
    """dx = 0 where |x| <= lambd, else dy."""
    return backward(DL_MAP_HARDSHRINK, dy, saved[0], needs, saved[1])


def softshrink_forward(x, *, lambd):
    """y = x - lambd where x > lambd, x + lambd where x < -lambd, else 0."""
    return forward(DL_MAP_SOFTSHRINK, x, lambd), (x, lambd)


def softshrink_backward(dy, saved, needs):
    """dx = 0 where |x| <= lambd, else dy."""
    return backward(DL_MAP_SOFTSHRINK, dy, saved[0], needs, saved[1])


cdef object dropped(object x, double p, object seed, double scale):
    """x scale where hash(seed, i) >= round(p 2^32), else 0."""
    cdef dl_map m
    cdef object y = _empty(x.shape, x.dtype)
    cdef object threshold = round(p * 2**32)
    cdef int dtype = is_double(x)
    if threshold > 0xFFFFFFFF:
        y.fill(0)
        return y
    x = contiguous(x)
    m.n, m.a, m.out, m.p, m.seed, m.threshold = x.size, pointer(x), pointer(y), scale, seed, threshold
    with nogil:
        dl_dropout_run(&m, dtype)
    return y


def dropout_forward(x, *, p, seed, scale):
    """y = x keep scale, each element kept with probability 1 - p."""
    return dropped(x, p, seed, scale), (p, seed, scale)


def dropout_backward(dy, saved, needs):
    """dx = dy keep scale, with the mask made again from the seed."""
    p, seed, scale = saved
    return (dropped(dy, p, seed, scale) if needs[0] else None,)
