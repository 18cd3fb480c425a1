/* The interface of the thread pool, for every extension that runs work in parallel.

   dl_parallel_for(fn, ctx, jobs) calls fn(ctx, job, worker) once for each job in 0..jobs-1 and returns when all are
   done. The caller is worker 0.  Which worker runs which job is left open, so a job must not depend on another job of
   the same call, and sums must be formed in job order afterwards: then any number of threads gives the same bits.

   dl_run_here(fn, ctx, jobs) does the same on the calling thread alone.

   dl_scratch(slot, bytes) is memory of the calling thread, 64-byte aligned, kept from call to call: contents are
   undefined. A second call with the same slot on the same thread may hand out the same memory.

   Where memory is short dl_scratch gives NULL, and the job that asked returns at once, its work undone; it need not tell:
   the two that run jobs return -1 if a request of one of their jobs failed, else 0.  Their callers drop what was made.

   The pool itself lives in one extension (threads.pyx, threads_pool.h).  The others connect at import:
       from . import threads          then    dl_connect(threads)  */
#ifndef DLFAST_THREADS_H
#define DLFAST_THREADS_H
#include <stddef.h>

typedef void (*dl_job)(void *ctx, long job, long worker);
typedef int (*dl_run_fn)(dl_job fn, void *ctx, long jobs);
typedef void *(*dl_scratch_fn)(int slot, size_t bytes);

#define DL_PARALLEL_FOR_NAME "dlfast.kernels.runtime.threads._parallel_for"
#define DL_RUN_HERE_NAME "dlfast.kernels.runtime.threads._run_here"
#define DL_SCRATCH_NAME "dlfast.kernels.runtime.threads._scratch"
enum {
    DL_SCRATCH_SHARED,
    DL_SCRATCH_JOB,
    DL_SCRATCH_TILE,
    DL_SCRATCH_EXTRA,
    DL_SCRATCH_TAPS,
    DL_SCRATCH_ROWS,
    DL_SCRATCH_SLOTS
};

#ifndef DLFAST_THREADS_POOL /* clients: three pointers, taken from the capsules of the pool's module */
#include <Python.h>
static dl_run_fn dl_parallel_for, dl_run_here;
static dl_scratch_fn dl_scratch;

static void *dl_capsule_pointer(PyObject *module, const char *attribute, const char *name) {
    PyObject *capsule = PyObject_GetAttrString(module, attribute);
    void *pointer = capsule ? PyCapsule_GetPointer(capsule, name) : NULL;
    Py_XDECREF(capsule);
    return pointer;
}

static int dl_connect(PyObject *threads_module) {
    dl_parallel_for = (dl_run_fn)dl_capsule_pointer(threads_module, "_parallel_for", DL_PARALLEL_FOR_NAME);
    dl_run_here = (dl_run_fn)dl_capsule_pointer(threads_module, "_run_here", DL_RUN_HERE_NAME);
    dl_scratch = (dl_scratch_fn)dl_capsule_pointer(threads_module, "_scratch", DL_SCRATCH_NAME);
    return dl_parallel_for && dl_run_here && dl_scratch ? 0 : -1;
}
#endif
#endif
