# cython: language_level=3, binding=False
"""Softmax and its logarithm along one axis, by softmax.h; another axis than the last is moved there and back."""
include "common.pxi"

cdef extern from "rowwise/softmax.h" nogil:
    ctypedef struct dl_softmax:
        long rows, n
        const void* a
        const void* dy
        void* out
        int logarithm
    void dl_softmax_run(dl_softmax* m, int dtype)


cdef object run(object a, object dy, int axis, bint logarithm):
    """The forward of a = x, or with dy the backward of a = y."""
    cdef dl_softmax m
    cdef int dtype = is_double(a), ndim = a.ndim
    shape = a.shape
    cdef bint last = ndim == 0 or axis % ndim == ndim - 1
    rows = a if last else _np.moveaxis(a, axis, -1)
    drows = dy if last or dy is None else _np.moveaxis(dy, axis, -1)
    out = _empty(rows.shape, a.dtype)
    moved, rows, drows = out, contiguous(rows), contiguous(drows)
    m.n = rows.shape[rows.ndim - 1]
    m.rows = rows.size // m.n if m.n else 0
    m.a, m.dy, m.out, m.logarithm = pointer(rows), optional(drows), pointer(out), logarithm
    with nogil:
        dl_softmax_run(&m, dtype)
    return out if last else _contiguous(_np.moveaxis(moved, -1, axis))


def softmax_forward(x, *, axis):
    """y = exp(x) / sum of exp(x) along the axis."""
    y = run(x, None, axis, False)
    return y, (y, axis)


def softmax_backward(dy, saved, needs):
    """dx = y (dy - sum of y dy along the axis)."""
    return (run(saved[0], dy, saved[1], False) if needs[0] else None,)


def log_softmax_forward(x, *, axis):
    """y = x - log(sum of exp(x) along the axis)."""
    y = run(x, None, axis, True)
    return y, (y, axis)


def log_softmax_backward(dy, saved, needs):
    """dx = dy - exp(y) (sum of dy along the axis)."""
    return (run(saved[0], dy, saved[1], True) if needs[0] else None,)
