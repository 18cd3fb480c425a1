"""The evidence that `doctor` judges by: rows of the data, runs of copies of the model, and the history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from ..nn.loss import CrossEntropyLoss
from ..nn.module import Module
from ..optim import Optimizer
from ..tensor import Tensor, no_grad, unwrap
from ._checks import InitialLoss, TinyBatch, initial_loss_of, is_text, tiny_batch_of
from ._gradients import GradientFlow, flow_of
from ._setting import Sample, copy_of, loss_of, sample_of
from ._signal import Signal, labels_of, signal_of
from ._trial import Trial, fresh_trial_of, trial_of
from ._units import DeadUnits, units_of

_DATA_ROWS = 2000  # for what needs no model
_TEXT_ROWS = 48  # windows, each with many targets
_MODEL_ROWS, _GRADIENT_ROWS, _TINY_ROWS = 256, 128, 16


@dataclass
class Evidence:
    """rows: many, of the data alone; sample: fewer, which the model has seen, with its `outputs` for them."""

    model: Module
    loss: Callable
    rows: Sample
    sample: Sample
    train: list[float]
    val: list[float]
    columns: dict[str, list[float]]
    outputs: np.ndarray | None = None
    val_outputs: tuple[np.ndarray, np.ndarray] | None = None
    gradients: GradientFlow | None = None
    units: DeadUnits | None = None
    initial: InitialLoss | None = None
    tiny: TinyBatch | None = None
    signal: Signal | None = None
    trial: Trial | None = None
    fresh_trial: Trial | None = None
    ignorant: float | None = None

    @property
    def trained(self) -> bool:
        """Whether there is a history of training."""
        return bool(self.train)

    @property
    def reference(self) -> float | None:
        """What a network costs that has learned nothing: the most of what a constant answer and a first one would."""
        first = None if self.initial is None else self.initial.expected
        known = [value for value in (self.ignorant, first) if value is not None]
        return max(known) if known else None


def first_evidence(model: Module, data: Any, history: Any, loss: Callable | None) -> Evidence:
    """The rows and the history; nothing has run yet."""
    rows = sample_of("doctor", data, _DATA_ROWS)
    chosen = np.sort(np.random.default_rng(1).permutation(len(rows))[: _TEXT_ROWS if is_text(rows) else _MODEL_ROWS])
    columns = _columns(history)
    train, val = columns.get("train_loss", []), columns.get("val_loss", [])
    return Evidence(model, loss_of("doctor", loss, rows), rows, rows.rows(chosen), train, val, columns)


def _columns(history: Any) -> dict[str, list[float]]:
    """The columns of a `History`, or of a list of its epochs."""
    epochs = getattr(history, "epochs", history) or []
    if not all(isinstance(epoch, dict) for epoch in epochs):
        raise TypeError(f"doctor: history must be a History, as fit returns it, got {type(history).__name__}")
    return {name: [float(epoch[name]) for epoch in epochs if name in epoch] for name in (epochs[0] if epochs else ())}


def gather(found: Evidence, optimizer: Optimizer | None, val: Any) -> None:
    """Run copies of the model: everything that can be measured on finite data and finite weights."""
    model, sample, loss = found.model, found.sample, found.loss
    found.outputs = outputs_of(model, sample)
    found.ignorant = ignorant_loss(found.outputs, sample.targets, loss)
    found.initial = initial_loss_of(model, sample, loss)
    found.gradients = flow_of(model, sample.rows(slice(_GRADIENT_ROWS)), loss, optimizer)
    found.units = units_of(model, sample)
    found.signal = signal_of(found.rows, found.outputs)
    if np.isfinite(found.initial.loss):
        found.tiny = tiny_batch_of(model, sample.rows(slice(_TINY_ROWS)), loss)
    if optimizer is not None:
        reference, some = found.reference or found.initial.loss, sample.rows(slice(_GRADIENT_ROWS))
        found.trial = trial_of(model, some, loss, optimizer, 0.3 * reference)
        if found.trained and not found.train[-1] < 0.9 * reference:  # nothing learned: is it the weights, or the rate?
            found.fresh_trial = fresh_trial_of(model, some, loss, optimizer)
    if val is not None:
        judged = sample_of("doctor", val, len(sample) if is_text(sample) else _MODEL_ROWS)
        found.val_outputs = outputs_of(model, judged), judged.targets


def outputs_of(model: Module, sample: Sample) -> np.ndarray:
    """What the model gives in evaluation mode."""
    with copy_of("doctor", model, training=False) as copied, no_grad(), np.errstate(all="ignore"):
        return unwrap(copied(*sample.inputs))


def ignorant_loss(outputs: np.ndarray, targets: np.ndarray, loss: Callable) -> float | None:
    """What the loss makes of the best answer that is the same for every row: how often each class is, or the mean.

    For cross-entropy that is the entropy of the labels, -sum_c p_c ln p_c.
    """
    labels = labels_of(outputs, targets)
    if labels is None:
        same: Any = targets.mean(axis=0, keepdims=True)
    elif outputs.ndim < 2 or outputs.shape[-1] == 1:
        share = np.clip(labels.mean(), 1e-3, 1 - 1e-3)
        same = np.log(share / (1 - share)) if not _between_0_and_1(outputs) else share
    else:
        counts = np.bincount(labels[labels >= 0].reshape(-1), minlength=outputs.shape[-1]) + 1e-3
        shares = counts / counts.sum()
        same = shares if _between_0_and_1(outputs) else np.log(shares)
    shape = outputs.shape if labels is not None else targets.shape
    try:
        answer = np.ascontiguousarray(np.broadcast_to(same, shape), outputs.dtype)
        return float(loss(Tensor(answer), targets).item())
    except Exception:  # whatever a loss of one's own does with an answer that is none of the model's
        return None


def _between_0_and_1(outputs: np.ndarray) -> bool:
    return bool((outputs >= 0).all() and (outputs <= 1).all())


def is_cross_entropy(loss: Callable) -> bool:
    """Whether the loss applies the softmax itself."""
    loss = getattr(loss, "func", loss)  # a functools.partial
    return loss is F.cross_entropy or isinstance(loss, CrossEntropyLoss)
