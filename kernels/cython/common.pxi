# What every kernel module shares: pointers to arrays, dtypes, connection to the thread pool, activations by number.
#
# Kernels hold a reference to each array whose pointer they use, so the buffer may be released as soon as it is known.
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBuffer_Release, PyObject_GetBuffer, Py_buffer

import numpy as _np

from . import memory as _memory
from . import threads as _threads

cdef extern from "threads.h" nogil:
    int dl_connect(object threads_module) except -1 with gil

cdef extern from "simd.h" nogil:
    void dl_choose_isa()
    const char* dl_isa_name()

dl_connect(_threads)
dl_choose_isa()

cdef object _empty = _memory.empty
cdef object _contiguous = _np.ascontiguousarray
cdef dict _ACTIVATIONS = {None: 0, "relu": 1, "sigmoid": 2, "tanh": 3}


cdef inline void* pointer(object array) except? NULL:
    """Address of a C-contiguous array's first element."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
    cdef void* address = view.buf
    PyBuffer_Release(&view)
    return address


cdef inline void* optional(object array) except? NULL:
    """Address of an array that may be None (NULL)."""
    return NULL if array is None else pointer(array)


cdef inline object contiguous(object array):
    """The array itself if it is C-contiguous, else a copy that is; None stays None. 0-d arrays become 1-d."""
    return None if array is None else _contiguous(array)


cdef inline bint is_double(object array) except -1:
    return array.itemsize == 8


def isa():
    """The instruction set in use: "base", "avx2" or "avx512" (DLFAST_ISA asks for less than the best)."""
    return dl_isa_name().decode()
