"""Metrics: what to measure of an epoch beside its loss, by the name here or as an object of the class.

    fit(..., metrics=["accuracy", "top5", "f1"])          evaluate(..., metrics=[F1("binary"), TopK(3)])
    metrics.f1(outputs, targets)                          of arrays, at once

Each gathers counts or sums over the batches of an epoch and takes its value from those, so that it is the one of all
rows together, whatever the size of the batches; a mean of the F1 or R^2 of batches is not.
Classes: outputs (..., C) are logits or probabilities, of which the largest is the prediction; one output, (..., 1) or
(N,), is a logit, above 0 for class 1. targets (...) or (..., 1) are labels, (..., C) one-hot vectors or probabilities.
Labels below 0 and the one that the loss ignores do not count. Where nothing counts a metric is NaN.
"""

import re as _re

from .base import Metric
from .classes import AVERAGES as _AVERAGES
from .classes import F1, Accuracy, Perplexity, Precision, Recall, TopK, confusion_matrix
from .numbers import R2, MeanAbsoluteError, MeanSquaredError

__all__ = [
    "F1", "R2", "Accuracy", "MeanAbsoluteError", "MeanSquaredError", "Metric", "Perplexity", "Precision", "Recall",
    "TopK", "accuracy", "confusion_matrix", "f1", "mae", "mse", "perplexity", "precision", "r2", "recall", "top5",
]  # fmt: skip

accuracy, precision, recall, f1, top5 = Accuracy(), Precision(), Recall(), F1(), TopK(5)
mae, mse, r2, perplexity = MeanAbsoluteError(), MeanSquaredError(), R2(), Perplexity()
_KNOWN = (accuracy, top5, precision, recall, f1, mae, mse, r2, perplexity)


def named(name: str) -> Metric:
    """The metric of that name: also top1, top2, ..., and binary_, micro_ and weighted_ before precision, recall, f1.

    Raises ValueError for an unknown one.
    """
    for metric in _KNOWN:
        if metric.name == name:
            return metric
    if number := _re.fullmatch(r"top([1-9]\d*)", name):
        return TopK(int(number[1]))
    average, _, kind = name.partition("_")
    for metric in (precision, recall, f1):
        if metric.kind == kind and average in _AVERAGES:
            return type(metric)(average)
    known = ", ".join(metric.name for metric in _KNOWN)
    raise ValueError(f"metrics: unknown metric {name!r}; known are {known}, or pass a function")
