# cython: language_level=3, binding=False
"""Multiply-adds and copies at the machine's pace, by machine.h; `dlfast._machine` times them."""
include "../cython/common.pxi"

cdef extern from "runtime/machine.h" nogil:
    ctypedef struct dl_fma:
        double a
        double* results
    ctypedef struct dl_copy:
        size_t bytes
        const char* source
        char* target
    double dl_fma_run(dl_fma* m, long jobs, int dtype)
    void dl_copy_run(dl_copy* m)


def multiply_adds(long jobs, dtype):
    """Run so many jobs of multiply-adds in registers of a dtype; the number of operations, two for a multiply-add."""
    cdef dl_fma m
    cdef object results = _empty(jobs)
    cdef int double_precision = is_double(_np.dtype(dtype))
    cdef double operations
    m.a, m.results = 0.999, <double*>pointer(results)
    with nogil:
        operations = dl_fma_run(&m, jobs, double_precision)
    return operations


def copy(source, target):
    """Copy a C-contiguous array into another of as many bytes."""
    cdef dl_copy m
    m.bytes, m.source, m.target = source.nbytes, <char*>pointer(source), <char*>pointer(target)
    with nogil:
        dl_copy_run(&m)
