"""How many targets the mean of a loss is over, for those who average over batches.

A mean over the targets that count, or over their weights, cannot be averaged by the sizes of batches: the loss of the
whole is sum(mean_i count_i) / sum(count_i), and only the loss function knows its count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import NamedTuple

import numpy as np


class Count(NamedTuple):
    """The sum of the weights of the targets that count, and the label of those that do not."""

    weight: float
    ignored: int


listeners: dict[int, list[Count]] = {}  # by thread; empty but while a loss is computed for a mean over batches


@contextmanager
def counting() -> Iterator[list[Count]]:
    """Hear of every mean that loss functions take in this thread."""
    thread = get_ident()
    before, heard = listeners.get(thread), []  # type: ignore[var-annotated]
    listeners[thread] = heard
    try:
        yield heard
    finally:
        if before is None:
            del listeners[thread]
        else:
            listeners[thread] = before


def tell(labels: np.ndarray, weight: np.ndarray | None, ignored: int) -> None:
    """Say that a mean is taken over these labels, with the weights of the classes or None."""
    heard = listeners.get(get_ident())
    if heard is not None:
        counted = labels[labels != ignored]
        total = counted.size if weight is None else weight[counted].sum(dtype=np.float64)
        heard.append(Count(float(total), ignored))
