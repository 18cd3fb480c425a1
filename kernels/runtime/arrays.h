/* New arrays from the memory pool, for the other extensions: memory_array.h makes them, in memory.pyx. */
#ifndef DLFAST_ARRAYS_H
#define DLFAST_ARRAYS_H
#include <Python.h>
#include <numpy/ndarraytypes.h>

typedef PyObject *(*dl_new_fn)(int axes, npy_intp *dims, int type);
#define DL_NEW_NAME "dlfast.kernels.runtime.memory._new"

#ifndef DLFAST_MEMORY_ARRAY_H /* clients */
#include "runtime/threads.h"
static dl_new_fn dl_new_array; /* undefined elements, rows in order; type: NPY_FLOAT, ... */
static int dl_connect_memory(PyObject *memory_module) {
    dl_new_array = (dl_new_fn)dl_capsule_pointer(memory_module, "_new", DL_NEW_NAME);
    return dl_new_array ? 0 : -1;
}
#endif
#endif
