# cython: language_level=3, binding=False
"""Normalisation of rows x (M, C) by norm.h: over M for batch_norm, over C for layer_norm.

weight and bias are (C,) or None.
"""
include "common.pxi"

cdef extern from "norm.h" nogil:
    ctypedef struct dl_norm:
        long rows, cols
        const void* x
        const void* dy
        const void* scale
        const void* shift
        const void* a
        const void* b
        void* mean
        void* rstd
        void* out
        const double* centre
        double eps
    enum:
        DL_NORM_SUM
        DL_BATCH_NORM
        DL_BATCH_NORM_SUMS
        DL_BATCH_NORM_BACK
        DL_LAYER_NORM
        DL_LAYER_NORM_BACK
    int dl_norm_run(dl_norm* m, int step, double* sums, int dtype)


cdef object run(dl_norm* m, int step, object sums, int dtype):
    """One pass over the rows; sums (2, C) float64 or None."""
    cdef int status
    cdef double* total = <double*>optional(sums)
    with nogil:
        status = dl_norm_run(m, step, total, dtype)
    if status != 0:
        raise MemoryError("no memory for the partial sums of a normalisation")
    return sums


cdef tuple statistics(object x):
    """Mean and biased variance of each column, in x's dtype; 0 for no rows."""
    cdef dl_norm m
    cdef int dtype = is_double(x)
    m.rows, m.cols = x.shape
    m.x, m.centre = pointer(x), NULL
    divisor = max(m.rows, 1)
    mean = run(&m, DL_NORM_SUM, _empty((2, m.cols)), dtype)[0] / divisor
    m.centre = <const double*>pointer(mean)
    var = run(&m, DL_NORM_SUM, _empty((2, m.cols)), dtype)[0] / divisor
    return mean.astype(x.dtype), var.astype(x.dtype)


def batch_norm_forward(x, weight, bias, mean, var, *, eps):
    """y = (x - mean) / sqrt(var + eps) * weight + bias; mean and var (C,) or None for those of the batch."""
    cdef dl_norm m
    batch_statistics = mean is None
    xc = contiguous(x)
    if batch_statistics:
        mean, var = statistics(xc)
    scale = 1 / _np.sqrt(var + eps)
    scale = contiguous(scale if weight is None else scale * weight)
    shift = _np.zeros(mean.shape, xc.dtype) if bias is None else contiguous(bias)
    centre, y = contiguous(mean), _empty(x.shape, x.dtype)
    m.rows, m.cols = x.shape
    m.x, m.mean, m.scale, m.shift, m.out = pointer(xc), pointer(centre), pointer(scale), pointer(shift), pointer(y)
    run(&m, DL_BATCH_NORM, None, is_double(xc))
    return y, (x, weight, mean, var, eps, batch_statistics)


def batch_norm_backward(dy, saved, needs):
    """dx = rstd (g - mean of g - u mean of g u), or rstd g,  dweight = sum of dy u,  dbias = sum of dy."""
    cdef dl_norm m
    x, weight, mean, var, eps, batch_statistics = saved
    cdef int dtype = is_double(dy)
    rstd = contiguous(1 / _np.sqrt(var + eps))
    xc, dc, centre = contiguous(x), contiguous(dy), contiguous(mean)
    m.rows, m.cols = x.shape
    m.x, m.dy, m.mean, m.shift = pointer(xc), pointer(dc), pointer(centre), pointer(rstd)
    sums = run(&m, DL_BATCH_NORM_SUMS, _empty((2, m.cols)), dtype)
    dbias, dweight = sums.astype(dy.dtype)
    dx = None
    if needs[0]:
        dx = _empty(x.shape, dy.dtype)
        means = (sums / max(m.rows, 1) if batch_statistics else _np.zeros_like(sums)).astype(dy.dtype)
        scale = contiguous(rstd if weight is None else rstd * weight)
        m.a, m.b, m.scale, m.out = pointer(means[0]), pointer(means[1]), pointer(scale), pointer(dx)
        run(&m, DL_BATCH_NORM_BACK, None, dtype)
    return dx, dweight.copy() if needs[1] else None, dbias.copy() if needs[2] else None, None, None


def layer_norm_forward(x, weight, bias, *, eps):
    """y = (x - mean) rstd weight + bias along C; saved: mean and rstd (M,)."""
    cdef dl_norm m
    xc, wc, bc = contiguous(x), contiguous(weight), contiguous(bias)
    m.rows, m.cols = x.shape
    y, mean, rstd = _empty(x.shape, x.dtype), _empty(m.rows, x.dtype), _empty(m.rows, x.dtype)
    m.x, m.scale, m.shift, m.eps = pointer(xc), optional(wc), optional(bc), eps
    m.out, m.mean, m.rstd = pointer(y), pointer(mean), pointer(rstd)
    run(&m, DL_LAYER_NORM, None, is_double(xc))
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
    sums = run(&m, DL_LAYER_NORM_BACK, _empty((2, m.cols)), is_double(dy)).astype(dy.dtype)
    return dx, sums[1].copy() if needs[1] else None, sums[0].copy() if needs[2] else None
