"""Update: what lies between the losses of batches and a step of the optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import _check as check
from ..amp import GradScaler
from ..optim import Optimizer
from ..tensor import Parameter, Tensor
from .ranks import Alone


class NonFiniteGradient(FloatingPointError):
    """A penalty or a gradient, the message says which, became NaN or infinite; nothing has been updated."""


class Update:
    """Steps of the optimizer by the gradient of the mean loss over ``accumulate`` batches, and of penalties:

        g = sum_i w_i g_i / sum_i w_i + d(penalty),   w_i what batch i weighs in a mean over batches

    which is that of one batch with all their rows; then clip_grad_value limits each number, and clip_grad_norm the
    common norm, in the optimizer's own pass. Raises ValueError and TypeError for arguments that do not fit.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        accumulate: int = 1,
        clip_grad_norm: float | None = None,
        clip_grad_value: float | None = None,
        regularizers: Any = (),
        ranks: Alone | None = None,
        scaler: GradScaler | None = None,
    ):
        self.optimizer = optimizer
        self.accumulate = check.integer("fit", "accumulate", accumulate, least=1)
        self._norm, self._value = _bound("clip_grad_norm", clip_grad_norm), _bound("clip_grad_value", clip_grad_value)
        self._regularizers = _regularizers(regularizers)
        self._own_norm = optimizer.clip_grad_norm
        self._ranks = ranks or Alone()
        self._scaler = scaler or GradScaler(enabled=False)
        self.penalty: float | None = None  # of the latest update, where there are regularizers
        self.begin()

    @contextmanager
    def clipping(self) -> Iterator[None]:
        """The optimizer clips as asked for; afterwards as it did before."""
        if self._norm is not None:
            self.optimizer.clip_grad_norm = self._norm
        try:
            yield
        finally:
            if self._norm is not None:
                self.optimizer.clip_grad_norm = self._own_norm

    def optimizer_state(self) -> dict:
        """The optimizer's state with its own clipping, not that asked for here."""
        state = self.optimizer.state_dict()
        return state if self._norm is None else {**state, "clip_grad_norm": self._own_norm}

    def begin(self) -> None:
        """Begin a group of batches, without what an interrupted one may have left."""
        self._batches, self._weight = 0, 0.0

    def add(self, loss: Tensor | None, weight: float, total: float) -> None:
        """Take the gradient of a batch, or of a rank's part of it; with a weight of 0 nothing counts in it.

        total: the weight of the batch on all ranks, that of this one among them.
        """
        self._batches += 1
        if not total:
            return
        if not self._weight:
            self.optimizer.zero_grad()
        self._weight += total
        if loss is not None and (weight or self._ranks.sync_batch_norm):
            share = weight / total if self.accumulate == 1 else weight
            _go_back(loss, share * self._scaler.get_scale())

    def due(self, last: bool) -> bool:
        """Whether the group is whole; the last batch of an epoch makes it so."""
        return self._batches >= self.accumulate or (last and self._batches > 0)

    def prepare(self) -> bool:
        """End the group: whether there is anything to learn from; `penalty` is that of the regularizers.

        Raises NonFiniteGradient, before anything is updated, where a gradient is NaN or infinite. Where losses are
        scaled, there is nothing to learn from it then, and the scale becomes smaller, unless it is 1 or below.
        """
        weight, self._batches, self._weight = self._weight, 0, 0.0
        if not weight:
            return False
        if self.accumulate > 1:
            for gradient in self.optimizer.flat_gradients():
                gradient *= 1 / weight
        self._ranks.sum_gradients(self.optimizer)
        if self._regularizers:
            self.penalty = self._penalize()
            if not math.isfinite(self.penalty):
                raise NonFiniteGradient("the penalty of the regularizers")
        self._gradient_norm = self.optimizer.gradient_norm()  # one pass, which finds NaN and infinity too
        if not math.isfinite(self._gradient_norm) and self._faulty():
            if self._scaler.get_scale() > 1:
                self._scaler.adapt(overflowed=True)
                return False
            raise NonFiniteGradient("a gradient")
        return True

    def step(self) -> None:
        """Update the weights by what `prepare` left."""
        scale = self._scaler.get_scale()
        if self._value is None and getattr(self.optimizer.step, "__func__", None) is Optimizer.step:
            self.optimizer.step_by(self._gradient_norm, 1 / scale)
        else:  # the norm is another one now, or it is a step of the user's own
            if scale != 1:
                self.optimizer.multiply_gradients(1 / scale)
            if self._value is not None:
                for gradient in self.optimizer.flat_gradients():
                    np.clip(gradient, -self._value, self._value, out=gradient)
            self.optimizer.step()
        self._scaler.adapt(overflowed=False)

    def _penalize(self) -> float:
        parameters, total = self._parameters(), 0.0
        for regularizer in self._regularizers:
            penalty = regularizer(parameters)
            if not isinstance(penalty, Tensor) or penalty.size != 1:
                raise TypeError(
                    f"fit: a regularizer must give a Tensor of one number, {regularizer!r} gave {penalty!r}"
                )
            _go_back(penalty, self._scaler.get_scale())
            total += float(penalty.item())
        return total

    def _faulty(self) -> bool:
        """Whether a gradient is not finite; a norm may also be infinite since squares of float64 overflow."""
        return not all(bool(np.isfinite(p.grad).all()) for p in self._parameters() if p.grad is not None)

    def _parameters(self) -> list[Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]


def _go_back(loss: Tensor, weight: float) -> None:
    """Add the gradient of the loss times a weight."""
    loss.backward(None if weight == 1 else np.full_like(loss.data, weight))


def _bound(name: str, value: float | None) -> float | None:
    return None if value is None else check.number("fit", name, value, 0, math.inf, low_open=True)


def _regularizers(given: Any) -> list[Callable]:
    regularizers = [given] if callable(given) else list(given or ())
    for regularizer in regularizers:
        if isinstance(regularizer, type) or not callable(regularizer):
            raise TypeError(f"fit: regularizers must be made, as in optim.regularizers.L2(1e-4), got {regularizer!r}")
    return regularizers
