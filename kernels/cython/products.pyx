# cython: language_level=3, binding=False
"""The matrix product and the row sums (gemm.h, rows.h), offered as capsules to the other modules: see products.h; and
weights that are packed for many products."""
include "common.pxi"
from cpython.pycapsule cimport PyCapsule_New

cdef extern from *:
    """
    #define DLFAST_PRODUCTS_SERVER
    #include "product/gemm.h"
    #include "rowwise/rows.h"
    """
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
    int dl_gemm_with(const dl_gemm* g, const void* panels) nogil
    int dl_gemm_pack(const dl_gemm* g, void* to) nogil
    long dl_tile_cols(int dtype)
    long dl_round_up(long a, long b)
    size_t dl_item(int dtype)
    int dl_gemm_path(const dl_gemm* g) nogil
    int dl_gemm_serve(const void* g) nogil
    int dl_rows_serve(void* r) nogil
    const char* DL_GEMM_NAME
    const char* DL_ROWS_NAME

_gemm = PyCapsule_New(<void*>dl_gemm_serve, DL_GEMM_NAME, NULL)
_rows = PyCapsule_New(<void*>dl_rows_serve, DL_ROWS_NAME, NULL)

cdef enum:
    PACKED_BYTES = 1 << 28  # of panels that are kept, at most

cdef tuple _PATHS = ("blocks", "dots", "combine", "outer")


def product_path(long m, long n, long k, bint a_transposed=False, bint b_transposed=False):
    """How C (m, n) = op(A) op(B) is done: in "blocks", or for few rows by "dots", "combine" or "outer" (gemm.h)."""
    cdef dl_gemm g
    g.m, g.n, g.k, g.bias, g.activation, g.accumulate = m, n, k, NULL, 0, 0
    g.ars, g.acs = (1, m) if a_transposed else (k, 1)
    g.brs, g.bcs = (1, k) if b_transposed else (n, 1)
    return _PATHS[dl_gemm_path(&g)]


cdef size_t packed_bytes = 0  # of all panels that are kept


cdef class PackedWeight:
    """W^T of a linear layer in the panels that products read (gemm.h), for as long as `weight` holds what it held.

    Packing pays from the second product on, so the first call of `linear` does nothing.
    """

    cdef readonly object weight
    cdef object panels
    cdef int isa
    cdef bint seen
    cdef size_t bytes

    def __init__(self, weight):
        self.weight, self.isa, self.seen, self.bytes = weight, dl_isa, False, 0

    def __dealloc__(self):
        global packed_bytes
        packed_bytes -= self.bytes

    def is_of(self, weight):
        """Whether this is the array, and the panels are of the instruction set in force."""
        return weight is self.weight and self.isa == dl_isa

    def linear(self, x, bias, activation):
        """y = act(x W^T + b) as `linear_forward` has it, or None where that is the way: at a first call, and where the
        panels of all weights take more than PACKED_BYTES."""
        global packed_bytes
        cdef object xc = contiguous(x), bc = contiguous(bias), y
        cdef long features = dim(self.weight, 1), out = dim(self.weight, 0)
        cdef dl_gemm g
        cdef int status
        g.dtype, g.m, g.n, g.k = is_double(xc), size(xc) // features, out, features
        if not out or not self.seen:
            self.seen = True
            return None
        g.b, g.brs, g.bcs = pointer(self.weight), 1, features
        if self.panels is None:
            wide = dl_round_up(out, dl_tile_cols(g.dtype))
            if packed_bytes + wide * features * dl_item(g.dtype) > PACKED_BYTES:
                return None
            panels = _empty((features, wide), self.weight.dtype)
            if dl_gemm_pack(&g, pointer(panels)) != 0:
                raise MemoryError("no memory for the packed panels of a weight")
            self.panels, self.bytes = panels, panels.nbytes
            packed_bytes += self.bytes
        y = with_last(xc, out)
        g.a, g.ars, g.acs = pointer(xc), features, 1
        g.bias, g.c, g.ldc, g.activation, g.accumulate = optional(bc), pointer(y), out, _ACTIVATIONS[activation], 0
        cdef void* panels_at = pointer(self.panels)
        with nogil:
            status = dl_gemm_with(&g, panels_at)
        if status != 0:
            raise MemoryError("no memory for the packed panels of a matrix product")
        return y
