# cython: language_level=3, binding=False
"""Normalisation of rows: over the rows for batch_norm (batch_norm.h), over C for layer_norm (norm.h) and rms_norm
(rms_norm.h), over the pixels of an image and groups of channels for group_norm (group_norm.h).

weight and bias are (C,) or None.
"""
include "common.pxi"

from .. import destination as _destination
from . import elementwise as _elementwise

cdef extern from "rowwise/norm.h" nogil:
    ctypedef struct dl_norm:
        long rows, cols
        const void* x
        const void* dy
        const void* scale
        const void* shift
        void* mean
        void* rstd
        void* out
        double eps
    int dl_layer_norm_run(dl_norm* m, double* sums, int dtype)

cdef extern from "rowwise/batch_norm.h" nogil:
    ctypedef struct dl_batch_norm:
        long rows, cols
        int dtype, relu, batch
        const void* x
        const void* weight
        const void* bias
        const void* residual
        const void* dy
        const void* y
        void* mean
        void* var
        void* out
        void* dresidual
        void* dweight
        void* dbias
        double eps
    int dl_bn_forward(dl_batch_norm* m)
    int dl_bn_backward(dl_batch_norm* m)

cdef extern from "rowwise/rms_norm.h" nogil:
    ctypedef struct dl_rms_norm:
        long rows, cols
        const void* x
        const void* dy
        const void* weight
        void* rstd
        void* out
        double eps
    void dl_rms_forward(dl_rms_norm* m, int dtype)
    int dl_rms_backward(dl_rms_norm* m, double* dweight, int dtype)

cdef extern from "rowwise/group_norm.h" nogil:
    ctypedef struct dl_group_norm:
        long n, pixels, cols, groups
        int dtype
        const void* x
        const void* dy
        const void* weight
        const void* bias
        double* mean
        void* rstd
        void* out
        double eps
        double* sums
    int dl_gn_forward(dl_group_norm* m)
    int dl_gn_backward(dl_group_norm* m)


cdef int run_batch_norm(dl_batch_norm* m, bint backward) except -1:
    cdef int status
    with nogil:
        status = dl_bn_backward(m) if backward else dl_bn_forward(m)
    if status != 0:
        raise MemoryError("no memory for the partial sums of a batch normalisation")
    return 0


def batch_norm_forward(x, weight, bias, residual, mean, var, *, eps, activation):
    """y = act((x - mean) / sqrt(var + eps) * weight + bias + residual); mean and var None for those of the batch."""
    cdef dl_batch_norm m
    xc, wc, bc, rc = contiguous(x), contiguous(weight), contiguous(bias), contiguous(residual)
    m.cols, m.dtype, m.batch = x.shape[-1], is_double(xc), mean is None
    m.rows = x.size // m.cols if m.cols else 0
    if m.batch:
        mean, var = _empty(m.cols, x.dtype), _empty(m.cols, x.dtype)
    mc, vc, y = contiguous(mean), contiguous(var), _empty(x.shape, x.dtype)
    m.x, m.weight, m.bias, m.residual = pointer(xc), optional(wc), optional(bc), optional(rc)
    m.mean, m.var, m.out = pointer(mc), pointer(vc), pointer(y)
    m.relu, m.eps = activation == "relu", eps
    run_batch_norm(&m, False)
    if activation in ("sigmoid", "tanh"):
        y = getattr(_elementwise, f"{activation}_forward")(y)[0]
    kept = None if activation is None or (m.relu and residual is None) else y
    return y, (x, weight, bias, mean, var, kept, eps, bool(m.batch), activation)


def batch_norm_backward(dy, saved, needs):
    """dx = rstd (h - mean of h - u mean of h u), h = g weight,  dweight = sum of g u,  dbias = sum of g, g = dy act'."""
    cdef dl_batch_norm m
    x, weight, bias, mean, var, y, eps, batch_statistics, activation = saved
    if activation in ("sigmoid", "tanh"):
        dy, y = getattr(_elementwise, f"{activation}_backward")(dy, (y,), (True,))[0], None
    xc, wc, bc, mc, vc = contiguous(x), contiguous(weight), contiguous(bias), contiguous(mean), contiguous(var)
    dc, yc = contiguous(dy), contiguous(y)
    m.cols, m.dtype, m.batch = x.shape[-1], is_double(xc), batch_statistics
    m.rows = x.size // m.cols if m.cols else 0
    dx = _empty(x.shape, dy.dtype) if needs[0] else None
    dweight, dbias = [_destination(need, mean.shape, dy.dtype) for need in needs[1:3]]
    dresidual = _empty(x.shape, dy.dtype) if needs[3] else None
    m.x, m.weight, m.bias, m.dy, m.y = pointer(xc), optional(wc), optional(bc), pointer(dc), optional(yc)
    m.mean, m.var, m.out, m.dresidual = pointer(mc), pointer(vc), optional(dx), optional(dresidual)
    m.dweight, m.dbias = pointer(dweight), pointer(dbias)
    m.relu, m.eps = activation == "relu", eps
    run_batch_norm(&m, True)
    return dx, dweight if needs[1] else None, dbias if needs[2] else None, dresidual, None, None


cdef object run_layer_norm(dl_norm* m, object sums, int dtype):
    """Forward, or backward with sums (2, C) float64, which are returned."""
    cdef int status
    cdef double* total = <double*>optional(sums)
    with nogil:
        status = dl_layer_norm_run(m, total, dtype)
    if status != 0:
        raise MemoryError("no memory for the partial sums of a normalisation")
    return sums


def layer_norm_forward(x, weight, bias, *, eps):
    """y = (x - mean) rstd weight + bias along C; saved: mean and rstd (M,)."""
    cdef dl_norm m
    xc, wc, bc = contiguous(x), contiguous(weight), contiguous(bias)
    m.rows, m.cols = x.shape
    y, mean, rstd = _empty(x.shape, x.dtype), _empty(m.rows, x.dtype), _empty(m.rows, x.dtype)
    m.x, m.scale, m.shift, m.eps = pointer(xc), optional(wc), optional(bc), eps
    m.out, m.mean, m.rstd = pointer(y), pointer(mean), pointer(rstd)
    run_layer_norm(&m, None, is_double(xc))
    return y, (x, weight, mean, rstd)


def layer_norm_backward(dy, saved, needs):
    """dx = rstd (g - mean of g - u mean of g u), g = dy weight;  dweight = sum of dy u,  dbias = sum of dy."""
    cdef dl_norm m
    x, weight, mean, rstd = saved
    xc, dc, wc, mc, rc = map(contiguous, (x, dy, weight, mean, rstd))
    dx = _empty(x.shape, dy.dtype) if needs[0] else None
    m.rows, m.cols = x.shape
    m.x, m.dy, m.scale = pointer(xc), pointer(dc), optional(wc)
    m.mean, m.rstd, m.out = pointer(mc), pointer(rc), optional(dx)
    sums = run_layer_norm(&m, _empty((2, m.cols)), is_double(dy)).astype(dy.dtype)
    return dx, sums[1].copy() if needs[1] else None, sums[0].copy() if needs[2] else None


def rms_norm_forward(x, weight, *, eps):
    """y = x rstd weight along C, rstd = 1 / sqrt(mean of x^2 + eps); saved: rstd (M,)."""
    cdef dl_rms_norm m
    cdef int dtype = is_double(x)
    xc, wc = contiguous(x), contiguous(weight)
    m.rows, m.cols = x.shape
    y, rstd = like(x), new_row(m.rows, x)
    m.x, m.weight, m.eps, m.out, m.rstd = pointer(xc), optional(wc), eps, pointer(y), pointer(rstd)
    with nogil:
        dl_rms_forward(&m, dtype)
    return y, (x, weight, rstd)


def rms_norm_backward(dy, saved, needs):
    """dx = rstd (g - u mean of g u), g = dy weight, u = x rstd;  dweight = sum of dy u."""
    cdef dl_rms_norm m
    cdef int status, dtype = is_double(dy)
    x, weight, rstd = saved
    xc, dc, wc, rc = map(contiguous, (x, dy, weight, rstd))
    m.rows, m.cols = x.shape
    dx, sums = like(dy) if needs[0] else None, _empty(m.cols) if needs[1] else None
    cdef double* total = <double*>optional(sums)
    m.x, m.dy, m.weight, m.rstd, m.out = pointer(xc), pointer(dc), optional(wc), pointer(rc), optional(dx)
    with nogil:
        status = dl_rms_backward(&m, total, dtype)
    if status != 0:
        raise MemoryError("no memory for the partial sums of a normalisation")
    return dx, sums.astype(dy.dtype) if needs[1] else None


cdef dl_group_norm grouped(object x, object weight, object mean, object rstd, Py_ssize_t groups):
    """What forward and backward of x (N, ..., C) have in common; all arrays contiguous."""
    cdef dl_group_norm m
    m.n, m.cols, m.groups, m.dtype = x.shape[0], x.shape[-1], groups, is_double(x)
    m.pixels = x.size // max(m.n * m.cols, 1)
    m.x, m.weight, m.mean, m.rstd = pointer(x), optional(weight), <double*>pointer(mean), pointer(rstd)
    return m


cdef int run_group_norm(dl_group_norm* m, bint backward) except -1:
    cdef int status
    with nogil:
        status = dl_gn_backward(m) if backward else dl_gn_forward(m)
    if status != 0:
        raise MemoryError("no memory for the partial sums of a group normalisation")
    return 0


def group_norm_forward(x, weight, bias, *, groups, eps):
    """y = (x - mean) rstd weight + bias over pixels and C / groups channels; saved: mean (N, G) float64 and rstd."""
    xc, wc, bc = contiguous(x), contiguous(weight), contiguous(bias)
    y, mean, rstd = like(xc), _empty((x.shape[0], groups)), _empty((x.shape[0], groups), x.dtype)
    cdef dl_group_norm m = grouped(xc, wc, mean, rstd, groups)
    m.dy, m.bias, m.eps, m.out = NULL, optional(bc), eps, pointer(y)
    run_group_norm(&m, False)
    return y, (x, weight, mean, rstd, groups)


def group_norm_backward(dy, saved, needs):
    """dx = rstd (g - mean of g - u mean of g u), g = dy weight;  dweight = sum of dy u,  dbias = sum of dy."""
    x, weight, mean, rstd, groups = saved
    xc, dc, wc, mc, rc = map(contiguous, (x, dy, weight, mean, rstd))
    dx, sums = like(dc) if needs[0] else None, _empty((2, x.shape[-1]))
    cdef dl_group_norm m = grouped(xc, wc, mc, rc, groups)
    m.dy, m.bias, m.out, m.sums = pointer(dc), NULL, optional(dx), <double*>pointer(sums)
    run_group_norm(&m, True)
    dbias, dweight = sums.astype(dy.dtype)
    return dx, dweight.copy() if needs[1] else None, dbias.copy() if needs[2] else None
