"""What metrics share: their state over an epoch, and how outputs and targets of classes are read."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..._devices import values_of
from ...tensor import unwrap

NOTHING = float("nan")  # the value where nothing counts


class Metric:
    """A measure of an epoch. A subclass gives its ``name``, `reset`, `update` and `value`, and to measure what several
    ranks see `merge`; all attributes are its state and must be numbers, strings, arrays, or None. Called with outputs
    and targets it measures those alone.
    """

    name = "metric"
    reads_devices = False  # whether `update` takes outputs that lie on a device; targets always come from the CPU

    def reset(self) -> None:
        """Begin an epoch, with new arrays."""
        raise NotImplementedError(f"{type(self).__name__} must define reset")

    def update(self, outputs: np.ndarray, targets: np.ndarray, ignored: int | None = None) -> None:
        """Take a batch in; ignored: a label that does not count."""
        raise NotImplementedError(f"{type(self).__name__} must define update")

    def value(self) -> float:
        """Of all batches since `reset`."""
        raise NotImplementedError(f"{type(self).__name__} must define value")

    def merge(self, other: Metric) -> None:
        """Count in what another one like this has seen: for several ranks, each of which sees its own rows."""
        raise NotImplementedError(f"{type(self).__name__} must define merge(other) to measure what several ranks see")

    def fresh(self) -> Metric:
        """Another one like this, that has seen nothing."""
        other = copy.copy(self)
        other.reset()
        return other

    def __call__(self, outputs: Any, targets: Any) -> float:
        other = self.fresh()
        other.update(np.asarray(values_of(unwrap(outputs))), np.asarray(values_of(unwrap(targets))))
        return other.value()

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)


def predictions(op: str, outputs, targets, ignored: int | None) -> tuple[np.ndarray, np.ndarray, int]:
    """What is predicted and what is right for the targets that count, flat, and the number of classes."""
    outputs, labels, counted = logits_and_labels(op, outputs, targets, ignored)
    classes = outputs.shape[-1]
    if classes == 1 and labels.size and labels.max() > 1:
        raise ValueError(
            f"{op}: one output, of shape {outputs.shape}, tells two classes apart, labels 0 and 1, got the label "
            f"{labels.max()}; give metrics=[] where this is no classification"
        )
    predicted = values_of(outputs[..., 0] > 0 if classes == 1 else outputs.argmax(axis=-1))
    if not counted.all():
        predicted, labels = predicted[counted], labels[counted]
    return predicted.astype(np.int64, copy=False).reshape(-1), labels.reshape(-1), max(classes, 2)


def logits_and_labels(op: str, outputs, targets, ignored: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """outputs (..., C), labels (...), and which of them count."""
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    classes = outputs.shape[-1] if outputs.ndim else 0
    if targets.shape == outputs.shape and classes > 1:
        targets = targets.argmax(axis=-1)
    elif targets.shape == (*outputs.shape[:-1], 1):
        targets = targets[..., 0]
    if classes == 0 or targets.shape != outputs.shape[:-1]:
        raise ValueError(
            f"{op}: outputs must have shape (..., C) and targets (...), got {outputs.shape} and {targets.shape}"
        )
    counted = targets >= 0
    return outputs, targets, counted if ignored is None or ignored < 0 else counted & (targets != ignored)
