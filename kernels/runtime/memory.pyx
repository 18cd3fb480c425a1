# cython: language_level=3, binding=False
"""The memory pool as a module: arrays from it, its statistics and its bound. What it does is told in memory_pool.h."""
from cpython.pycapsule cimport PyCapsule_New

cdef extern from "runtime/memory_array.h":
    ctypedef Py_ssize_t npy_intp
    ctypedef struct dl_memory_stats:
        long long in_use, kept, peak, from_pool, from_system, given_back, limit
    object dl_empty(object shape, object dtype, bint zeros)
    object dl_new(int axes, npy_intp* dims, int type)
    object dl_pool_enter()
    int dl_pool_leave(object before) except -1
    int dl_array_init() except -1
    dl_memory_stats dl_memory_get_stats() noexcept
    void dl_memory_set_limit(long long limit) noexcept
    long long dl_memory_release() noexcept

cdef extern from "runtime/arrays.h":
    const char* DL_NEW_NAME

dl_array_init()

_new = PyCapsule_New(<void*>dl_new, DL_NEW_NAME, NULL)


def empty(shape, dtype=None):
    """np.empty(shape, dtype) in the pool; shape is a tuple or an int.  In the pool (1 KiB or more) it
    starts at a multiple of 64 bytes."""
    return dl_empty(shape, dtype, False)


def zeros(shape, dtype=None):
    """As `empty`, filled with zeros."""
    return dl_empty(shape, dtype, True)


cdef class pooled:
    """`with pooled(): ...`: what NumPy allocates inside, in this thread, comes from the pool too.

    An allocator that somebody else has set stays in force.
    """
    cdef object before

    def __enter__(self):
        self.before = dl_pool_enter()

    def __exit__(self, *exception):
        dl_pool_leave(self.before)


def stats():
    """(in use, kept, peak, from the pool, from the system, given back): bytes, then counts."""
    cdef dl_memory_stats s = dl_memory_get_stats()
    return s.in_use, s.kept, s.peak, s.from_pool, s.from_system, s.given_back


def set_limit(long long limit):
    """Keep at most `limit` free bytes; -1 for the automatic bound."""
    dl_memory_set_limit(limit)


def release():
    """Give the free blocks back to the system; returns their bytes."""
    return dl_memory_release()
