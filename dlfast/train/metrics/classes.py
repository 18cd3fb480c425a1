"""Metrics of classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _check as check
from ... import functional as F
from ..._devices import beside, values_of
from ...tensor import no_grad, unwrap
from .base import NOTHING, Metric, logits_and_labels, predictions

AVERAGES = ("macro", "weighted", "micro", "binary")


class _Share(Metric):
    """The share of the targets that count for which something holds."""

    def reset(self) -> None:
        self.right, self.count = 0, 0

    def value(self) -> float:
        return self.right / self.count if self.count else NOTHING

    def merge(self, other) -> None:
        self.right, self.count = self.right + other.right, self.count + other.count


class Accuracy(_Share):
    """The share of the targets that are predicted."""

    name = "accuracy"
    reads_devices = True  # the largest of each row is found there

    def update(self, outputs, targets, ignored=None) -> None:
        predicted, labels, _ = predictions(self.name, outputs, targets, ignored)
        self.right += int(np.count_nonzero(predicted == labels))
        self.count += len(labels)


class TopK(_Share):
    """The share of the targets that are among the k largest outputs (..., C); of equal ones the first count first."""

    def __init__(self, k: int = 5):
        self.k = check.integer("TopK", "k", k, least=1)
        self.reset()

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"top{self.k}"

    def update(self, outputs, targets, ignored=None) -> None:
        outputs, labels, counted = logits_and_labels(self.name, outputs, targets, ignored)
        if outputs.shape[-1] < max(self.k, 2):
            raise ValueError(f"{self.name}: outputs must have at least {max(self.k, 2)} classes, got {outputs.shape}")
        outputs, labels = outputs[counted], labels[counted][:, None]
        own = np.take_along_axis(outputs, check.indices(self.name, "targets", labels, outputs.shape[-1]), axis=-1)
        ahead = ~(outputs <= own) | ((outputs == own) & (np.arange(outputs.shape[-1]) < labels))  # NaN is never right
        self.right += int((ahead.sum(axis=-1) < self.k).sum())
        self.count += len(labels)


class _ByClass(Metric):
    """A score of each class from its counts over the epoch, averaged over the classes:

    "macro"     the plain mean over those that occur among predictions or targets
    "weighted"  the mean weighted by how many targets they have
    "micro"     the score of the counts of all classes together
    "binary"    that of class 1 alone, of two

    A score whose divisor is 0 is 0, as in scikit-learn.
    """

    kind = ""
    reads_devices = True

    def __init__(self, average: str = "macro"):
        self.average = check.choice(type(self).__name__, "average", average, AVERAGES)
        self.reset()

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.kind if self.average == "macro" else f"{self.average}_{self.kind}"

    def reset(self) -> None:
        self.right = self.predicted = self.actual = np.zeros(0, np.int64)

    def update(self, outputs, targets, ignored=None) -> None:
        predicted, labels, classes = predictions(self.name, outputs, targets, ignored)
        if self.average == "binary" and classes > 2:
            raise ValueError(f"{self.name}: outputs must tell two classes apart, got {outputs.shape}")
        self.right = _added(self.right, predicted[predicted == labels], classes)
        self.predicted, self.actual = _added(self.predicted, predicted, classes), _added(self.actual, labels, classes)

    def value(self) -> float:
        if not self.actual.sum():
            return NOTHING
        if self.average == "micro":
            return float(self._score(self.right.sum(), self.predicted.sum(), self.actual.sum()))
        scores = self._score(self.right, self.predicted, self.actual)
        if self.average == "binary":
            return float(scores[1])
        weights = self.actual if self.average == "weighted" else self.predicted + self.actual > 0
        return float((scores * weights).sum() / weights.sum())

    def merge(self, other) -> None:
        for name in ("right", "predicted", "actual"):
            setattr(self, name, _sum(getattr(self, name), getattr(other, name)))

    def _score(self, right: Any, predicted: Any, actual: Any) -> Any:
        raise NotImplementedError


class Precision(_ByClass):
    """Of what is predicted as a class, the share that is of it: right / predicted."""

    __doc__ = f"{__doc__}\n{_ByClass.__doc__}"
    kind = "precision"

    def _score(self, right, predicted, actual):
        return right / np.maximum(predicted, 1)


class Recall(_ByClass):
    """Of what is of a class, the share that is predicted as it: right / actual."""

    __doc__ = f"{__doc__}\n{_ByClass.__doc__}"
    kind = "recall"

    def _score(self, right, predicted, actual):
        return right / np.maximum(actual, 1)


class F1(_ByClass):
    """The harmonic mean of precision and recall: 2 right / (predicted + actual)."""

    __doc__ = f"{__doc__}\n{_ByClass.__doc__}"
    kind = "f1"

    def _score(self, right, predicted, actual):
        return 2 * right / np.maximum(predicted + actual, 1)


class Perplexity(Metric):
    """exp of the mean cross-entropy of labels under softmax(outputs (..., C)), log-probabilities among them; the
    number of classes is that of guessing."""

    name = "perplexity"
    reads_devices = True

    def reset(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, outputs, targets, ignored=None) -> None:
        outputs, labels, counted = logits_and_labels(self.name, outputs, targets, ignored)
        if outputs.shape[-1] < 2:
            raise ValueError(f"{self.name}: outputs must have shape (..., C) with C classes, got {outputs.shape}")
        with no_grad():
            wanted = beside(np.where(counted, labels, -100).astype(np.int64), outputs)
            loss = F.cross_entropy(outputs, wanted, reduction="sum")
        self.total += float(loss.item())
        self.count += int(counted.sum())

    def merge(self, other) -> None:
        self.total, self.count = self.total + other.total, self.count + other.count

    def value(self) -> float:
        return float(np.exp(min(self.total / self.count, 700.0))) if self.count else NOTHING


def confusion_matrix(outputs: Any, targets: Any) -> np.ndarray:
    """How often what was predicted: int64 (C, C), rows are the targets' classes, columns the predicted ones.

    Of a whole data set: ``confusion_matrix(predict(model, x), y)``.
    """
    predicted, labels, classes = predictions(
        "confusion_matrix", np.asarray(values_of(unwrap(outputs))), np.asarray(values_of(unwrap(targets))), None
    )
    labels = check.indices("confusion_matrix", "targets", labels, classes)
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _added(counts: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Counts of the classes, and of these labels too."""
    if labels.dtype.kind == "f":
        labels = labels.astype(np.int64)
    return _sum(counts, np.bincount(labels, minlength=classes))


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sums of two lists of counts, of which one may be longer."""
    total = np.zeros(max(len(a), len(b)), np.int64)
    total[: len(a)] += a
    total[: len(b)] += b
    return total
