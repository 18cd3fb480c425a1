"""The fully connected layer."""

from __future__ import annotations

import math

import numpy as np

from .. import _check as check
from .. import functional as F
from .. import init
from ..functional._linear import FUSED_ACTIVATIONS
from ..tensor import ArrayLike, Parameter, Tensor
from .module import Module


class Linear(Module):
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
        self.weight = Parameter(np.empty((self.out_features, self.in_features), np.float32))
        self.bias = Parameter(np.empty(self.out_features, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init_uniform(self.weight, self.bias)

    def forward(self, x: ArrayLike) -> Tensor:
        return self.forward_with(x, self.activation)

    def forward_with(self, x: ArrayLike, activation: str | None) -> Tensor:
        """As `forward` with this activation: `Sequential` hands over the one that follows."""
        return F.linear(x, self.weight, self.bias, activation=activation)

    def extra_repr(self) -> str:
        extra = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return extra + (f", activation={self.activation!r}" if self.activation else "")


def init_uniform(weight: Parameter, bias: Parameter | None) -> None:
    """Weight (O, ..., I) and bias uniform in +-1/sqrt(fan_in), PyTorch's default for Linear and Conv2d."""
    limit = 1 / math.sqrt(math.prod(weight.shape[1:]))
    init.uniform_(weight, -limit, limit)
    if bias is not None:
        init.uniform_(bias, -limit, limit)
