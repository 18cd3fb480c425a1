"""How many targets the mean of a loss is over, for those who average over batches.

A mean over the targets that count, or over their weights, cannot be averaged by the sizes of batches: the loss of the
whole is sum(mean_i count_i) / sum(count_i), and only the loss function knows its count.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np

from . import _check as check
from ._devices import on_device, values_of


class Count(NamedTuple):
    """The sum of the weights of the targets that count, and the label of those that do not."""

    weight: float
    ignored: int


listeners: dict[int, list[Count]] = {}  # by thread; empty but while a loss is computed for a mean over batches


def counted(function: Callable, *arguments: Any) -> tuple[Any, list[Count]]:
    """What the function gives, and every mean that loss functions took in this thread meanwhile."""
    thread, counts = get_ident(), []  # type: ignore[var-annotated]
    before, listeners[thread] = listeners.get(thread), counts
    try:
        return function(*arguments), counts
    finally:
        if before is None:
            del listeners[thread]
        else:
            listeners[thread] = before


def tell(labels: np.ndarray, weight: np.ndarray | None, ignored: int) -> None:
    """Say that a mean is taken over these labels, with the weights of the classes or None."""
    heard = listeners.get(get_ident())
    if heard is not None:
        if on_device(labels):
            labels, weight = values_of(labels), None if weight is None else values_of(weight)
        if weight is None:
            total = check.count_of_others(labels, ignored)
        else:
            total = weight[labels[labels != ignored]].sum(dtype=np.float64)
        heard.append(Count(float(total), ignored))
