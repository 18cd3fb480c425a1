# cython: language_level=3, binding=False
"""The matrix product and the row sums (gemm.h, rows.h), offered as capsules to the other modules: see products.h."""
include "common.pxi"
from cpython.pycapsule cimport PyCapsule_New

cdef extern from *:
    """
    #define DLFAST_PRODUCTS_SERVER
    #include "product/gemm.h"
    #include "rowwise/rows.h"
    """
    ctypedef struct dl_gemm:
        long m, n, k, ars, acs, brs, bcs
        const void* bias
        int activation, accumulate
    int dl_gemm_path(const dl_gemm* g) nogil
    int dl_gemm_serve(const void* g) nogil
    int dl_rows_serve(void* r) nogil
    const char* DL_GEMM_NAME
    const char* DL_ROWS_NAME

_gemm = PyCapsule_New(<void*>dl_gemm_serve, DL_GEMM_NAME, NULL)
_rows = PyCapsule_New(<void*>dl_rows_serve, DL_ROWS_NAME, NULL)

cdef tuple _PATHS = ("blocks", "dots", "combine", "outer")


def product_path(long m, long n, long k, bint a_transposed=False, bint b_transposed=False):
    """How C (m, n) = op(A) op(B) is done: in "blocks", or for few rows by "dots", "combine" or "outer" (gemm.h)."""
    cdef dl_gemm g
    g.m, g.n, g.k, g.bias, g.activation, g.accumulate = m, n, k, NULL, 0, 0
    g.ars, g.acs = (1, m) if a_transposed else (k, 1)
    g.brs, g.bcs = (1, k) if b_transposed else (n, 1)
    return _PATHS[dl_gemm_path(&g)]
