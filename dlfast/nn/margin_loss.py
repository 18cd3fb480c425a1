"""Losses of similarity, margins and likelihoods as layers; equations in `functional`. They have no parameters."""

from __future__ import annotations

from .. import functional as F
from ..tensor import ArrayLike, Tensor
from .loss import _Loss
from .module import Module


class CosineSimilarity(Module):
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along axis, which may be called dim; in PyTorch that is the second."""

    def __init__(self, axis: int = -1, eps: float = 1e-8, *, dim: int | None = None) -> None:
        self.axis, self.eps = axis if dim is None else dim, eps

    def forward(self, x1: ArrayLike, x2: ArrayLike) -> Tensor:
        return F.cosine_similarity(x1, x2, self.axis, self.eps)


class CosineEmbeddingLoss(_Loss):
    """1 - cos(x1, x2) where target is 1, max(0, cos(x1, x2) - margin) where it is -1."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, x1: ArrayLike, x2: ArrayLike, target: ArrayLike) -> Tensor:
        return F.cosine_embedding_loss(x1, x2, target, self.margin, self.reduction)


class MarginRankingLoss(_Loss):
    """max(0, margin - target (x1 - x2)), target +-1."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, x1: ArrayLike, x2: ArrayLike, target: ArrayLike) -> Tensor:
        return F.margin_ranking_loss(x1, x2, target, self.margin, self.reduction)


class HingeEmbeddingLoss(_Loss):
    """x where target is 1, max(0, margin - x) where it is -1."""

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, x: ArrayLike, target: ArrayLike) -> Tensor:
        return F.hinge_embedding_loss(x, target, self.margin, self.reduction)


class SoftMarginLoss(_Loss):
    """log(1 + exp(-target x)), target +-1."""

    def forward(self, x: ArrayLike, target: ArrayLike) -> Tensor:
        return F.soft_margin_loss(x, target, self.reduction)


class MultiMarginLoss(_Loss):
    """sum over c != target of max(0, margin - x[target] + x[c])^p / C, the hinge loss of C classes."""

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: ArrayLike | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.p, self.margin = p, margin
        self._keep("weight", weight)

    def forward(self, x: ArrayLike, target: ArrayLike) -> Tensor:
        return F.multi_margin_loss(x, target, self.p, self.margin, self.weight, self.reduction)


class TripletMarginLoss(_Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin)."""

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, bool(swap)

    def forward(self, anchor: ArrayLike, positive: ArrayLike, negative: ArrayLike) -> Tensor:
        options = self.margin, self.p, self.eps, self.swap, self.reduction
        return F.triplet_margin_loss(anchor, positive, negative, *options)


class PoissonNLLLoss(_Loss):
    """exp(x) - target x, or x - target log(x + eps) for log_input=False."""

    def __init__(self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.log_input, self.full, self.eps = bool(log_input), bool(full), eps

    def forward(self, x: ArrayLike, target: ArrayLike) -> Tensor:
        return F.poisson_nll_loss(x, target, self.log_input, self.full, self.eps, self.reduction)


class GaussianNLLLoss(_Loss):
    """(log v + (x - target)^2 / v) / 2, v = max(var, eps)."""

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full, self.eps = bool(full), eps

    def forward(self, x: ArrayLike, target: ArrayLike, var: ArrayLike) -> Tensor:
        return F.gaussian_nll_loss(x, target, var, self.full, self.eps, self.reduction)
