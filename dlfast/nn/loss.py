"""Losses as layers; equations and shapes in `functional`. They have no parameters."""

from __future__ import annotations

import numpy as np

from .. import _check as check
from .. import functional as F
from ..functional._loss import REDUCTIONS
from ..tensor import ArrayLike, Tensor, unwrap
from .module import Module


class _Loss(Module):
    """Keeps the reduction: "mean", "sum" or "none"."""

    weight: np.ndarray | None

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = check.choice(type(self).__name__, "reduction", reduction, REDUCTIONS)

    def _keep(self, name: str, weights: ArrayLike | None) -> None:
        """Weights that move with the module and belong to no state."""
        self.register_buffer(name, None if weights is None else unwrap(weights), persistent=False)


class CrossEntropyLoss(_Loss):
    """-log softmax(logits)[target]: logits (..., C), target (...) integer labels or (..., C) probabilities."""

    def __init__(
        self,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self._keep("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = check.number(
            "CrossEntropyLoss", "label_smoothing", label_smoothing, 0, 1, high_closed=True
        )

    def forward(self, logits: ArrayLike, target: ArrayLike) -> Tensor:
        return F.cross_entropy(logits, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(_Loss):
    """-log_probs[target]: log_probs (..., C), target (...) integer labels, weight (C,) of the classes."""

    def __init__(self, weight: ArrayLike | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._keep("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, log_probs: ArrayLike, target: ArrayLike) -> Tensor:
        return F.nll_loss(log_probs, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(_Loss):
    """(x - target)^2."""

    def forward(self, x: ArrayLike, target: ArrayLike) -> Tensor:
        return F.mse_loss(x, target, self.reduction)


class L1Loss(_Loss):
    """|x - target|."""

    def forward(self, x: ArrayLike, target: ArrayLike) -> Tensor:
        return F.l1_loss(x, target, self.reduction)


class HuberLoss(_Loss):
    """Quadratic up to a distance of delta, linear beyond."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = check.number("HuberLoss", "delta", delta, 0, float("inf"), low_open=True)

    def forward(self, x: ArrayLike, target: ArrayLike) -> Tensor:
        return F.huber_loss(x, target, self.reduction, self.delta)


class SmoothL1Loss(_Loss):
    """Quadratic up to a distance of beta, with slope 1 beyond: HuberLoss over its delta."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = check.number("SmoothL1Loss", "beta", beta, 0, float("inf"))

    def forward(self, x: ArrayLike, target: ArrayLike) -> Tensor:
        return F.smooth_l1_loss(x, target, self.reduction, self.beta)


class KLDivLoss(Module):
    """target (log target - x) for logarithms of probabilities x; reduction: also "batchmean", for the first axis."""

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        self.reduction = check.choice("KLDivLoss", "reduction", reduction, (*REDUCTIONS, "batchmean"))
        self.log_target = bool(log_target)

    def forward(self, x: ArrayLike, target: ArrayLike) -> Tensor:
        return F.kl_div(x, target, self.reduction, self.log_target)


class BCELoss(_Loss):
    """-(target log x + (1 - target) log(1 - x)) for probabilities x."""

    def __init__(self, weight: ArrayLike | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._keep("weight", weight)

    def forward(self, x: ArrayLike, target: ArrayLike) -> Tensor:
        return F.binary_cross_entropy(x, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """-(pos_weight target log p + (1 - target) log(1 - p)) with p = sigmoid(x), stable for any x."""

    pos_weight: np.ndarray | None

    def __init__(
        self, weight: ArrayLike | None = None, reduction: str = "mean", pos_weight: ArrayLike | None = None
    ) -> None:
        super().__init__(reduction)
        self._keep("weight", weight)
        self._keep("pos_weight", pos_weight)

    def forward(self, x: ArrayLike, target: ArrayLike) -> Tensor:
        return F.binary_cross_entropy_with_logits(x, target, self.weight, self.reduction, self.pos_weight)
