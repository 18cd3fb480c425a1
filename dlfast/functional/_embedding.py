"""Embedding tables and one-hot vectors. V rows, D features."""

from __future__ import annotations

import numpy as np

from .. import _check as check
from .._devices import beside
from ..tensor import ArrayLike, Tensor, arrays_of, run, unwrap


def embedding(indices: ArrayLike, weight: ArrayLike, padding_idx: int | None = None) -> Tensor:
    """Rows of a table: y[...] = weight[indices[...]].

    indices (...) integers in 0..V-1, weight (V, D), y (..., D). The row padding_idx gets no gradient.
    Raises TypeError for indices that are no integers and dtypes of weight other than float32 and float64, ValueError
    for indices out of range and a weight without two axes.
    """
    i, w = arrays_of((indices, weight))
    check.given("embedding", ("indices", "weight"), (i, w))
    check.is_float("embedding", "weight", w)
    check.rank("embedding", "weight", w, "V, D")
    rows = w.shape[0]
    i = check.indices("embedding", "indices", i, rows)
    if padding_idx is not None:
        padding_idx = check.integer("embedding", "padding_idx", padding_idx, -rows)
        if padding_idx >= rows:
            raise ValueError(f"embedding: padding_idx must be in {-rows}..{rows - 1}, got {padding_idx}")
        padding_idx %= rows
    return run("embedding", (None, weight), (i, w), {"padding_idx": padding_idx})


def one_hot(labels: ArrayLike, num_classes: int, dtype=np.float32) -> Tensor:
    """Vectors of zeros with a one at the label: labels (...) integers in 0..C-1, y (..., C), C = num_classes.

    Raises TypeError for labels that are no integers, ValueError for labels out of range.
    """
    classes = check.integer("one_hot", "num_classes", num_classes, 1)
    check.given("one_hot", ("labels",), (labels,))
    i = check.indices("one_hot", "labels", unwrap(labels), classes)
    check.room("one_hot", (*i.shape, classes))
    return Tensor((i[..., None] == beside(np.arange(classes), i)).astype(dtype))
