"""Embedding: rows of a table. V rows, D features.

The operations are defined in `kernels/reference/embedding.py`.
"""

from __future__ import annotations

from ..memory import empty
from ..sums import scattered_in_pieces
from .jit import contiguous, helper, jit, parallel_for
from .loops import BLOCK, SERIAL, get, pointer, put

PARTS = 16  # ranges of the table that jobs of the backward work on


@helper(noalias=True)
def _copy_row(x, y, size):
    for c in range(size):
        put(y, c, get(x, c))


@helper(noalias=True)
def _add_row(x, y, size):
    for c in range(size):
        put(y, c, get(y, c) + get(x, c))


@helper
def _gather_job(job, worker, indices, weight, y, per_job):
    size = weight.shape[1]
    for i in range(job * per_job, min((job + 1) * per_job, indices.size)):
        _copy_row(pointer(weight, indices[i] * size), pointer(y, i * size), size)


@jit
def _gather(indices, weight, y, per_job):
    parallel_for(_gather_job, -(-indices.size // per_job), (indices, weight, y, per_job), y.size < SERIAL)


def embedding_forward(indices, weight, *, padding_idx):
    features = weight.shape[1]
    y = empty((*indices.shape, features), weight.dtype)
    if y.size:
        _gather(contiguous(indices).ravel(), contiguous(weight), y.ravel(), max(1, BLOCK // features))
    return y, (indices, weight.shape, padding_idx)


@helper
def _scatter_job(job, worker, indices, dy, dweight, padding_idx, per_job):
    """The rows of one range of the table: zero, then every dy that belongs to them, in order."""
    size = dweight.shape[1]
    start, stop = job * per_job, min((job + 1) * per_job, dweight.shape[0])
    for k in range(start * size, stop * size):
        put(dweight, k, 0)
    for i in range(indices.size):
        row = indices[i]
        if start <= row < stop and row != padding_idx:
            _add_row(pointer(dy, i * size), pointer(dweight, row * size), size)


@jit
def _scatter(indices, dy, dweight, padding_idx, per_job):
    arguments = (indices, dy, dweight, padding_idx, per_job)
    parallel_for(_scatter_job, -(-dweight.shape[0] // per_job), arguments, dy.size + dweight.size < SERIAL)


def embedding_backward(dy, saved, needs):
    indices, weight_shape, padding_idx = saved
    if not needs[1]:
        return None, None
    if 0 in weight_shape:
        return None, empty(weight_shape, dy.dtype)
    padding, rows = -1 if padding_idx is None else padding_idx % weight_shape[0], -(-weight_shape[0] // PARTS)

    def scatter(indices, values):
        dweight = empty(weight_shape, dy.dtype)
        _scatter(indices, values.ravel(), dweight, padding, rows)
        return dweight

    values = contiguous(dy).reshape(indices.size, weight_shape[1])
    return None, scattered_in_pieces(scatter, contiguous(indices).ravel(), values, weight_shape[0])
