# cython: language_level=3, binding=False
"""Attention by blocks, without the matrix of all scores: see attention.h; the meaning of arguments, in the reference."""
include "common.pxi"

from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    npy_intp* PyArray_STRIDES(PyArrayObject* array)
    enum:
        NPY_ARRAY_ALIGNED

cdef extern from "sequence/attention.h" nogil:
    ctypedef struct dl_heads:
        char* data
        long batch, head, row
    ctypedef struct dl_attention:
        int dtype, causal
        long batch, heads, kv_heads, tq, tk, d, dpad, chunks
        double scale, keep
        uint64_t seed
        uint32_t threshold
        dl_heads q, k, v, y, dy, dq, dk, dv, mask
        void* lse
        void* delta
        char* kt
        char* vt
        char* kp
        char* vp
        char* qp
        char* dyp
        char* partial
    void dl_attention_plan(dl_attention* t)
    long dl_turned_room(const dl_attention* t)
    long dl_keys_room(const dl_attention* t)
    long dl_queries_room(const dl_attention* t)
    int dl_attention_forward(dl_attention* t)
    int dl_attention_backward(dl_attention* t)


cdef int check(int status) except -1:
    if status != 0:
        raise MemoryError("no memory for the scores of a block of attention")
    return 0


cdef object rows_contiguous(object x):
    """x (B, H, T, D), a copy unless features follow each other and strides are whole elements."""
    cdef npy_intp* strides
    cdef Py_ssize_t item
    cdef bint whole
    if is_plain(x) and PyArray_CHKFLAGS(<PyArrayObject*>x, NPY_ARRAY_ALIGNED):
        strides, item = PyArray_STRIDES(<PyArrayObject*>x), 8 if is_double(x) else 4
        whole = strides[0] % item == 0 and strides[1] % item == 0 and strides[2] % item == 0
        if whole and strides[3] == item:
            return x
    return aligned(x)


cdef npy_intp step(object x, int axis):
    """Elements from one to the next along an axis; one of length 1 is repeated."""
    return 0 if dim(x, axis) == 1 else PyArray_STRIDES(<PyArrayObject*>x)[axis] // (8 if is_double(x) else 4)


cdef dl_heads heads_of(object x, bint heads_last):
    """Address and strides of what `rows_contiguous` gave."""
    cdef dl_heads h
    h.data = <char*>PyArray_DATA(<PyArrayObject*>x)
    h.batch, h.head, h.row = step(x, 0), step(x, 2 if heads_last else 1), step(x, 1 if heads_last else 2)
    return h


cdef class Call:
    """One call: its fields, and the arrays that they point into."""

    cdef dl_attention t
    cdef bint heads_last
    cdef object q
    cdef list kept

    def __cinit__(self, object q, object k, object v, object mask, bint heads_last, bint causal, double scale, double dropout, object seed):
        cdef int rows = 1 if heads_last else 2, heads = 2 if heads_last else 1
        q, k, v = rows_contiguous(q), rows_contiguous(k), rows_contiguous(v)
        self.heads_last, self.q, self.kept = heads_last, q, []
        self.t.dtype, self.t.causal, self.t.scale, self.t.seed = is_double(q), causal, scale, seed
        self.t.batch, self.t.heads, self.t.tq, self.t.d = dim(q, 0), dim(q, heads), dim(q, rows), dim(q, 3)
        self.t.kv_heads, self.t.tk = dim(k, heads), dim(k, rows)
        self.t.keep, self.t.threshold = 0, 0
        if dropout:
            self.t.keep, self.t.threshold = 1 / (1 - dropout), <uint32_t>min(round(dropout * 2**32), 2**32 - 1)
        self.t.q, self.t.k, self.t.v = self.heads(q), self.heads(k), self.heads(v)
        if mask is not None:
            mask = rows_contiguous(mask)
            self.kept.append(mask)
            self.t.mask = heads_of(mask, False)
        dl_attention_plan(&self.t)

    cdef dl_heads heads(self, object x) except *:
        x = rows_contiguous(x)
        self.kept.append(x)
        return heads_of(x, self.heads_last)

    cdef char* room(self, long elements) except NULL:
        """Room for so many numbers, for as long as the call lasts."""
        array = new_row(max(1, elements), self.q)
        self.kept.append(array)
        return <char*>pointer(array)

    cdef int forward(self, object y, object lse) except -1:
        shared = self.t.batch * self.t.kv_heads
        self.t.y, self.t.lse = self.heads(y), pointer(lse)
        self.t.kt, self.t.vp = self.room(shared * dl_turned_room(&self.t)), self.room(shared * dl_keys_room(&self.t))
        cdef int status
        with nogil:
            status = dl_attention_forward(&self.t)
        return check(status)

    cdef int backward(self, object dy, object y, object lse, tuple outputs) except -1:
        """outputs: where dq, dk and dv go, None for one that is not wanted."""
        cdef long shared = self.t.batch * self.t.kv_heads, own = self.t.batch * self.t.heads
        self.t.dy, self.t.y, lse = self.heads(dy), self.heads(y), contiguous(lse)
        self.kept.append(lse)
        self.t.lse, self.t.delta = pointer(lse), self.room(own * self.t.tq)
        self.t.kt, self.t.vt = self.room(shared * dl_turned_room(&self.t)), self.room(shared * dl_turned_room(&self.t))
        self.t.kp = self.room(shared * dl_keys_room(&self.t))
        self.t.qp, self.t.dyp = self.room(own * dl_queries_room(&self.t)), self.room(own * dl_queries_room(&self.t))
        self.t.partial = self.room(self.t.chunks * own * self.t.tq * self.t.dpad)
        dq, dk, dv = outputs
        if dq is not None:
            self.t.dq = self.heads(dq)
        if dk is not None:
            self.t.dk = self.heads(dk)
        if dv is not None:
            self.t.dv = self.heads(dv)
        cdef int status
        with nogil:
            status = dl_attention_backward(&self.t)
        return check(status)


cdef tuple run_forward(object q, object k, object v, object mask, bint heads_last, bint causal, double scale, double dropout, object seed):
    """(y, lse)."""
    cdef Call call = Call(q, k, v, mask, heads_last, causal, scale, dropout, seed)
    cdef npy_intp[3] dims = [call.t.batch, call.t.heads, call.t.tq]
    y, lse = like(q), dl_new_array(3, dims, PyArray_TYPE(<PyArrayObject*>call.q))
    call.forward(y, lse)
    return y, lse


def attention_forward(q, k, v, mask, *, heads_last, causal, scale, dropout, seed):
    """y = drop(softmax(scale q k^T + mask)) v for each head; saved: y and the logarithm of each row's sum."""
    y, lse = run_forward(q, k, v, mask, heads_last, causal, scale, dropout, seed)
    return y, (q, k, v, mask, y, lse, heads_last, causal, scale, dropout, seed)


def attention_backward(dy, saved, needs):
    """The formulas stand in attention_back.inc.h; the mask has no gradient."""
    q, k, v, mask, y, lse, heads_last, causal, scale, dropout, seed = saved
    outputs = tuple([_empty(x.shape, x.dtype) if need else None for x, need in zip((q, k, v), needs)])
    cdef Call call
    if any(needs[:3]):
        call = Call(q, k, v, mask, heads_last, causal, scale, dropout, seed)
        call.backward(dy, y, lse, outputs)
    return *outputs, None


def self_attention_forward(qkv, mask, *, causal, scale, dropout, seed):
    """Attention of sequences to themselves: qkv (B, T, 3, H, D), y (B, T, H, D)."""
    y, lse = run_forward(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], mask, True, causal, scale, dropout, seed)
    return y, (qkv, mask, y, lse, causal, scale, dropout, seed)


def self_attention_backward(dy, saved, needs):
    """The three gradients side by side, like qkv."""
    qkv, mask, y, lse, causal, scale, dropout, seed = saved
    cdef Call call
    if not needs[0]:
        return None, None
    dqkv = _empty(qkv.shape, qkv.dtype)
    call = Call(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], mask, True, causal, scale, dropout, seed)
    call.backward(dy, y, lse, (dqkv[:, :, 0], dqkv[:, :, 1], dqkv[:, :, 2]))
    return dqkv, None
