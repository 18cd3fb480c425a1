"""Loss, metrics and predictions of a model as it stands: no tape, evaluation mode, nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from ..data import ArrayDataset, DataLoader
from ..tensor import no_grad


def evaluate(model, data, *, loss: Callable | None = None, metrics=None, batch_size: int = 256) -> dict[str, float]:
    """Mean loss and metrics of ``model`` over ``data``: ``{"loss": ..., "accuracy": ...}``.

    ``data`` is a data set, a pair (x, y) of arrays or a `DataLoader`; ``loss(outputs, targets)`` gives the mean of a
    batch. ``metrics`` are names (``"accuracy"``) or functions ``metric(outputs, targets) -> mean of the batch`` of
    arrays; None means accuracy where the targets are integers, else none.
    """
    loader = as_loader("data", data, batch_size)
    functions = metric_functions(metrics, loader.dataset)
    means = Means()
    with evaluating(model):
        for *inputs, targets in loader:
            outputs = model(*inputs)
            values = {"loss": loss(outputs, targets).item()} if loss is not None else {}
            means.add(len(targets), values | measure(functions, outputs, targets))
    return means.values()


def predict(model, x, *, batch_size: int = 256) -> np.ndarray:
    """Outputs of ``model`` for all rows of ``x``, an array, or a data set of inputs and targets (targets unused)."""
    arrays = x.arrays if isinstance(x, ArrayDataset) else (x,)
    inputs = ArrayDataset(*(arrays[:-1] or arrays))
    batches = DataLoader(inputs, batch_size) if len(inputs) else [inputs[:]]
    with evaluating(model):
        return np.concatenate([model(*batch).numpy() for batch in batches])


@contextmanager
def evaluating(model) -> Iterator[None]:
    """No tape and evaluation mode; afterwards each module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


class Means:
    """Running means of named values, weighted by the size of each batch."""

    def __init__(self):
        self.count = 0
        self._sums: dict[str, float] = {}

    def add(self, size: int, values: dict[str, float]) -> None:
        self.count += size
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * size

    def values(self) -> dict[str, float]:
        return {name: total / self.count for name, total in self._sums.items()}


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Share of rows whose largest output, along the last axis, is the one that the target names."""
    return float((outputs.argmax(axis=-1) == targets).mean())


_METRICS = {"accuracy": accuracy}


def metric_functions(metrics, dataset) -> dict[str, Callable]:
    """Name -> function. Raises ValueError for an unknown name."""
    if metrics is None:
        targets = dataset[np.arange(min(1, len(dataset)))][-1]
        metrics = ("accuracy",) if targets.dtype.kind in "iu" else ()
    functions = {}
    for metric in (metrics,) if isinstance(metrics, str) else metrics:
        if not callable(metric) and metric not in _METRICS:
            raise ValueError(f"metrics: unknown metric {metric!r}; known are {', '.join(_METRICS)}, or pass a function")
        name = metric.__name__ if callable(metric) else metric
        functions[name] = metric if callable(metric) else _METRICS[metric]
    return functions


def measure(functions: dict[str, Callable], outputs, targets) -> dict[str, float]:
    return {name: float(function(outputs.numpy(), targets)) for name, function in functions.items()}


def as_loader(name: str, data, batch_size: int, **options) -> DataLoader:
    """A loader over ``data``, which is given back if it is one. ValueError where there is nothing to learn from."""
    if not isinstance(data, DataLoader):
        dataset = ArrayDataset(*data) if isinstance(data, (tuple, list)) else data
        data = DataLoader(dataset, batch_size, **options)
    if not len(data):
        raise ValueError(f"{name} has no batches: {len(data.dataset)} rows in batches of {data.batch_size}")
    if isinstance(data.dataset, ArrayDataset) and len(data.dataset.arrays) < 2:
        raise ValueError(f"{name} must have inputs and targets, got {data.dataset!r}")
    return data
