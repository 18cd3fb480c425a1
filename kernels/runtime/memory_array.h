/* NumPy arrays in the memory pool, by way of NEP 49: an array holds the allocator that its memory came from, so it may
   outlive everything else, be resized, and be freed by any thread.

   An allocator that somebody else has set in the current context goes before the pool: their choice holds. */
#ifndef DLFAST_MEMORY_ARRAY_H
#define DLFAST_MEMORY_ARRAY_H
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#define NPY_TARGET_VERSION NPY_1_22_API_VERSION /* NEP 49 */
#include <Python.h>
#include <numpy/arrayobject.h>

#include "runtime/memory_pool.h"

#define DL_AXES 32 /* of an array, at most */
#define DL_SMALLEST 1024 /* bytes; for arrays below, NumPy has a cache of its own that touches no memory but theirs */
#define DL_NUMPY_DOMAIN 389047 /* under which tracemalloc knows the memory of arrays; NumPy frees it there */

static void *dl_array_malloc(void *ctx, size_t bytes) { return dl_memory_take(bytes); }

static void *dl_array_calloc(void *ctx, size_t count, size_t size) {
    if (size && count > PTRDIFF_MAX / size) return NULL;
    void *payload = dl_memory_take(count * size);
    return payload ? memset(payload, 0, count * size) : NULL;
}

static void dl_array_free(void *ctx, void *payload, size_t bytes) {
    if (payload) dl_memory_give(payload);
}

static void *dl_array_realloc(void *ctx, void *payload, size_t bytes) {
    if (!payload) return dl_memory_take(bytes);
    size_t have = dl_block_of(payload)->payload, wanted;
    if (bytes <= PTRDIFF_MAX / 2 && (dl_class_of(bytes, &wanted), wanted == have)) return payload;
    void *moved = dl_memory_take(bytes);
    if (!moved) return NULL;
    memcpy(moved, payload, bytes < have ? bytes : have);
    dl_memory_give(payload);
    return moved;
}

static PyDataMem_Handler dl_handler = {
    "dlfast", 1, {NULL, dl_array_malloc, dl_array_calloc, dl_array_realloc, dl_array_free}};
static PyObject *dl_handler_capsule; /* never freed: arrays hold it */

/* 1 where NumPy's own allocator is in force, so that the pool may stand in for it; -1 with an exception. */
static int dl_may_stand_in(void) {
    PyObject *handler = PyDataMem_GetHandler();
    if (!handler) return -1;
    Py_DECREF(handler); /* the context or NumPy still holds it */
    return handler == PyDataMem_DefaultHandler || handler == dl_handler_capsule;
}

/* Reads a shape; its number of axes, or -1 with an exception. */
static int dl_shape(PyObject *shape, npy_intp *dims) {
    if (PyTuple_CheckExact(shape)) {
        Py_ssize_t axes = PyTuple_GET_SIZE(shape);
        if (axes > DL_AXES) {
            PyErr_Format(PyExc_ValueError, "empty: shape must have at most %d axes, got %zd", DL_AXES, axes);
            return -1;
        }
        for (int i = 0; i < axes; i++) {
            dims[i] = PyNumber_AsSsize_t(PyTuple_GET_ITEM(shape, i), PyExc_OverflowError);
            if (dims[i] == -1 && PyErr_Occurred()) return -1;
        }
        return (int)axes;
    }
    dims[0] = PyNumber_AsSsize_t(shape, PyExc_OverflowError);
    return dims[0] == -1 && PyErr_Occurred() ? -1 : 1;
}

/* The bytes of an array; -1 where they cannot be told: a negative or too long axis, which NumPy knows to report. */
static npy_intp dl_bytes(int axes, const npy_intp *dims, npy_intp itemsize) {
    npy_intp bytes = itemsize;
    for (int i = 0; i < axes; i++) {
        if (dims[i] < 0 || (dims[i] && bytes > PTRDIFF_MAX / 2 / dims[i])) return -1;
        bytes *= dims[i];
    }
    return bytes;
}

/* An array around memory of the pool, which it owns. Takes over the reference to descr. */
static PyObject *dl_wrap(int axes, npy_intp *dims, npy_intp bytes, PyArray_Descr *descr) {
    void *data = dl_memory_take((size_t)bytes);
    if (!data) {
        Py_DECREF(descr);
        return PyErr_Format(PyExc_MemoryError, "dlfast: no memory for an array of %zd bytes", (Py_ssize_t)bytes);
    }
    PyObject *array =
        PyArray_NewFromDescr(&PyArray_Type, descr, axes, dims, NULL, data, NPY_ARRAY_CARRAY, NULL);
    if (!array) {
        dl_memory_give(data);
        return NULL;
    }
    PyArray_ENABLEFLAGS((PyArrayObject *)array, NPY_ARRAY_OWNDATA);
    Py_INCREF(dl_handler_capsule);
    ((PyArrayObject_fields *)array)->mem_handler = dl_handler_capsule;
    PyTraceMalloc_Track(DL_NUMPY_DOMAIN, (uintptr_t)data, bytes);
    return array;
}

/* np.empty or np.zeros in the pool where that may be, the elements are plain numbers, and it is worth while. Takes over
   the reference to descr. */
static PyObject *dl_new_of(int axes, npy_intp *dims, PyArray_Descr *descr, int zeros) {
    npy_intp bytes = dl_bytes(axes, dims, PyDataType_ELSIZE(descr));
    int pooled = bytes >= DL_SMALLEST && PyTypeNum_ISNUMBER(descr->type_num) ? dl_may_stand_in() : 0;
    if (pooled < 0) {
        Py_DECREF(descr);
        return NULL;
    }
    if (!pooled) return zeros ? PyArray_Zeros(axes, dims, descr, 0) : PyArray_Empty(axes, dims, descr, 0);
    PyObject *array = dl_wrap(axes, dims, bytes, descr);
    if (array && zeros) memset(PyArray_DATA((PyArrayObject *)array), 0, (size_t)bytes);
    return array;
}

static PyObject *dl_empty(PyObject *shape, PyObject *dtype, int zeros) {
    npy_intp dims[DL_AXES];
    PyArray_Descr *descr = NULL;
    int axes = dl_shape(shape, dims);
    return axes < 0 || !PyArray_DescrConverter(dtype, &descr) ? NULL : dl_new_of(axes, dims, descr, zeros);
}

static PyObject *dl_new(int axes, npy_intp *dims, int type) {
    return dl_new_of(axes, dims, PyArray_DescrFromType(type), 0);
}

/* Lets NumPy itself allocate from the pool in this context; returns the allocator to go back to. */
static PyObject *dl_pool_enter(void) {
    int pooled = dl_may_stand_in();
    if (pooled < 0) return NULL;
    return pooled ? PyDataMem_SetHandler(dl_handler_capsule) : PyDataMem_GetHandler();
}

static int dl_pool_leave(PyObject *before) {
    PyObject *ours = PyDataMem_SetHandler(before);
    Py_XDECREF(ours);
    return ours ? 0 : -1;
}

static int dl_array_init(void) {
    import_array1(-1);
    dl_handler_capsule = PyCapsule_New(&dl_handler, "mem_handler", NULL);
    return dl_handler_capsule ? dl_memory_init() : -1;
}
#endif
