"""Normalisation layers; equations in `functional`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _check as check
from .. import functional as F
from ..functional._linear import FUSED_ACTIVATIONS
from ..kernels.capturing import again, refuse
from ..tensor import ArrayLike, Parameter, Tensor, as_tensor
from .module import Module


class _BatchNorm(Module):
    """Each channel normalised over the batch while training, with running statistics in evaluation.

    weight (C,) starts at 1, bias (C,) at 0; buffers running_mean (0), running_var (1), num_batches_tracked (0).
    momentum: the share of the new batch in the running statistics; None gives their plain mean over all batches.
    affine=False leaves out weight and bias, track_running_stats=False the buffers (batch statistics in evaluation too).
    activation: None, "relu", "sigmoid" or "tanh"; ReLU is computed in the same pass.
    """

    running_mean: np.ndarray | None
    running_var: np.ndarray | None
    num_batches_tracked: Any
    activation: str | None = None
    _comm: Any = None  # of the ranks whose rows are one batch, see `distributed.DataParallel`
    _shapes: dict[int, str] = {}

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        activation: str | None = None,
    ) -> None:
        name = type(self).__name__
        self.num_features = check.integer(name, "num_features", num_features, 1)
        self.eps = check.number(name, "eps", eps, 0, math.inf, low_open=True)
        if momentum is not None:
            momentum = check.number(name, "momentum", momentum, 0, 1, high_closed=True)
        self.momentum = momentum
        self.affine, self.track_running_stats = bool(affine), bool(track_running_stats)
        self.activation = check.choice(name, "activation", activation, FUSED_ACTIVATIONS)
        self.weight = Parameter(np.ones(num_features, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_features, np.float32)) if affine else None
        self.register_buffer("running_mean", np.zeros(num_features, np.float32) if track_running_stats else None)
        self.register_buffer("running_var", np.ones(num_features, np.float32) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", np.array(0) if track_running_stats else None)

    def forward(self, x: ArrayLike, activation: str | None = None, residual: ArrayLike | None = None) -> Tensor:
        """This layer; `Sequential` hands over the activation that follows it, `Residual` also what is added before."""
        x = as_tensor(x)
        if x.ndim not in self._shapes:
            name, wanted = type(self).__name__, " or ".join(self._shapes.values())
            raise ValueError(f"{name}: x must have shape {wanted}, got {x.shape}")
        momentum = self.momentum
        if momentum is None:
            if self.training:
                refuse("the share of this batch in running statistics with momentum=None; give a momentum")
            momentum = 1 / (1 + int(self.num_batches_tracked)) if self.track_running_stats else 0.0
        y = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            momentum,
            self.eps,
            residual=residual,
            activation=activation or self.activation,
            comm=self._comm,
        )
        if self.training and self.track_running_stats and x.size:
            again(self._count)
        return y

    def _count(self) -> None:
        self.num_batches_tracked += 1

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        ) + (f", activation={self.activation!r}" if self.activation else "")


class BatchNorm1d(_BatchNorm):
    __doc__ = f"Batch normalisation of x (N, C) or (N, L, C).\n\n    {_BatchNorm.__doc__}"
    _shapes = {2: "(N, C)", 3: "(N, L, C)"}


class BatchNorm2d(_BatchNorm):
    __doc__ = f"Batch normalisation of images x (N, H, W, C).\n\n    {_BatchNorm.__doc__}"
    _shapes = {4: "(N, H, W, C)"}


class LayerNorm(Module):
    """Each row normalised over its last axes, normalized_shape: x (..., *normalized_shape).

    weight starts at 1, bias at 0, both of normalized_shape; elementwise_affine=False leaves them out.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        sizes = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(check.integer("LayerNorm", "normalized_shape", size, 1) for size in sizes)
        self.eps = check.number("LayerNorm", "eps", eps, 0, math.inf, low_open=True)
        self.elementwise_affine = bool(elementwise_affine)
        self.weight = Parameter(np.ones(self.normalized_shape, np.float32)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape, np.float32)) if elementwise_affine and bias else None

    def forward(self, x: ArrayLike) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(Module):
    """Each row divided by its root mean square over its last axes, normalized_shape: x (..., *normalized_shape).

    weight, of normalized_shape, starts at 1; elementwise_affine=False leaves it out. eps: None for that of the dtype.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True
    ) -> None:
        sizes = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(check.integer("RMSNorm", "normalized_shape", size, 1) for size in sizes)
        self.eps = eps if eps is None else check.number("RMSNorm", "eps", eps, 0, math.inf, low_open=True)
        self.elementwise_affine = bool(elementwise_affine)
        self.weight = Parameter(np.ones(self.normalized_shape, np.float32)) if elementwise_affine else None

    def forward(self, x: ArrayLike) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Groups of channels normalised over all pixels of each image: x (N, ..., num_channels), channels last.

    weight (num_channels,) starts at 1, bias at 0; affine=False leaves them out. Equation: `functional.group_norm`.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        self.num_groups = check.integer("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = check.integer("GroupNorm", "num_channels", num_channels, 1)
        if self.num_channels % self.num_groups:
            raise ValueError(f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}")
        self.eps = check.number("GroupNorm", "eps", eps, 0, math.inf, low_open=True)
        self.affine = bool(affine)
        self.weight = Parameter(np.ones(self.num_channels, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(self.num_channels, np.float32)) if affine else None

    def forward(self, x: ArrayLike) -> Tensor:
        x = as_tensor(x)
        if x.shape[-1:] != (self.num_channels,):
            raise ValueError(f"GroupNorm: x must have shape (N, ..., {self.num_channels}), got {x.shape}")
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"
