"""The fully connected layer."""

from __future__ import annotations

import math

import numpy as np

from .. import _check as check
from .. import functional as F
from .. import init
from ..functional._linear import FUSED_ACTIVATIONS
from ..tensor import ArrayLike, Parameter, Tensor
from . import packed
from .module import Module


class Affine(Module):
    """What Linear and the convolutions share: a weight, a bias or None, an activation in the same pass."""

    activation: str | None
    weight: Parameter
    bias: Parameter | None

    def _make_parameters(self, shape: tuple[int, ...], outputs: int, bias: bool) -> None:
        self.weight = Parameter(np.empty(shape, np.float32))
        self.bias = Parameter(np.empty(outputs, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform in +-1/sqrt(fan_in), PyTorch's default."""
        limit = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
        init.uniform_(self.weight, -limit, limit)
        if self.bias is not None:
            init.uniform_(self.bias, -limit, limit)

    def forward(self, x: ArrayLike, activation: str | None = None) -> Tensor:
        """activation: one for a layer that has none of its own, as `Sequential` hands over the one that follows."""
        raise NotImplementedError


class Linear(Affine):
    """y = act(x W^T + b): x (..., in_features), y (..., out_features).

    weight (out_features, in_features), bias (out_features,). activation: None, "relu", "sigmoid" or "tanh", computed in
    the same pass. Both start uniform in +-1/sqrt(in_features), as in PyTorch.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, activation: str | None = None
    ) -> None:
        self.in_features = check.integer("Linear", "in_features", in_features, 1)
        self.out_features = check.integer("Linear", "out_features", out_features, 1)
        self.activation = check.choice("Linear", "activation", activation, FUSED_ACTIVATIONS)
        self._make_parameters((self.out_features, self.in_features), self.out_features, bias)

    def forward(self, x: ArrayLike, activation: str | None = None) -> Tensor:
        activation = activation or self.activation
        if not self.training and (y := packed.linear(self, x, activation)) is not None:
            return y
        return F.linear(x, self.weight, self.bias, activation=activation)

    def extra_repr(self) -> str:
        extra = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return extra + (f", activation={self.activation!r}" if self.activation else "")
