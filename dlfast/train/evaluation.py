"""Loss, metrics and predictions of a model as it stands: no tape, evaluation mode, nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from .._counting import Count, counted
from ..distributed import Communicator
from ..tensor import Tensor, no_grad
from .checking import check_loss, check_model
from .means import Means, metrics_by_name
from .placing import Place, as_array
from .ranks import ranks_of
from .sources import as_loader, input_batches


def evaluate(
    model,
    data,
    *,
    loss: Callable | None = None,
    metrics=None,
    batch_size: int = 256,
    distributed: bool | Communicator = False,
) -> dict[str, float]:
    """Mean loss and metrics of ``model`` over ``data``: ``{"loss": ..., "accuracy": ...}``.

    ``data`` is as in `fit`; ``loss(outputs, targets)`` gives the mean of a batch. ``metrics`` are names (accuracy,
    top5, precision, recall, f1, mae, mse, r2, perplexity), objects of `train.metrics`, or functions ``metric(outputs,
    targets) -> mean of the batch`` of arrays; None means accuracy where the targets are integers, else none. The loss
    is the mean over rows, or for `cross_entropy` and `nll_loss` over the targets that count, with their weights. Loss
    and metrics are those of the whole, whatever the size of the batches; of a function it is the mean over rows.
    distributed: share the rows out among the ranks, as `fit` does; all get the same result.
    """
    if loss is not None:
        check_loss("evaluate", loss)
    check_model("evaluate", model)
    ranks = ranks_of("evaluate", distributed)
    loader = ranks.share(as_loader("data", data, batch_size))
    means = Means(metrics_by_name(metrics, loader))
    place = Place(model)
    place.take(loss)
    with evaluating(model):
        for *inputs, targets in place.batches(loader, iter(loader)):
            if ranks.comm.size > 1 and not len(targets):
                continue
            outputs = model(*inputs)
            counts: Sequence[Count] = ()
            if loss is not None:
                value, weight, counts = batch_loss("evaluate", loss, outputs, targets)
                means.add("loss", value.item(), weight)
            means.measure(outputs, targets, counts)
    ranks.join(means)
    return means.values()


def predict(model, x, *, batch_size: int = 256) -> np.ndarray:
    """Outputs of ``model`` for all rows of ``x``: an array, a table, lists of numbers; or a data set or loader of
    inputs and targets (targets unused). They lie on the CPU, wherever the model computes."""
    check_model("predict", model)
    place = Place(model)
    with evaluating(model):
        return np.concatenate([as_array(model(*place.put(batch))) for batch in input_batches(x, batch_size)])


def batch_loss(op: str, loss: Callable, outputs, targets) -> tuple[Tensor, float, Sequence[Count]]:
    """The loss of a batch, what it weighs in a mean over batches, and what its functions said of their targets."""
    value, counts = counted(loss, outputs, targets)
    if not isinstance(value, Tensor) or value.data.size != 1:
        got = f"a Tensor of shape {value.shape}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise TypeError(f"{op}: loss must give a Tensor of one number (reduction='mean'), got {got}")
    if len(counts) == 1:
        return value, counts[0].weight, counts
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
