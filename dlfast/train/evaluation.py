"""Loss, metrics and predictions of a model as it stands: no tape, evaluation mode, nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from .._counting import Count, counting
from ..nn import Module
from ..tensor import Tensor, no_grad, unwrap
from .sources import Loader, as_loader, first_targets, input_batches


def evaluate(model, data, *, loss: Callable | None = None, metrics=None, batch_size: int = 256) -> dict[str, float]:
    """Mean loss and metrics of ``model`` over ``data``: ``{"loss": ..., "accuracy": ...}``.

    ``data`` is as in `fit`; ``loss(outputs, targets)`` gives the mean of a batch. ``metrics`` are names
    (``"accuracy"``) or functions ``metric(outputs, targets) -> mean of the batch`` of arrays; None means accuracy where
    the targets are integers, else none. Means are over rows, or for `cross_entropy` and `nll_loss` over the targets
    that count, with their weights: whatever the size of the batches, they are those of the whole.
    """
    if loss is not None:
        check_loss("evaluate", loss)
    check_model("evaluate", model)
    loader = as_loader("data", data, batch_size)
    functions = metric_functions(metrics, loader)
    means = Means()
    with evaluating(model):
        for *inputs, targets in loader:
            outputs = model(*inputs)
            counts: Sequence[Count] = ()
            values = {}
            if loss is not None:
                value, weight, counts = batch_loss("evaluate", loss, outputs, targets)
                values = {"loss": (value.item(), weight)}
            means.add(len(targets), values | measure(functions, outputs, targets, counts))
    return means.values()


def predict(model, x, *, batch_size: int = 256) -> np.ndarray:
    """Outputs of ``model`` for all rows of ``x``: an array, a table, lists of numbers; or a data set or loader of
    inputs and targets (targets unused)."""
    check_model("predict", model)
    with evaluating(model):
        return np.concatenate([unwrap(model(*batch)) for batch in input_batches(x, batch_size)])


def check_model(op: str, model) -> None:
    """Raise TypeError for what is no model, but perhaps a class of them."""
    if not isinstance(model, Module):
        made = f"; make one: {model.__name__}(...)" if isinstance(model, type) else ""
        raise TypeError(f"{op}: model must be a Module, got {model if made else type(model).__name__}{made}")


def check_loss(op: str, loss) -> Callable:
    """`loss`, which must be a function, not a class of them. Raises TypeError."""
    if loss is None:
        raise TypeError(f"{op}: loss is missing: loss=F.cross_entropy for classes, loss=F.mse_loss for numbers")
    if isinstance(loss, type):
        raise TypeError(f"{op}: loss must be made: loss={loss.__name__}(), got the class")
    if not callable(loss):
        raise TypeError(f"{op}: loss must be a function of outputs and targets, got {type(loss).__name__}")
    return loss


def batch_loss(op: str, loss: Callable, outputs, targets) -> tuple[Tensor, float, Sequence[Count]]:
    """The loss of a batch, what it weighs in a mean over batches, and what its functions said of their targets."""
    with counting() as counts:
        value = loss(outputs, targets)
    if not isinstance(value, Tensor) or value.size != 1:
        got = f"a Tensor of shape {value.shape}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise TypeError(f"{op}: loss must give a Tensor of one number (reduction='mean'), got {got}")
    weights = {count.weight for count in counts}
    return value, weights.pop() if len(weights) == 1 else len(targets), counts


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
    """Running means of named values, each weighted by what its batches weigh; ``count`` is the number of rows."""

    def __init__(self):
        self.count = 0
        self._sums: dict[str, float] = {}
        self._weights: dict[str, float] = {}

    def add(self, size: int, values: dict[str, tuple[float, float]]) -> None:
        """Take the means of a batch of ``size`` rows, each with its weight; with a weight of 0 it does not count."""
        self.count += size
        for name, (value, weight) in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + (value * weight if weight else 0.0)
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def values(self) -> dict[str, float]:
        """NaN where nothing has counted."""
        return {name: total / (self._weights[name] or float("nan")) for name, total in self._sums.items()}

    def state_dict(self) -> dict:
        return {"count": self.count, "sums": dict(self._sums), "weights": dict(self._weights)}

    def load_state_dict(self, state: dict) -> None:
        self.count = int(state["count"])
        self._sums, self._weights = dict(state["sums"]), dict(state["weights"])


def accuracy(outputs: np.ndarray, targets: np.ndarray, ignored: int | None = None) -> tuple[float, int]:
    """Share of the targets that the outputs (..., C) name, and how many targets count: none below 0, nor `ignored`.

    The prediction is the largest output along the last axis; where there is only one, a logit, (..., 1) or (N,), it is
    whether that is above 0. Targets (...) or (..., 1) are labels, targets (..., C) one-hot vectors or probabilities.
    """
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    classes = outputs.shape[-1] if outputs.ndim else 0
    if targets.shape == outputs.shape and classes > 1:
        targets = targets.argmax(axis=-1)
    elif targets.shape == (*outputs.shape[:-1], 1):
        targets = targets[..., 0]
    if classes == 0 or targets.shape != outputs.shape[:-1]:
        raise ValueError(
            f"accuracy: outputs must have shape (..., C) and targets (...), got {outputs.shape} and {targets.shape}"
        )
    if classes == 1 and targets.size and targets.max() > 1:
        raise ValueError(
            f"accuracy: one output, of shape {outputs.shape}, tells two classes apart, labels 0 and 1, got the label "
            f"{targets.max()}; give metrics=[] where this is no classification"
        )
    predicted = outputs[..., 0] > 0 if classes == 1 else outputs.argmax(axis=-1)
    counted = targets >= 0 if ignored is None else (targets >= 0) & (targets != ignored)
    count = int(counted.sum())
    return float(((predicted == targets) & counted).sum() / max(count, 1)), count


_METRICS = {"accuracy": accuracy}


def metric_functions(metrics, loader: Loader) -> dict[str, Callable]:
    """Name -> function. Raises ValueError for an unknown name."""
    if metrics is None:
        metrics = ("accuracy",) if np.asarray(first_targets(loader)).dtype.kind in "iu" else ()
    functions = {}
    for metric in (metrics,) if isinstance(metrics, str) or callable(metrics) else metrics:
        if not callable(metric) and metric not in _METRICS:
            raise ValueError(f"metrics: unknown metric {metric!r}; known are {', '.join(_METRICS)}, or pass a function")
        name = getattr(metric, "__name__", type(metric).__name__) if callable(metric) else metric
        functions[name] = metric if callable(metric) else _METRICS[metric]
    return functions


def measure(
    functions: dict[str, Callable], outputs, targets, counts: Sequence[Count] = ()
) -> dict[str, tuple[float, float]]:
    """The metrics of a batch and what each weighs. counts: what the loss said of its targets."""
    if not functions:  # outputs may be anything then
        return {}
    array, ignored = unwrap(outputs), {count.ignored for count in counts}
    measured: dict[str, tuple[float, float]] = {}
    for name, function in functions.items():
        if function is accuracy:
            measured[name] = accuracy(array, targets, ignored.pop() if len(ignored) == 1 else None)
        else:
            measured[name] = float(function(array, targets)), len(targets)
    return measured
