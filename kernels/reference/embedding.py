"""Embedding: rows of a table. V rows, D features."""

import numpy as np

from ..sums import scattered


def embedding_forward(indices, weight, *, padding_idx):
    """y[...] = weight[indices[...]]: indices (...) int64 in 0..V-1, weight (V, D), y (..., D).

    padding_idx (or None) matters in the backward alone.
    """
    return np.take(weight, indices, axis=0), (indices, weight.shape, padding_idx)


def embedding_backward(dy, saved, needs):
    """dweight[v] = the sum of dy wherever indices == v; 0 for v = padding_idx."""
    indices, weight_shape, padding_idx = saved
    if not needs[1]:
        return None, None
    dweight = scattered(weight_shape, indices.reshape(-1), dy.reshape(indices.size, weight_shape[1]))
    if padding_idx is not None:
        dweight[padding_idx] = 0
    return None, dweight
