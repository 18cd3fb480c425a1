"""Means: loss and metrics of an epoch, of all its rows together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .._counting import Count
from ..tensor import unwrap
from .metrics import Metric, named
from .sources import Loader, first_targets


class Means:
    """Running means of losses, each weighted by what its batches weigh, and metrics; ``count`` counts rows."""

    def __init__(self, metrics: Mapping[str, Metric] | None = None):
        self.count = 0
        self._sums: dict[str, tuple[float, float]] = {}  # of weighted values, and of their weights
        self._metrics = {name: metric.fresh() for name, metric in (metrics or {}).items()}

    def add(self, name: str, value: float, weight: float) -> None:
        """Take the mean of a batch, with its weight; with a weight of 0 it does not count."""
        total, whole = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (total + value * weight, whole + weight) if weight else (total, whole)

    def measure(self, outputs: Any, targets: Any, counts: Sequence[Count] = ()) -> None:
        """Count the rows of a batch, and let the metrics see it. counts: what the loss said of its targets."""
        self.count += len(targets)
        if not self._metrics:  # outputs may be anything then
            return
        array, ignored = unwrap(outputs), {count.ignored for count in counts}
        for metric in self._metrics.values():
            metric.update(array, targets, next(iter(ignored)) if len(ignored) == 1 else None)

    def values(self) -> dict[str, float]:
        """The loss first, then the metrics; NaN where nothing has counted."""
        means = {name: total / (weight or float("nan")) for name, (total, weight) in self._sums.items()}
        first = {"loss": means.pop("loss")} if "loss" in means else {}
        return first | {name: metric.value() for name, metric in self._metrics.items()} | means

    def state_dict(self) -> dict:
        metrics = {name: metric.state_dict() for name, metric in self._metrics.items()}
        sums, weights = ({name: pair[i] for name, pair in self._sums.items()} for i in range(2))
        return {"count": self.count, "sums": sums, "weights": weights, "metrics": metrics}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a state; ValueError for that of other metrics."""
        if state["metrics"].keys() != self._metrics.keys():
            ours, theirs = (", ".join(names) or "none" for names in (self._metrics, state["metrics"]))
            raise ValueError(f"the epoch under way has the metrics {theirs}; give metrics= as before, not {ours}")
        self.count = int(state["count"])
        self._sums = {name: (total, state["weights"][name]) for name, total in state["sums"].items()}
        for name, metric in self._metrics.items():
            metric.load_state_dict(state["metrics"][name])


class _BatchMean(Metric):
    """The mean of what a function gives for each batch, weighted by rows."""

    def __init__(self, function: Callable):
        self._function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self.reset()

    def reset(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, outputs, targets, ignored=None) -> None:
        self.total += float(self._function(outputs, targets)) * len(targets)
        self.count += len(targets)

    def value(self) -> float:
        return self.total / self.count if self.count else float("nan")

    def state_dict(self) -> dict:
        return {"total": self.total, "count": self.count}


def metrics_by_name(metrics: Any, loader: Loader) -> dict[str, Metric]:
    """What `fit` and `evaluate` are given: names, `Metric` objects, functions; None is accuracy where targets are
    integers. Raises ValueError for an unknown name and for two of one name, TypeError for what is none.
    """
    if metrics is None:
        metrics = ("accuracy",) if np.asarray(first_targets(loader)).dtype.kind in "iu" else ()
    found: dict[str, Metric] = {}
    for given in (metrics,) if isinstance(metrics, str) or callable(metrics) else metrics:
        metric = _metric(given)
        if metric.name in found:
            raise ValueError(f"metrics: {metric.name!r} is there twice")
        found[metric.name] = metric
    return found


def _metric(given: Any) -> Metric:
    if isinstance(given, str):
        return named(given)
    if isinstance(given, Metric):
        return given
    if isinstance(given, type):
        raise TypeError(f"metrics: {given.__name__} must be made: {given.__name__}()")
    if not callable(given):
        raise TypeError(f"metrics: expected names, Metric objects or functions, got {given!r}")
    return _BatchMean(given)
