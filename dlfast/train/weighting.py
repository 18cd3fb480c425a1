"""Weights of the classes, given to the loss of a classifier."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from .._devices import beside, on_device, remember
from ..nn import CrossEntropyLoss, NLLLoss
from ..tensor import unwrap
from .sources import Loader, all_targets

_FUNCTIONS = (F.cross_entropy, F.nll_loss)
_LAYERS = (CrossEntropyLoss, NLLLoss)


def weighted_loss(loss: Callable, class_weight: Any, loader: Loader) -> Callable:
    """``loss`` with the weights of the classes: an array (C,), or "balanced":

        weight[c] = n / (K n_c),   n targets, of which n_c are of class c; K classes that occur

    which gives every class the same say (scikit-learn's formula). Raises TypeError for a loss that takes no weights of
    classes, ValueError for one that has its own and for weights that are none.
    """
    if class_weight is None:
        return loss
    ignored = _ignored_label(loss)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f'fit: class_weight must be "balanced" or an array of weights, got {class_weight!r}')
        return _Weighted(loss, _balanced(np.asarray(all_targets(loader)), ignored), padded=True)
    weights = np.asarray(class_weight)
    if weights.dtype.kind not in "fiu":
        raise TypeError(f"fit: class_weight must hold numbers, one for each class in order, got {class_weight!r}")
    if weights.ndim != 1 or not len(weights) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"fit: class_weight must hold a weight of at least 0 for each class, got {class_weight!r}")
    return _Weighted(loss, weights, padded=False)


def _ignored_label(loss: Callable) -> int:
    """The label that does not count, of a loss to which weights can be given."""
    keywords = loss.keywords if isinstance(loss, functools.partial) else {}
    function = loss.func if isinstance(loss, functools.partial) and not loss.args else loss
    if isinstance(loss, _LAYERS):
        keywords = vars(loss)
    elif function not in _FUNCTIONS:
        raise TypeError(
            "fit: class_weight goes with the losses F.cross_entropy, F.nll_loss, nn.CrossEntropyLoss and nn.NLLLoss, "
            f"got {getattr(loss, '__name__', type(loss).__name__)}; weigh the classes in the loss itself"
        )
    if keywords.get("weight") is not None:
        raise ValueError("fit: class_weight is given, and the loss has a weight of its own; leave one of them out")
    return keywords.get("ignore_index", -100)


def _balanced(targets: np.ndarray, ignored: int) -> np.ndarray:
    if targets.dtype.kind not in "iu":
        raise ValueError(f"fit: class_weight='balanced' counts integer targets, got targets of dtype {targets.dtype}")
    counts = np.bincount(targets[(targets >= 0) & (targets != ignored)].astype(np.int64, copy=False))
    present = counts > 0
    return np.where(present, counts.sum() / (max(present.sum(), 1) * np.maximum(counts, 1)), 1.0)


class _Weighted:
    """A loss that is called with the weights, in the dtype of the outputs; padded: with 1 for classes never seen."""

    def __init__(self, loss: Callable, weights: np.ndarray, padded: bool):
        self._loss: Any = copy.copy(loss)  # a layer is not to be changed
        self._weights, self._padded = weights, padded
        self._there: Any = None  # the weights, and a copy of them on a device

    def __call__(self, outputs: Any, targets: Any) -> Any:
        weights = self._beside(unwrap(outputs))
        if not isinstance(self._loss, _LAYERS):
            return self._loss(outputs, targets, weight=weights)
        self._loss.weight = weights
        return self._loss(outputs, targets)

    def _beside(self, outputs: Any) -> Any:
        """The weights where the outputs lie."""
        weights = self._fitting(outputs)
        if not on_device(outputs):
            return weights
        if self._there is None or self._there[0] is not weights or self._there[1].device is not outputs.device:
            self._there = weights, beside(weights, outputs)
            remember(self._there[1], weights)
        return self._there[1]

    def _fitting(self, outputs: np.ndarray) -> np.ndarray:
        missing = outputs.shape[-1] - len(self._weights) if outputs.ndim else 0
        if missing > 0 and self._padded:
            self._weights = np.append(self._weights, np.ones(missing))
        elif missing:
            raise ValueError(
                f"fit: class_weight has {len(self._weights)} weights, the outputs of the model, of shape "
                f"{outputs.shape}, tell {outputs.shape[-1:]} classes apart"
            )
        if self._weights.dtype != outputs.dtype:
            self._weights = self._weights.astype(outputs.dtype)
        return self._weights
