# The affine map and its gradients on matrices of rows, for linear and the recurrent cells; after products.pxi.
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


cdef inline object both(object a, object b):
    """a + b where either may be None."""
    return b if a is None else a if b is None else a + b


cdef int times(
    object dz, object weight, object dx, long rows, long out, long features, bint accumulate, long first=0, long wide=0
) except -1:
    """dx (rows, features) = dz W, or dx += dz W: weight (out, features), dz (rows, out), or with `wide` its columns
    first .. first + out of so many."""
    cdef dl_gemm g
    g.dtype, g.m, g.n, g.k = is_double(dz), rows, features, out
    g.a, g.ars, g.acs = <char*>pointer(dz) + first * (8 if g.dtype else 4), wide or out, 1
    g.b, g.brs, g.bcs = pointer(weight), features, 1
    g.bias, g.c, g.ldc, g.activation, g.accumulate = NULL, pointer(dx), features, 0, accumulate
    with nogil:
        gemm(&g)
    return 0


cdef inline int times_transposed(
    object dz, object x, object dweight, long rows, long out, long features, long first=0, long wide=0
) except -1:
    """dweight (out, features) = dz^T x: x (rows, features), dz as `times` takes it."""
    cdef dl_gemm g
    g.dtype, g.m, g.n, g.k = is_double(dz), out, features, rows
    g.a, g.ars, g.acs = <char*>pointer(dz) + first * (8 if g.dtype else 4), 1, wide or out
    g.b, g.brs, g.bcs = pointer(x), features, 1
    g.bias, g.c, g.ldc, g.activation, g.accumulate = NULL, pointer(dweight), features, 0, 0
    with nogil:
        gemm(&g)
    return 0
