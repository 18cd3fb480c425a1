"""The classes of a data set: how many rows each has, weights that balance them, and a sampler that draws by weight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _check as check
from .. import random
from .._arrays import plain_array
from .batches import collate


def targets_of(data: Any) -> np.ndarray:
    """The targets of a data set or a pair (x, y) as one array: its last array, its `.targets`, or row by row.

    One array, or a list, is taken for the targets themselves. Raises TypeError for what has none.
    """
    if isinstance(data, np.ndarray):
        return data
    if isinstance(data, (tuple, list)):
        return plain_array(data[-1] if isinstance(data, tuple) else data)
    arrays = getattr(data, "arrays", None) or getattr(data, "tensors", None)
    if arrays is not None:
        if len(arrays) < 2:
            raise TypeError(f"the data set must have inputs and targets, got {data!r}")
        return plain_array(arrays[-1])
    if hasattr(data, "dataset") and hasattr(data, "indices"):  # a subset, PyTorch's too
        return targets_of(data.dataset)[np.asarray(data.indices)]
    if hasattr(data, "targets"):
        return plain_array(data.targets)
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise TypeError(f"expected a data set or an array of labels, got {type(data).__name__}")
    return collate([data[i][-1] for i in range(len(data))])


def class_labels(op: str, data: Any) -> np.ndarray:
    """The targets (N,), when they are classes: integers, booleans or strings. Raises TypeError and ValueError else."""
    labels = targets_of(data)
    if labels.ndim != 1:
        raise ValueError(f"{op}: labels must have shape (N,), got {labels.shape}")
    if labels.dtype.kind not in "iubUS":
        raise TypeError(f"{op}: labels of classes must be integers or names, got {labels.dtype}")
    return labels


def class_counts(data: Any, num_classes: int | None = None) -> np.ndarray:
    """How many rows each class has, int64 (K,), of a data set with labels 0..K-1, or of an array of such labels.

    num_classes: K; None: the largest label and 1. Raises ValueError for labels that are not in 0..K-1.
    """
    labels = class_labels("class_counts", data)
    if labels.dtype.kind in "US":
        raise TypeError("class_counts: labels must be numbers; names, labels = np.unique(labels, return_inverse=True)")
    if num_classes is None:
        num_classes = int(labels.max()) + 1 if len(labels) else 0
    count = check.integer("class_counts", "num_classes", num_classes, 0)
    labels = labels.astype(np.int64, copy=False)
    if len(labels):
        labels = check.indices("class_counts", "labels", labels, count)
    return np.bincount(labels, minlength=count)


def class_weights(data: Any, num_classes: int | None = None) -> np.ndarray:
    """Weights float32 (K,) by which all classes count alike: w[k] = N / (K n[k]), scikit-learn's "balanced".

    For ``F.cross_entropy(logits, y, weight=w)``; ``w[y]`` are weights of rows for `WeightedRandomSampler`.
    Raises ValueError where a class has no row. Source: King and Zeng 2001, "Logistic regression in rare events data".
    """
    counts = class_counts(data, num_classes)
    if not len(counts) or not counts.all():
        empty = ", ".join(map(str, np.flatnonzero(counts == 0).tolist())) or "none at all"
        raise ValueError(f"class_weights: each class must have rows; without any: {empty}")
    return (counts.sum() / (len(counts) * counts)).astype(np.float32)


class WeightedRandomSampler:
    """Draws ``num_samples`` row numbers, each with a probability proportional to its weight, anew in every pass.

    For ``DataLoader(dataset, sampler=...)``. weights (N,): one for each row, not negative, not all 0. replacement: rows
    may come more than once; without it at most as many may be drawn as have a weight above 0. Numbers come from
    dlfast's generator, or from a NumPy generator that is given. Raises ValueError and TypeError.
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: np.random.Generator | None = None,
    ) -> None:
        op = "WeightedRandomSampler"
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1 or not len(self.weights):
            raise ValueError(f"{op}: weights must have shape (N,) with at least one row, got {self.weights.shape}")
        if not np.isfinite(self.weights).all() or (self.weights < 0).any() or not self.weights.any():
            raise ValueError(f"{op}: weights must be finite, not negative and not all 0")
        self.num_samples = check.integer(op, "num_samples", num_samples, 1)
        self.replacement = bool(replacement)
        possible = int(np.count_nonzero(self.weights))
        if not replacement and num_samples > possible:
            raise ValueError(
                f"{op}: {num_samples} samples without replacement of {possible} rows with a weight above 0"
            )
        if generator is not None and not isinstance(generator, np.random.Generator):
            raise TypeError(f"{op}: generator must be a NumPy generator, got {type(generator).__name__}")
        self.generator = generator

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        generator = self.generator or random.generator()
        shares = self.weights / self.weights.sum()
        return iter(generator.choice(len(shares), self.num_samples, self.replacement, shares).tolist())
