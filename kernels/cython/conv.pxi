# What is planned for a convolution, for the modules that compute one.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy

from ..conv_methods import Abilities as _Abilities

cdef extern from "conv/conv_plan.h" nogil:
    ctypedef struct dl_finish:
        const void* residual
        const void* out
        int activation
    ctypedef struct dl_conv:
        int dtype, activation
        long n, h, w, c, k, r, s, p, q, sh, sw, top, left, dh, dw, groups
        const dl_finish* finish

ctypedef struct dl_planned:  # a plan (`conv_plan.Plan`) as C reads it: methods are numbers, see `_METHODS`
    dl_conv v
    int forward, dx, dweight, windows, windows_back
    long pool_h, pool_w

cdef enum:
    NONE = -1
    IM2COL
    DIRECT
    WINOGRAD
    POINTWISE
    DEPTHWISE

cdef tuple _METHODS = ("im2col", "direct", "winograd", "pointwise", "depthwise")
ABILITIES = _Abilities(pooled=("direct", "winograd"), averaged=("direct",), lists=("forward", "dx"), grouped=True)


cdef inline int read_plan(object plan, object x, dl_planned* to) except -1:
    """What is planned, for arrays of the dtype of x."""
    cdef object native = plan.native
    if native is None:
        native = plan.native = native_form(plan.of(ABILITIES))
    memcpy(to, PyBytes_AS_STRING(native), sizeof(dl_planned))
    to.v.dtype = is_double(x)
    return 0


cdef bytes native_form(object plan):
    cdef dl_planned p
    cdef dl_conv* v = &p.v
    v.n, v.h, v.w, v.c = plan.image
    v.k, v.r, v.s, _ = plan.kernel
    _, v.p, v.q, _ = plan.output
    (v.sh, v.sw), (v.top, _, v.left, _), (v.dh, v.dw), v.groups = plan.geometry
    v.activation, v.dtype, v.finish = _ACTIVATIONS[plan.activation], 0, NULL
    p.forward, p.dx, p.dweight, p.windows, p.windows_back = [
        _METHODS.index(name) if name else NONE
        for name in (plan.forward, plan.dx, plan.dweight, plan.windows, plan.windows_back)
    ]
    p.pool_h, p.pool_w = plan.pool or (1, 1)
    return PyBytes_FromStringAndSize(<const char*>&p, sizeof(dl_planned))


cdef inline int check(int status) except -1:
    if status != 0:
        raise MemoryError("no memory for the patches or the packed weights of a convolution")
    return 0
