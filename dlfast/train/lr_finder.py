"""lr_find: the range of learning rates at which a model learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from .. import _check as check
from .. import random
from .._files import write_atomically
from ..optim import Optimizer
from ..tensor import Tensor
from .checking import check_augment, check_loss, check_model, check_optimizer
from .evaluation import batch_loss
from .placing import Place
from .sources import Loader, as_loader

_FEWEST = 5  # losses that a slope can be told from
_SMOOTHING = 0.8


@dataclass(frozen=True)
class LRFind:
    """Losses by learning rate: ``rates``, ``losses``, and ``smoothed`` by an exponential mean forth and back, so that
    it is not late; ``suggestion``: the rate where the loss falls fastest, None where it does not fall. ``diverged``
    says whether the sweep ended since the loss ran away.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float | None
    diverged: bool

    def plot(self, path) -> None:
        """Draw the losses over the rates into an image file, whose suffix says the format.

        Raises ImportError without matplotlib (the extra ``plots``).
        """
        from ..inspect._figures import COLOURS, FAINT, bare, figure

        picture = figure(6, 3.5)
        axes = bare(picture.add_subplot())
        axes.plot(self.rates, self.losses, color=FAINT, linewidth=0.8, label="of a batch")
        axes.plot(self.rates, self.smoothed, color=COLOURS[0], label="smoothed")
        if self.suggestion is not None:
            axes.axvline(self.suggestion, color=COLOURS[1], linestyle="--", label=f"suggested: {self.suggestion:.2g}")
        low, high = self.smoothed.min(), max(self.smoothed[0], np.median(self.smoothed))
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.set_ylim(low - 0.2 * (high - low + 1e-12), high + 0.8 * (high - low + 1e-12))
        axes.legend()
        write_atomically(path, picture.savefig)

    def __str__(self) -> str:
        sweep = f"{len(self.rates)} rates from {self.rates[0]:.2g} to {self.rates[-1]:.2g}"
        end = ", where the loss ran away" if self.diverged else ""
        if self.suggestion is None:
            return f"lr_find: {sweep}{end}: the loss falls at none of them"
        return f"lr_find: {sweep}{end}: the loss falls fastest at {self.suggestion:.2g}"


def lr_find(
    model,
    train,
    *,
    loss: Callable | None = None,
    optimizer: Optimizer | None = None,
    start: float = 1e-6,
    end: float = 1.0,
    steps: int = 100,
    stop: float = 4.0,
    batch_size: int = 32,
    shuffle: bool = True,
    augment: Callable | None = None,
) -> LRFind:
    """Try learning rates on ``model`` and give the losses with a suggestion; nothing is changed in the end.

        rate(i) = start (end / start)^(i / (steps - 1)),   one update at each rate

    until the loss is NaN or infinite, or its running mean ``stop`` times the least so far. The suggestion is where the
    smoothed loss falls fastest over the logarithm of the rate; a schedule may take it as its highest rate. Groups of
    other rates than the first keep their ratio to it. ``train``, ``loss``, ``optimizer``, ``augment`` are as in `fit`;
    batches begin anew where there are fewer than steps. Weights, buffers, gradients, optimizer and dlfast's random
    numbers are restored to the bit, whatever happens.
    Raises ValueError and TypeError for arguments that do not fit, and where the first loss is not finite.
    Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3.
    """
    check_model("lr_find", model)
    check_loss("lr_find", loss)
    optimizer = check_optimizer("lr_find", model, optimizer)
    check_augment("lr_find", augment)
    start = check.number("lr_find", "start", start, 0, math.inf, low_open=True)
    end = check.number("lr_find", "end", end, start, math.inf, low_open=True)
    steps = check.integer("lr_find", "steps", steps, least=2 * _FEWEST)
    stop = check.number("lr_find", "stop", stop, 1, math.inf, low_open=True)
    loader = as_loader("train", train, check.integer("lr_find", "batch_size", batch_size, least=1), shuffle=shuffle)
    rates = start * (end / start) ** np.linspace(0, 1, steps)
    losses: list[float] = []
    with _restored(model, optimizer):
        for value in _sweep(model, loader, loss, optimizer, augment, rates):
            if not math.isfinite(value):
                break
            losses.append(value)
            means = _mean(losses)
            if len(losses) > _FEWEST and means[-1] > stop * means.min():
                break
    if not losses:
        raise ValueError("lr_find: the loss of the first batch is NaN or infinite; `fit` says which layer made it so")
    return _result(rates[: len(losses)], np.array(losses), len(losses) < steps)


def _sweep(model, loader: Loader, loss, optimizer: Optimizer, augment, rates: np.ndarray) -> Iterator[float]:
    """The loss of a batch at each rate, before its update."""
    first = optimizer.param_groups[0]["lr"]
    ratios = [group["lr"] / first if first else 1.0 for group in optimizer.param_groups]
    batches = _endless(loader)
    for rate in rates:
        for group, ratio in zip(optimizer.param_groups, ratios):
            group["lr"] = float(rate * ratio)
        value = _next_loss(model, islice(batches, 2 * len(loader)), loss, augment)
        yield value.item()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()


def _next_loss(model, batches: Iterator[tuple], loss: Callable, augment: Callable | None) -> Tensor:
    """The loss of the next batch in which a target counts."""
    place = Place(model)
    for *inputs, targets in batches:
        if augment is not None:
            inputs[0] = augment(inputs[0])
        *inputs, targets = place.put((*inputs, targets))
        value, weight, _ = batch_loss("lr_find", loss, model(*inputs), targets)
        if weight:
            return value
    raise ValueError("lr_find: no target of train counts, the loss ignores them all")


def _endless(loader: Loader) -> Iterator[tuple]:
    while True:
        yield from loader


@contextmanager
def _restored(model, optimizer: Optimizer) -> Iterator[None]:
    """Training mode, after which everything is as before."""
    weights, state, numbers = model.state_dict(), optimizer.state_dict(), random.get_state()
    held = [p for group in optimizer.param_groups for p in group["params"]]
    parameters = list({id(p): p for p in (*model.parameters(), *held)}.values())
    gradients = [None if p.grad is None else p.grad.copy() for p in parameters]
    outside = [(p, p.data.copy()) for p in held]  # a loss may have parameters that the model has not
    modes, norm = [(module, module.training) for module in model.modules()], optimizer.grad_norm
    if not model.training:
        model.train()
    try:
        yield
    finally:
        model.load_state_dict(weights)
        for p, values in outside:
            p.data = values
        optimizer.load_state_dict(state)
        random.set_state(numbers)
        for p, gradient in zip(parameters, gradients):
            p.grad = gradient
        for module, training in modes:
            module.training = training
        optimizer.grad_norm = norm


def _result(rates: np.ndarray, losses: np.ndarray, diverged: bool) -> LRFind:
    smoothed = _mean(_mean(losses)[::-1])[::-1]
    suggestion = None
    least = int(smoothed.argmin())
    if least >= _FEWEST:
        slopes = np.gradient(smoothed[: least + 1], np.log(rates[: least + 1]))
        suggestion = float(rates[slopes.argmin()]) if slopes.min() < 0 else None
    return LRFind(rates, losses, smoothed, suggestion, diverged)


def _mean(values: Any) -> np.ndarray:
    """Exponential means, corrected for their start: m <- b m + (1 - b) v,  m / (1 - b^i)."""
    mean, means = 0.0, []
    for i, value in enumerate(values, start=1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        means.append(mean / (1 - _SMOOTHING**i))
    return np.array(means)
