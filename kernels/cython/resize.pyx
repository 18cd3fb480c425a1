# cython: language_level=3, binding=False
"""Images of another size by resize.h: interpolation, and the maxima of bins. N H W C images, P Q output size."""
include "common.pxi"
from libc.stdint cimport int32_t, int64_t

from ..resizing import bins as _bins, summing as _summing, taps as _taps

cdef extern from "pool/resize.h" nogil:
    ctypedef struct dl_taps:
        const int64_t* low
        const int64_t* high
        const double* share
    ctypedef struct dl_resize:
        long n, h, w, c, p, q
        const void* in_ "in"
        void* out
        int32_t* index
        dl_taps down, across
    int dl_blend(dl_resize* m, int dtype)
    int dl_gather(dl_resize* m, int dtype)
    void dl_bins(dl_resize* m, int dtype)
    void dl_bins_back(dl_resize* m, int dtype)


cdef dl_taps taps_of(tuple arrays):
    """Pointers to low, high and, where there is one, share."""
    cdef dl_taps t
    low, high, share = arrays
    t.low, t.high, t.share = <int64_t*>pointer(low), <int64_t*>pointer(high), <double*>optional(share)
    return t


cdef int run_interpolation(
    object given, object result, object x_shape, tuple options, bint backward, object dtype_of_x
) except -1:
    """y from x, or dx from dy, both contiguous."""
    cdef dl_resize m
    cdef int status, dtype = is_double(given)
    size, step, mode, align_corners = options
    m.n, m.h, m.w, m.c = x_shape
    m.p, m.q = size
    down, across = [
        _taps(x_shape[1 + i], size[i], step[i], mode, align_corners, dtype_of_x) for i in range(2)
    ]
    m.down, m.across = taps_of(down), taps_of(across)
    m.in_, m.out = pointer(given), pointer(result)
    with nogil:
        status = dl_gather(&m, dtype) if backward else dl_blend(&m, dtype)
    if status != 0:
        raise MemoryError("no memory for the lines of an interpolation")
    return 0


def interpolate_forward(x, *, size, step, mode, align_corners):
    """y = (1 - share) x[low] + share x[high] along both axes, see `resizing.taps`."""
    xc = contiguous(x)
    y = new_image(x.shape[0], size[0], size[1], x.shape[3], xc)
    run_interpolation(xc, y, x.shape, (size, step, mode, align_corners), False, x.dtype)
    return y, (x.shape, size, step, mode, align_corners)


def interpolate_backward(dy, saved, needs):
    """dx = the sum of dy times the share that each pixel has in y."""
    if not needs[0]:
        return (None,)
    x_shape, *options = saved
    dc = contiguous(_summing(dy, x_shape))
    dx = new_image(x_shape[0], x_shape[1], x_shape[2], x_shape[3], dc)
    run_interpolation(dc, dx, x_shape, tuple(options), True, dy.dtype)
    return (dx.astype(dy.dtype, copy=False),)


def adaptive_max_pool2d_forward(x, *, output_size):
    """y = the largest value of each bin; saved: index h W + w of the first of the largest."""
    cdef dl_resize m
    cdef int dtype = is_double(x)
    xc = contiguous(x)
    y = new_image(x.shape[0], output_size[0], output_size[1], x.shape[3], xc)
    index = _empty(y.shape, _np.int32)
    m.n, m.h, m.w, m.c = x.shape
    m.p, m.q = output_size
    down, across = [_np.array(_bins(x.shape[1 + i], output_size[i]), _np.int64).T.copy() for i in range(2)]
    m.down, m.across = taps_of((down[0], down[1], None)), taps_of((across[0], across[1], None))
    m.in_, m.out, m.index = pointer(xc), pointer(y), <int32_t*>pointer(index)
    with nogil:
        dl_bins(&m, dtype)
    return y, (x.shape, index)


def adaptive_max_pool2d_backward(dy, saved, needs):
    """dx = the sum of dy over the bins that each pixel won."""
    cdef dl_resize m
    cdef int dtype
    if not needs[0]:
        return (None,)
    x_shape, index = saved
    dc, ic = contiguous(_summing(dy, x_shape)), contiguous(index)
    dtype = is_double(dc)
    dx = new_image(x_shape[0], x_shape[1], x_shape[2], x_shape[3], dc)
    m.n, m.h, m.w, m.c = x_shape
    m.p, m.q = dy.shape[1], dy.shape[2]
    m.in_, m.out, m.index = pointer(dc), pointer(dx), <int32_t*>pointer(ic)
    with nogil:
        dl_bins_back(&m, dtype)
    return (dx.astype(dy.dtype, copy=False),)
