# The geometry of a convolution, for the modules that compute one.
cdef extern from "conv_finish.h" nogil:
    ctypedef struct dl_finish:
        const void* residual
        const void* out
        int activation

cdef extern from "conv.h" nogil:
    ctypedef struct dl_conv:
        int dtype, activation
        long n, h, w, c, k, r, s, p, q, sh, sw, top, left, dh, dw, groups
        const dl_finish* finish


cdef inline Py_ssize_t length(object array, int axis) except -1:
    return dim(array, axis) if is_plain(array) else array.shape[axis]


cdef inline dl_conv geometry(x, weight, stride, padding, dilation, groups, activation):
    cdef dl_conv v
    v.n, v.h, v.w, v.c = length(x, 0), length(x, 1), length(x, 2), length(x, 3)
    v.k, v.r, v.s = length(weight, 0), length(weight, 1), length(weight, 2)
    v.sh, v.sw = stride
    v.top, v.left = padding[0], padding[2]
    v.dh, v.dw = dilation
    v.p = (v.h + v.top + <long>padding[1] - v.dh * (v.r - 1) - 1) // v.sh + 1  # as geometry.conv_output_size
    v.q = (v.w + v.left + <long>padding[3] - v.dw * (v.s - 1) - 1) // v.sw + 1
    v.groups, v.activation, v.dtype, v.finish = groups, _ACTIVATIONS[activation], is_double(x), NULL
    return v


cdef inline int check(int status) except -1:
    if status != 0:
        raise MemoryError("no memory for the patches or the packed weights of a convolution")
    return 0
