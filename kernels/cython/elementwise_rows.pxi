# prelu and glu (elementwise_rows.h): activations that need a column's slope, or the other half of x.

cdef extern from "rowwise/elementwise_rows.h" nogil:
    ctypedef struct dl_prelu:
        long n, cols
        const void* x
        const void* dy
        const void* weight
        void* out
    ctypedef struct dl_glu:
        long rows, half
        const void* x
        const void* dy
        void* out
    int dl_prelu_run(dl_prelu* p, double* dweight, int backward, int dtype)
    void dl_glu_run(dl_glu* g, int backward, int dtype)


cdef int run_prelu(dl_prelu* p, object x, object weight, object out, double* dweight, bint backward) except -1:
    """x and weight are contiguous."""
    cdef int dtype = is_double(x), status
    p.n, p.cols, p.x, p.weight, p.out = size(x), size(weight), pointer(x), pointer(weight), optional(out)
    with nogil:
        status = dl_prelu_run(p, dweight, backward, dtype)
    if status != 0:
        raise MemoryError("no memory for the partial sums of prelu")
    return 0


def prelu_forward(x, weight):
    """y = x where x > 0, else weight x."""
    cdef dl_prelu p
    cdef object xc = contiguous(x), slopes = contiguous(weight)
    cdef object y = like(x)
    run_prelu(&p, xc, slopes, y, NULL, False)
    return y, (x, weight)


def prelu_backward(dy, saved, needs):
    """dx = dy where x > 0, else weight dy;  dweight = sum of dy x over x <= 0."""
    cdef dl_prelu p
    x, weight = saved
    cdef object xc = contiguous(x), slopes = contiguous(weight), dyc = contiguous(dy)
    cdef object dx = like(dy) if needs[0] else None
    cdef object sums = _empty(weight.shape, _np.float64) if needs[1] else None
    p.dy = pointer(dyc)
    run_prelu(&p, xc, slopes, dx, <double*>optional(sums), True)
    return dx, None if sums is None else sums.astype(dy.dtype, copy=False)


cdef int run_glu(dl_glu* g, object x, object out, Py_ssize_t axis, bint backward) except -1:
    """x is contiguous."""
    cdef int dtype = is_double(x), i, axes = PyArray_NDIM(<PyArrayObject*>x)
    axis = axis + axes if axis < 0 else axis
    g.rows, g.half, g.x, g.out = 1, dim(x, axis) // 2, pointer(x), pointer(out)
    for i in range(axes):
        if i < axis:
            g.rows *= dim(x, i)
        elif i > axis:
            g.half *= dim(x, i)
    with nogil:
        dl_glu_run(g, backward, dtype)
    return 0


def glu_forward(x, *, axis):
    """y = a sigmoid(b), a and b the halves of x along axis."""
    cdef dl_glu g
    cdef list shape = list(x.shape)
    shape[axis] //= 2
    cdef object xc = contiguous(x)
    cdef object y = _empty(tuple(shape), x.dtype)
    run_glu(&g, xc, y, axis, False)
    return y, (x, axis)


def glu_backward(dy, saved, needs):
    """da = dy gate,  db = dy a gate (1 - gate)."""
    if not needs[0]:
        return (None,)
    cdef dl_glu g
    x, axis = saved
    cdef object xc = contiguous(x), dyc = contiguous(dy)
    cdef object dx = like(xc)
    g.dy = pointer(dyc)
    run_glu(&g, xc, dx, axis, True)
    return (dx,)
