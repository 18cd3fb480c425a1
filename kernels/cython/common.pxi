# What every kernel module shares: pointers to arrays, dtypes, connection to the thread pool, activations by number.
#
# Kernels hold a reference to each array whose pointer they use, so the buffer may be released as soon as it is known.
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBuffer_Release, PyObject_GetBuffer, Py_buffer

import numpy as _np

from .. import Into as _Into
from ..runtime import memory as _memory
from ..runtime import threads as _threads

cdef extern from *:
    """
    #define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
    #include <numpy/ndarraytypes.h>
    """
    ctypedef struct PyArrayObject:
        pass
    ctypedef Py_ssize_t npy_intp
    enum:
        NPY_ARRAY_CARRAY_RO  # rows in order, elements at multiples of their size
        NPY_DOUBLE
        NPY_MAXDIMS
    void* PyArray_DATA(PyArrayObject* array)
    int PyArray_NDIM(PyArrayObject* array)
    int PyArray_TYPE(PyArrayObject* array)
    npy_intp* PyArray_DIMS(PyArrayObject* array)
    bint PyArray_CHKFLAGS(PyArrayObject* array, int flags)

cdef extern from "runtime/arrays.h":
    object dl_new_array(int axes, npy_intp* dims, int type)
    int dl_connect_memory(object memory_module) except -1

cdef extern from "runtime/threads.h" nogil:
    int dl_connect(object threads_module) except -1 with gil

cdef extern from "simd/simd.h" nogil:
    ctypedef struct dl_cache_sizes:
        size_t l2, last
    dl_cache_sizes dl_cache
    int dl_isa
    void dl_choose_isa()
    int dl_set_isa(const char* name)
    int dl_best_isa()
    const char* dl_isa_name(int isa)

dl_connect(_threads)
dl_connect_memory(_memory)
dl_choose_isa()

cdef object _empty = _memory.empty
cdef object _ndarray = _np.ndarray
cdef object _contiguous = _np.ascontiguousarray
cdef dict _ACTIVATIONS = {None: 0, "relu": 1, "sigmoid": 2, "tanh": 3, "gelu": 4, "gelu_tanh": 5, "silu": 6}


cdef inline bint is_plain(object array):
    """Whether it is an ndarray itself, of no subclass, so that its fields may be read."""
    return type(array) is _ndarray


cdef inline void* pointer(object array) except? NULL:
    """Address of a C-contiguous array's first element; ValueError where it is not contiguous or not aligned."""
    cdef Py_buffer view
    if is_plain(array) and PyArray_CHKFLAGS(<PyArrayObject*>array, NPY_ARRAY_CARRAY_RO):
        return PyArray_DATA(<PyArrayObject*>array)
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
    cdef void* address = view.buf
    cdef bint misplaced = <size_t>address % <size_t>view.itemsize != 0
    PyBuffer_Release(&view)
    if misplaced:
        raise ValueError("a kernel was given an array whose elements lie between the multiples of their size")
    return address


cdef inline void* optional(object array) except? NULL:
    """Address of an array that may be None (NULL)."""
    return NULL if array is None else pointer(array)


cdef inline object contiguous(object array):
    """The array itself if it is C-contiguous and aligned, else a copy that is; None stays None. 0-d become 1-d."""
    if array is None:
        return None
    if is_plain(array) and PyArray_CHKFLAGS(<PyArrayObject*>array, NPY_ARRAY_CARRAY_RO) and \
            PyArray_NDIM(<PyArrayObject*>array):
        return array
    return aligned(array)


cdef object aligned(object array):
    """The array, or a copy in order: not aligned, NumPy calls it contiguous and would not copy it."""
    return _contiguous(array) if array.flags.aligned else _np.array(array, order="C", ndmin=1)


cdef inline bint is_double(object array) except -1:
    if is_plain(array):
        return PyArray_TYPE(<PyArrayObject*>array) == NPY_DOUBLE
    return array.itemsize == 8


cdef inline Py_ssize_t dim(object array, int axis):
    """Length of an axis, counted from 0, of a plain array."""
    return PyArray_DIMS(<PyArrayObject*>array)[axis]


cdef inline Py_ssize_t size(object array):
    """Number of elements of a plain array."""
    cdef Py_ssize_t product = 1
    cdef int axis
    for axis in range(PyArray_NDIM(<PyArrayObject*>array)):
        product *= dim(array, axis)
    return product


cdef inline object like(object array):
    """A new array of this one's shape and dtype."""
    if not is_plain(array):
        return _empty(array.shape, array.dtype)
    cdef PyArrayObject* a = <PyArrayObject*>array
    return dl_new_array(PyArray_NDIM(a), PyArray_DIMS(a), PyArray_TYPE(a))


cdef inline object new_row(Py_ssize_t n, object array):
    """A new array (n,) of a plain array's dtype."""
    return dl_new_array(1, &n, PyArray_TYPE(<PyArrayObject*>array))


cdef inline object with_last(object array, Py_ssize_t n):
    """A new array of a plain array's dtype and shape, except for a last axis of n."""
    cdef npy_intp[NPY_MAXDIMS] dims
    cdef int axis, axes = PyArray_NDIM(<PyArrayObject*>array)
    for axis in range(axes - 1):
        dims[axis] = dim(array, axis)
    dims[axes - 1] = n
    return dl_new_array(axes, dims, PyArray_TYPE(<PyArrayObject*>array))


cdef inline object new_image(Py_ssize_t n, Py_ssize_t p, Py_ssize_t q, Py_ssize_t k, object array):
    """A new array (n, p, q, k) of a plain array's dtype."""
    cdef npy_intp[4] dims = [n, p, q, k]
    return dl_new_array(4, dims, PyArray_TYPE(<PyArrayObject*>array))


cdef inline object place_for(object need, object array):
    """Where the gradient of `array` is to be written: the caller's array where `need` is an Into, else a new one."""
    return need.array if type(need) is _Into else like(array)


def isa():
    """The instruction set in use: "base", "avx2" or "avx512" (DLFAST_ISA asks for less than the best)."""
    return dl_isa_name(dl_isa).decode()


def caches():
    """Bytes of a core's second-level cache and of the last level, as the processor tells them."""
    return dl_cache.l2, dl_cache.last


def set_caches(size_t l2, size_t last):
    """Take other sizes in this module, as tests do: how kernels cut work and write results follows from them."""
    dl_cache.l2, dl_cache.last = l2, last


def isas():
    """The instruction sets that this processor has, the best last."""
    return [dl_isa_name(i).decode() for i in range(dl_best_isa() + 1)]


def set_isa(str name):
    """Use another instruction set in this module (instruction_sets.py: in all).  ValueError where there is none."""
    if name not in isas():
        raise ValueError(f"instruction set {name!r} is not one of this processor's: {', '.join(isas())}")
    dl_set_isa(name.encode())
