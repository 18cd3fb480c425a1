# The matrix product and the first step of a backward pass, from the module that holds them: see products.h.
from . import products as _products

cdef extern from "product/products.h" nogil:
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


cdef tuple gradient_rows(object dy, object y, int activation, long rows, long cols, object need):
    """(dz, dbias): dz = dy act'(y), dy itself without an activation; dbias (cols,) = sum of its rows, None unless
    needed."""
    cdef dl_rows r
    cdef int status
    dy = contiguous(dy)
    y = contiguous(y) if activation else None
    dz = like(dy) if activation else dy
    dbias = None
    if need:
        dbias = need.array if type(need) is _Into else new_row(cols, dy)
    elif not activation:
        return dz, dbias
    r.dtype, r.activation, r.rows, r.cols = is_double(dy), activation, rows, cols
    r.dy, r.y, r.dz, r.dbias = pointer(dy), optional(y), pointer(dz) if activation else NULL, optional(dbias)
    with nogil:
        status = dl_rows_run(&r)
    if status != 0:
        raise MemoryError("no memory for the partial sums of a bias gradient")
    return dz, dbias
