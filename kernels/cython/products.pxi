# Affine maps and their gradients on matrices of rows, for linear, conv and the recurrent cells: see products.h.
from . import products as _products

cdef extern from "products.h" nogil:
    ctypedef struct dl_gemm:
        int dtype
        long m, n, k
        const void* a
        long ars, acs
        const void* b
        long brs, bcs
        const void* bias
        void* c
        long ldc
        int activation, accumulate
    ctypedef struct dl_rows:
        int dtype, activation
        long rows, cols
        const void* dy
        const void* y
        void* dz
        void* dbias
    int dl_gemm_run(const dl_gemm* g)
    int dl_rows_run(dl_rows* r)
    int dl_connect_products(object products_module) except -1 with gil

dl_connect_products(_products)


cdef int gemm(const dl_gemm* g) except -1 nogil:
    """Runs the product. Raises MemoryError."""
    if dl_gemm_run(g) != 0:
        with gil:
            raise MemoryError("no memory for the packed panels of a matrix product")
    return 0


cdef int affine(
    object x, object weight, object bias, object y, long rows, long features, long out, int activation, bint accumulate
) except -1:
    """y (rows, out) = act(x W^T + b), or act(y + x W^T): x (rows, features), weight (out, features), all contiguous."""
    cdef dl_gemm g
    g.dtype, g.m, g.n, g.k = is_double(x), rows, out, features
    g.a, g.ars, g.acs = pointer(x), features, 1
    g.b, g.brs, g.bcs = pointer(weight), 1, features
    g.bias, g.c, g.ldc, g.activation, g.accumulate = optional(bias), pointer(y), out, activation, accumulate
    with nogil:
        gemm(&g)
    return 0


cdef int times(object dz, object weight, object dx, long rows, long out, long features, bint accumulate) except -1:
    """dx (rows, features) = dz W, or dx += dz W: dz (rows, out), weight (out, features)."""
    cdef dl_gemm g
    g.dtype, g.m, g.n, g.k = is_double(dz), rows, features, out
    g.a, g.ars, g.acs = pointer(dz), out, 1
    g.b, g.brs, g.bcs = pointer(weight), features, 1
    g.bias, g.c, g.ldc, g.activation, g.accumulate = NULL, pointer(dx), features, 0, accumulate
    with nogil:
        gemm(&g)
    return 0


cdef int times_transposed(object dz, object x, object dweight, long rows, long out, long features) except -1:
    """dweight (out, features) = dz^T x: dz (rows, out), x (rows, features)."""
    cdef dl_gemm g
    g.dtype, g.m, g.n, g.k = is_double(dz), out, features, rows
    g.a, g.ars, g.acs = pointer(dz), 1, out
    g.b, g.brs, g.bcs = pointer(x), features, 1
    g.bias, g.c, g.ldc, g.activation, g.accumulate = NULL, pointer(dweight), features, 0, 0
    with nogil:
        gemm(&g)
    return 0


cdef tuple gradient_rows(object dy, object y, int activation, long rows, long cols, bint with_bias):
    """(dz, dbias): dz = dy act'(y), which is dy itself without an activation; dbias (cols,) = sum of its rows, or None."""
    cdef dl_rows r
    cdef int status
    dy = contiguous(dy)
    y = contiguous(y) if activation else None
    dz = _empty_like(dy) if activation else dy
    dbias = _empty(cols, dy.dtype) if with_bias else None
    if not activation and not with_bias:
        return dz, dbias
    r.dtype, r.activation, r.rows, r.cols = is_double(dy), activation, rows, cols
    r.dy, r.y, r.dz, r.dbias = pointer(dy), optional(y), pointer(dz) if activation else NULL, optional(dbias)
    with nogil:
        status = dl_rows_run(&r)
    if status != 0:
        raise MemoryError("no memory for the partial sums of a bias gradient")
    return dz, dbias
