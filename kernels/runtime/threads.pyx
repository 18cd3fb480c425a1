# cython: language_level=3, binding=False
"""The thread pool as a module: its size, and its entry point for Cython (capsules) and Numba (an address).

The protocol is told in threads_pool.h, the interface in threads.h.
"""
from cpython.pycapsule cimport PyCapsule_New

cdef extern from *:
    """
    #define DLFAST_THREADS_POOL
    #include "runtime/threads.h"
    #include "runtime/threads_pool.h"
    static void dl_set_wanted(int64_t threads) { dl_store(&pool.wanted, threads); }
    static int64_t dl_get_wanted(void) { return dl_load(&pool.wanted); }
    static void dl_set_spin(int64_t microseconds) { pool.spin_ns = microseconds * 1000; }
    static int64_t dl_refuse(int64_t request) { return dl_swap(&pool.refuse, request); }
    """
    enum:
        DL_MAX_THREADS
    const char* DL_PARALLEL_FOR_NAME
    const char* DL_RUN_HERE_NAME
    const char* DL_SCRATCH_NAME
    ctypedef void (*dl_job)(void* ctx, long job, long worker) noexcept nogil
    int dl_parallel_for(dl_job fn, void* ctx, long jobs) noexcept nogil
    int dl_run_here(dl_job fn, void* ctx, long jobs) noexcept nogil
    void* dl_scratch(int slot, size_t bytes) noexcept nogil
    int dl_pool_init() noexcept
    void dl_set_wanted(long threads) noexcept
    long dl_get_wanted() noexcept
    void dl_set_spin(long microseconds) noexcept
    long dl_refuse(long request) noexcept

if dl_pool_init() != 0:
    raise MemoryError("the thread pool could not be set up")

_parallel_for = PyCapsule_New(<void*>dl_parallel_for, DL_PARALLEL_FOR_NAME, NULL)
_run_here = PyCapsule_New(<void*>dl_run_here, DL_RUN_HERE_NAME, NULL)
_scratch = PyCapsule_New(<void*>dl_scratch, DL_SCRATCH_NAME, NULL)


def set_num_threads(long n):
    """Let the next parallel launches use n threads, 1..1024, the caller among them.  Raises ValueError outside."""
    if n < 1 or n > DL_MAX_THREADS:
        raise ValueError(f"set_num_threads: n must be in 1..{DL_MAX_THREADS}, got {n}")
    dl_set_wanted(n)


def get_num_threads():
    """The number of threads that parallel launches use, the caller among them."""
    return dl_get_wanted()


def set_spin_us(long n):
    """Let threads spin for n microseconds before they sleep; to be called before the first launch."""
    dl_set_spin(n)


def parallel_for_address():
    """Address of `int dl_parallel_for(void (*fn)(void *, long, long), void *ctx, long jobs)`, for Numba."""
    return <size_t>dl_parallel_for


def run_here_address():
    """Address of dl_run_here, of the same type, for Numba."""
    return <size_t>dl_run_here


def scratch_address():
    """Address of `void *dl_scratch(int slot, size_t bytes)`, for Numba."""
    return <size_t>dl_scratch


def refuse_scratch(long request):
    """For tests: refuse scratch memory to the request of that number from now on, in whatever thread; 0: to none.

    Returns the requests that were left to the one chosen before; none where that one was refused.
    """
    return max(dl_refuse(request), 0)
