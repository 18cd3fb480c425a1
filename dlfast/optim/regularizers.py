"""Penalties on the weights, as the notes write them: Tensors that are added to the loss.

    penalty = regularizers.L2(1e-4)
    loss = F.cross_entropy(model(x), y) + penalty(model.parameters())

or ``fit(..., regularizers=[regularizers.L2(1e-4)])``. They go through the loss, so an optimizer that scales its
gradients (Adam, RMSprop) scales theirs as well; AdamW's ``weight_decay`` is the one that does not.
"""

from __future__ import annotations

import math
import typing as _typing

import numpy as np

from .. import _check as check
from .. import kernels
from .._devices import on_device
from .._suggest import missing as _missing
from ..kernels import Into, destination
from ..tensor import Tensor, record
from .clip import listed, sum_on_device

__all__ = ["L1", "L1L2", "L2"]


class L1L2:
    """The penalty l1 * sum |w| + l2 * sum w^2 (elastic net), whose gradient is l1 * sign(w) + 2 * l2 * w, sign(0) = 0.

    The sums run over every number of every weight: of the parameters with two axes or more, since biases and the
    factors of norms do not overfit; weights_only=False takes all. l1 and l2 >= 0. Each sum is one pass over the
    weights, without a copy, and each gradient one pass into the place where the optimizer reads it.

    Called with parameters, as from ``model.parameters()``, or with a model. Raises ValueError where none of them counts
    or they have several dtypes, TypeError for what is no Tensor. Source: Zou and Hastie, "Regularization and variable
    selection via the elastic net", 2005.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, *, weights_only: bool = True) -> None:
        self.l1 = check.number("L1L2", "l1", l1, 0, math.inf)
        self.l2 = check.number("L1L2", "l2", l2, 0, math.inf)
        self.weights_only = bool(weights_only)

    def __call__(self, parameters) -> Tensor:
        name = type(self).__name__
        given = listed(name, "parameters", parameters.parameters() if hasattr(parameters, "parameters") else parameters)
        for i, p in enumerate(given):
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: parameters[{i}] must be a Parameter, got {type(p).__name__}")
        weights = [p for p in given if p.ndim >= 2 or not self.weights_only]
        if not weights:
            raise ValueError(
                f"{name}: none of the {len(given)} parameters has two axes or more; weights_only=False takes all"
            )
        arrays = [p.data for p in weights]
        check.floats(name, [f"parameters[{i}]" for i in range(len(arrays))], arrays, len(arrays))
        y = np.full_like(arrays[0], self._value(arrays), shape=())
        return record(y, _penalty_backward, (self.l1, self.l2, arrays), weights, True)

    def _value(self, arrays: list[np.ndarray]) -> float:
        value = 0.0
        for strength, kind in ((self.l1, "abs"), (self.l2, "square")):
            if strength:
                flat = [a.reshape(-1) for a in arrays]
                if on_device(arrays[0]):
                    value += strength * sum_on_device(flat, kind == "abs")
                else:
                    value += strength * math.fsum(map(kernels.active_sum(kind), flat))
        return value

    def __repr__(self) -> str:
        extra = "" if self.weights_only else ", weights_only=False"
        return f"{type(self).__name__}({self._strengths()}{extra})"

    def _strengths(self) -> str:
        return f"l1={self.l1}, l2={self.l2}"


def _penalty_backward(dy, saved, needs):
    """dw = dy (l1 sign(w) + 2 l2 w)."""
    l1, l2, arrays = saved
    if on_device(dy):
        return [_slope_on_device(dy, l1, l2, w, need) if need else None for w, need in zip(arrays, needs, strict=True)]
    gradients: list[np.ndarray | None] = []
    for w, need in zip(arrays, needs, strict=True):
        if not need:
            gradients.append(None)
            continue
        dw = destination(need, w.shape, w.dtype)
        if l1:
            np.sign(w, out=dw)
            dw *= w.dtype.type(l1 * float(dy))
            if l2:
                dw += w.dtype.type(2 * l2 * float(dy)) * w
        else:
            np.multiply(w, w.dtype.type(2 * l2 * float(dy)), out=dw)
        gradients.append(dw)
    return gradients


def _slope_on_device(dy, l1, l2, w, need):
    """dw where dy lies on a device too, which nothing waits for."""
    dw = need.array if type(need) is Into else np.empty_like(w)
    if l1:
        np.sign(w, out=dw)
        dw *= l1
        if l2:
            dw += (2 * l2) * w
    else:
        np.multiply(w, 2 * l2, out=dw)
    dw *= dy
    return dw


class L1(L1L2):
    """The penalty strength * sum |w| (lasso): many weights become small. Its gradient is strength * sign(w).

    Which weights, and errors: as `L1L2`. Source: Tibshirani, "Regression shrinkage and selection via the lasso", 1996.
    """

    def __init__(self, strength: float, *, weights_only: bool = True) -> None:
        super().__init__(l1=check.number("L1", "strength", strength, 0, math.inf), weights_only=weights_only)
        self.strength = self.l1

    def _strengths(self) -> str:
        return f"{self.strength}"


class L2(L1L2):
    """The penalty strength * sum w^2 (ridge), whose gradient is 2 * strength * w.

    Mind the factor 2: ``weight_decay`` of SGD, Adam and the like adds weight_decay * w to the gradient, so
    L2(strength) is weight_decay = 2 * strength; weight_decay takes all parameters. Which weights, and errors: as
    `L1L2`. Source: Krogh and Hertz, "A simple weight decay can improve generalization", 1992.
    """

    def __init__(self, strength: float, *, weights_only: bool = True) -> None:
        super().__init__(l2=check.number("L2", "strength", strength, 0, math.inf), weights_only=weights_only)
        self.strength = self.l2

    def _strengths(self) -> str:
        return f"{self.strength}"


if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
