# cython: language_level=3, binding=False
"""The matrix product and the row sums (gemm.h, rows.h), offered as capsules to the other modules: see products.h."""
include "common.pxi"
from cpython.pycapsule cimport PyCapsule_New

cdef extern from *:
    """
    #define DLFAST_PRODUCTS_SERVER
    #include "gemm.h"
    #include "rows.h"
    """
    int dl_gemm_serve(const void* g) nogil
    int dl_rows_serve(void* r) nogil
    const char* DL_GEMM_NAME
    const char* DL_ROWS_NAME

_gemm = PyCapsule_New(<void*>dl_gemm_serve, DL_GEMM_NAME, NULL)
_rows = PyCapsule_New(<void*>dl_rows_serve, DL_ROWS_NAME, NULL)
