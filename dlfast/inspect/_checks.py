"""check_initial_loss and overfit_tiny_batch: the first two checks of a network, before it is trained for long."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn, optim
from ..nn.module import Module
from ..tensor import Tensor, unwrap
from ._confusion import named_classes
from ._figures import COLOURS, FAINT, Pictured, bare, figure
from ._setting import SAMPLE_ROWS, Sample, copy_of, is_classes, loss_of, sample_of

# How far the first loss may be above what a constant answer costs, as a share of it and besides. Logits of variance s
# add about s / 2 to a cross-entropy: usual initial values give logits of variance 1 at the most.
_SHARE, _BESIDES = 0.25, 0.25
_LEARNED = 0.1  # of the loss that a constant answer costs
_RATES = (3e-3, 3e-2, 3e-4)  # of Adam, in the order in which they are tried


@dataclass(frozen=True)
class InitialLoss:
    """The loss of a model as it stands, and what the same answer for every row would cost, None where unknown."""

    loss: float
    expected: float | None
    classes: int | None

    @property
    def ok(self) -> bool:
        """Whether the loss is finite and not far above the expected one; below it the model has learned already."""
        if self.expected is None or not math.isfinite(self.loss):
            return math.isfinite(self.loss)
        return self.loss <= (1 + _SHARE) * self.expected + _BESIDES * min(1.0, abs(self.expected))

    def __str__(self) -> str:
        if self.expected is None:
            return f"loss {self.loss:.4g}; what to expect of this loss is not known"
        which = f"ln({self.classes}) = " if self._is_logarithm else ""
        verdict = "about" if self.ok else "far above"
        if self.ok and self.loss < 0.75 * self.expected:
            verdict = "below, so it has learned,"
        return f"loss {self.loss:.4g}, {verdict} {which}{self.expected:.4g}, that of the same answer for every row"

    @property
    def _is_logarithm(self) -> bool:
        return bool(self.classes and self.expected and abs(self.expected - math.log(self.classes)) < 1e-3)


def check_initial_loss(
    model: Module, data: Any, loss: Callable | None = None, *, rows: int = SAMPLE_ROWS
) -> InitialLoss:
    """Whether a model that has learned nothing costs what it should: cross-entropy about ln(classes). Print the result.

    What to expect is the loss of the same answer for every row: no class likelier than another, or the mean of the
    targets, or 0. A loss far above it says that the first weights are too large, or that outputs and loss do not fit.
    data as in `fit`, loss(outputs, targets); None for `cross_entropy` where the targets are integers, else `mse_loss`.
    A copy of the model runs in training mode. Source: notes of CS231n, "Neural networks 3", sanity checks.
    """
    sample = sample_of("check_initial_loss", data, rows)
    return initial_loss_of(model, sample, loss_of("check_initial_loss", loss, sample))


def initial_loss_of(model: Module, sample: Sample, loss: Callable) -> InitialLoss:
    """`check_initial_loss` of rows at hand."""
    with copy_of("check_initial_loss", model, training=True) as copied, np.errstate(all="ignore"):
        given = copied(*sample.inputs)
        value = float(loss(given, sample.targets).item())
    outputs = unwrap(given)
    expected, classes = constant_loss(outputs, sample.targets, loss), classes_of(outputs, sample.targets)
    if classes is None and expected is not None:  # a network gives about 0 at first, whatever the mean of the targets
        expected = max(expected, float(loss(Tensor(np.zeros_like(outputs)), sample.targets).item()))
    return InitialLoss(value, expected, classes)


def classes_of(outputs: np.ndarray, targets: np.ndarray) -> int | None:
    """How many classes the outputs tell apart, None for numbers that are no classes."""
    binary = targets.shape == outputs.shape and bool(np.isin(targets, (0, 1)).all())
    return named_classes(outputs)[1] if is_classes(targets) or binary else None


def constant_loss(outputs: np.ndarray, targets: np.ndarray, loss: Callable) -> float | None:
    """What the loss makes of the same answer for every row, that of a model which knows nothing of its inputs."""
    if classes_of(outputs, targets) is None:
        same = np.broadcast_to(targets.mean(axis=0, keepdims=True), targets.shape)
    else:
        same = np.broadcast_to(_undecided(outputs), outputs.shape)
    try:
        value = float(loss(Tensor(np.ascontiguousarray(same, outputs.dtype)), targets).item())
    except Exception:  # whatever a loss of one's own does with an answer that is none of the model's
        return None
    return value if value > 0 else None  # one that an answer of this kind does not cost says nothing


def _undecided(outputs: np.ndarray) -> Any:
    """An output that prefers no class: of logits 0, of probabilities 1 / C, of their logarithms -ln C."""
    count = outputs.shape[-1] if outputs.ndim > 1 else 1
    if count > 1 and are_probabilities(outputs):
        return np.float64(1 / count)
    if count > 1 and are_probabilities(np.exp(np.minimum(outputs, 1))):
        return np.float64(-math.log(count))
    if outputs.min() > 0 and outputs.max() < 1:  # of a sigmoid
        return np.float64(0.5)
    return np.float64(0)


def are_probabilities(outputs: np.ndarray) -> bool:
    """Whether outputs (..., C) are those of a softmax: not below 0, with a sum of 1."""
    if outputs.ndim < 2 or outputs.shape[-1] < 2 or not np.isfinite(outputs).all():
        return False
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1, atol=1e-3))


@dataclass(frozen=True, repr=False)
class TinyBatch(Pictured):
    """Whether a copy `learned` its rows: the `losses` after each step with the learning rate that did best."""

    learned: bool
    losses: list[float]
    rows: int
    lr: float

    def __str__(self) -> str:
        verdict = "learned" if self.learned else "did not learn"
        return (
            f"{verdict} {self.rows} rows by heart: loss {self.losses[0]:.4g} -> {self.losses[-1]:.4g} in "
            f"{len(self.losses) - 1} steps of Adam, lr {self.lr:g}"
        )

    __repr__ = __str__

    def figure(self) -> Any:
        """The loss over the steps."""
        picture = figure(6.0, 3.0)
        axes = bare(picture.add_subplot())
        axes.plot(self.losses, color=COLOURS[0])
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.set(xlabel="step", ylabel=f"loss of {self.rows} rows")
        return picture


def overfit_tiny_batch(
    model: Module, data: Any, loss: Callable | None = None, *, rows: int = 16, steps: int = 200
) -> TinyBatch:
    """Whether the model can learn a few rows by heart, as every network that works can. Print the result, or plot it.

    A copy is trained on `rows` rows, with Adam at learning rates 0.003, 0.03 and 0.0003 in turn, until the loss is a
    tenth of that of a constant answer or every row is right; dropout is off. Of texts it learns 4 windows of 16 steps.
    The model stays as it is. Source: notes of CS231n, "Neural networks 3": "Overfit a tiny subset of data".
    """
    sample = sample_of("overfit_tiny_batch", data, rows)
    return tiny_batch_of(model, sample, loss_of("overfit_tiny_batch", loss, sample), steps)


def tiny_batch_of(model: Module, sample: Sample, loss: Callable, steps: int = 200) -> TinyBatch:
    """`overfit_tiny_batch` of rows at hand."""
    if is_text(sample):
        sample = Sample((sample.inputs[0][:4, :16],), sample.targets[:4, :16])
    tries = []
    for lr in _RATES:
        tries.append(_learn(model, sample, loss, lr, steps))
        if tries[-1].learned:
            return tries[-1]
    return min(tries, key=lambda tried: tried.losses[-1] if math.isfinite(tried.losses[-1]) else math.inf)


def is_text(sample: Sample) -> bool:
    """Whether each step of a sequence of codes has a code to predict."""
    first = sample.inputs[0]
    return len(sample.inputs) == 1 and first.ndim == 2 and is_classes(first) and first.shape == sample.targets.shape


def _learn(model: Module, sample: Sample, loss: Callable, lr: float, steps: int) -> TinyBatch:
    with copy_of("overfit_tiny_batch", model, training=True) as copied, np.errstate(all="ignore"):
        for module in copied.modules():
            if isinstance(module, (nn.Dropout, nn.Dropout1d)):
                module.eval()
        outputs = unwrap(copied(*sample.inputs))
        constant = constant_loss(outputs, sample.targets, loss)
        optimizer = optim.Adam(copied.requires_grad_().parameters(), lr=lr)
        losses: list[float] = []
        learned = False
        while not learned and len(losses) <= steps:
            outputs = copied(*sample.inputs)
            value = loss(outputs, sample.targets)
            losses.append(float(value.item()))
            if not math.isfinite(losses[-1]):
                break
            goal = _LEARNED * (losses[0] if constant is None else constant)
            learned = losses[-1] <= goal or _all_right(unwrap(outputs), sample.targets)
            if not learned:
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
    return TinyBatch(learned, losses, len(sample), lr)


def _all_right(outputs: np.ndarray, targets: np.ndarray) -> bool:
    """Whether every class is the one that is named."""
    if not is_classes(targets):
        return False
    taken, _ = named_classes(outputs)
    return taken.size == targets.size and bool((taken.reshape(-1) == targets.reshape(-1)).all())
