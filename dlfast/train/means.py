"""Means: loss and metrics of an epoch, of all its rows together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._counting import Count
from .._devices import values_of
from ..distributed import Communicator
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
        self.add_total(name, value * weight, weight)

    def add_total(self, name: str, total: float, weight: float) -> None:
        """Take the sum of a batch, weight times its mean."""
        before, whole = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (before + total, whole + weight) if weight else (before, whole)

    def measure(self, outputs: Any, targets: Any, counts: Sequence[Count] = (), rows: float | None = None) -> None:
        """Count the rows of a batch, and let the metrics see it. counts: what the loss said of its targets; rows: those
        of all ranks, of which the metrics see this one's."""
        self.count += len(targets) if rows is None else int(rows)
        if not self._metrics or outputs is None:  # outputs may be anything where nothing is measured
            return
        array, wanted, ignored = unwrap(outputs), values_of(unwrap(targets)), {count.ignored for count in counts}
        here = values_of(array) if not all(metric.reads_devices for metric in self._metrics.values()) else array
        for metric in self._metrics.values():
            label = next(iter(ignored)) if len(ignored) == 1 else None
            metric.update(array if metric.reads_devices else here, wanted, label)

    def values(self) -> dict[str, float]:
        """The loss first, then the metrics; NaN where nothing has counted."""
        means = {name: total / (weight or float("nan")) for name, (total, weight) in self._sums.items()}
        first = {"loss": means.pop("loss")} if "loss" in means else {}
        return first | {name: metric.value() for name, metric in self._metrics.items()} | means

    def metrics(self) -> Iterable[Metric]:
        return self._metrics.values()

    def join(self, comm: Communicator) -> None:
        """Count in, on every rank, what the other ranks have seen."""
        sums = comm.all_gather_object((self.count, self._sums))
        self.count, self._sums = 0, {}
        for count, of_rank in sums:
            self.count += count
            for name, (total, whole) in of_rank.items():
                self.add_total(name, total, whole)
        self.join_metrics(comm)
        for metric in self._metrics.values():
            metric.load_state_dict(comm.broadcast_object(metric.state_dict()))

    def join_metrics(self, comm: Communicator) -> None:
        """Let the metrics of rank 0 count in what those of the other ranks have seen, which begin anew."""
        for metric in self._metrics.values():
            states = comm.all_gather_object(metric.state_dict())
            others = [metric.fresh() for _ in states[1:]]
            for other, state in zip(others, states[1:], strict=True):
                other.load_state_dict(state)
                if comm.rank == 0:
                    metric.merge(other)
            if comm.rank:
                metric.reset()

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

    def merge(self, other) -> None:
        self.total, self.count = self.total + other.total, self.count + other.count

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
