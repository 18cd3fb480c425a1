# cython: language_level=3, binding=False
"""Embedding by embedding.h: rows of a table. V rows, D features."""
include "common.pxi"
from libc.stdint cimport int64_t

from functools import partial as _partial

from ..sums import scattered_in_pieces as _scattered_in_pieces

cdef extern from "rowwise/embedding.h" nogil:
    ctypedef struct dl_embedding:
        long count, table, width, padding
        const int64_t* indices
        const void* in_ "in"
        void* out
    void dl_embedding_run(dl_embedding* m, int dtype)
    void dl_embedding_back(dl_embedding* m, int dtype)


def embedding_forward(indices, weight, *, padding_idx):
    """y[...] = weight[indices[...]]: indices (...) int64 in 0..V-1, weight (V, D), y (..., D)."""
    cdef dl_embedding m
    cdef int dtype = is_double(weight)
    ic, wc = contiguous(indices), contiguous(weight)
    m.count, m.table, m.width = indices.size, wc.shape[0], wc.shape[1]
    y = _empty((*indices.shape, m.width), weight.dtype)
    m.indices, m.in_, m.out = <const int64_t*>pointer(ic), pointer(wc), pointer(y)
    with nogil:
        dl_embedding_run(&m, dtype)
    return y, (indices, weight.shape, padding_idx)


def embedding_backward(dy, saved, needs):
    """dweight[v] = the sum of dy wherever indices == v; 0 for v = padding_idx."""
    indices, shape, padding_idx = saved
    if not needs[1]:
        return None, None
    values = contiguous(dy).reshape(indices.size, shape[1])
    padding = -1 if padding_idx is None else padding_idx % shape[0]
    scatter = _partial(scattered, shape, padding)
    return None, _scattered_in_pieces(scatter, contiguous(indices).reshape(-1), values, shape[0])


def scattered(shape, padding, indices, values):
    """dweight of `shape` from contiguous indices (M,) and values (M, D)."""
    cdef dl_embedding m
    cdef int dtype = is_double(values)
    dweight = _empty(shape, values.dtype)
    m.count, m.table, m.width, m.padding = indices.size, shape[0], shape[1], padding
    m.indices, m.in_, m.out = <const int64_t*>pointer(indices), pointer(values), pointer(dweight)
    with nogil:
        dl_embedding_back(&m, dtype)
    return dweight
