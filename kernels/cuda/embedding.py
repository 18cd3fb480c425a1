"""Embedding: rows of a table. The operation is defined in `kernels/reference/embedding.py`.

Backward, a block makes a token: where an earlier token has the same row it leaves at once, else it adds the gradients
of all that have it, in their order: no atomics, so that the bits are always the same. An index of no row, for which
nobody has looked on the CPU, gives NaN and gets nothing.
"""

from __future__ import annotations

import math

from .cast import cast
from .dialect import cuda, i32, kernel, real, real_dtype
from .loops import THREADS, destination

NAN = math.nan
SCAN = 128  # threads of a block, and tokens that it looks at in one turn


@kernel("lppiii", moved=lambda indices, weight, y, *sizes: indices.nbytes + 2 * y.nbytes)
def take(indices, weight, y, rows, features, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        row = indices[i // features]
        y[i] = weight[row * features + i % features] if row >= 0 and row < rows else real(NAN)


@kernel("lpsiiiw", moved=lambda indices, dy, dweight, *sizes: indices.nbytes + 3 * dy.nbytes)
def scatter(indices, dy, dweight, rows, features, tokens, padding):
    same = cuda.shared.array(SCAN, i32)
    t = cuda.threadIdx.x
    token = cuda.blockIdx.x
    row = indices[token]
    seen = 0
    for first in range(0, token, SCAN):  # is there an earlier one?
        same[t] = i32(1) if first + t < token and indices[first + t] == row else i32(0)
        cuda.syncthreads()
        for k in range(SCAN):
            seen += same[k]
        cuda.syncthreads()
        if seen > 0:
            break
    if seen == 0 and row != padding and row >= 0 and row < rows:
        for first in range(token, tokens, SCAN):
            same[t] = i32(1) if first + t < tokens and indices[first + t] == row else i32(0)
            cuda.syncthreads()
            for k in range(SCAN):
                if same[k] == 1:
                    for d in range(t, features, SCAN):
                        dweight[row * features + d] += dy[(first + k) * features + d]
            cuda.syncthreads()


@kernel("pi")
def clear(y, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        y[i] = real(0)


def embedding_forward(indices, weight, *, padding_idx):
    features = weight.shape[1]
    y = weight.device.empty((*indices.shape, features), weight.dtype)
    take((-(-y.size // THREADS), 1, 1), THREADS, indices, weight, y, *weight.shape, y.size)
    return y, (indices, weight.shape, padding_idx)


def embedding_backward(dy, saved, needs):
    indices, shape, padding_idx = saved
    if not needs[1]:
        return None, None
    dweight = destination(needs[1], shape, dy.device, real_dtype(dy.dtype))
    clear((-(-dweight.size // THREADS), 1, 1), THREADS, dweight, dweight.size)
    if dweight.size:
        padding = -1 if padding_idx is None else padding_idx
        scatter((indices.size, 1, 1), SCAN, indices, dy, dweight, *shape, indices.size, padding)
    return None, cast(dweight, dy.dtype)
