"""The convolutional layer."""

from __future__ import annotations

from .. import _check as check
from .. import functional as F
from ..functional._conv import Padding, pad4, pools_at_once
from ..functional._linear import FUSED_ACTIVATIONS
from ..kernels.conv_methods import Geometry
from ..tensor import ArrayLike, Tensor
from .linear import Affine


class Conv2d(Affine):
    """Convolution over images, channels last: x (N, H, W, in_channels), y (N, P, Q, out_channels).

    weight (out_channels, R, S, in_channels/groups), bias (out_channels,). stride, dilation: one integer or (rows,
    columns); padding: an integer, (rows, columns), ((top, bottom), (left, right)), "same" or "valid". activation: None,
    "relu", "sigmoid" or "tanh", computed in the same pass.
    Both parameters start uniform in +-1/sqrt(R S in_channels/groups), as in PyTorch. Equation: `functional.conv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        activation: str | None = None,
    ) -> None:
        self.in_channels = check.integer("Conv2d", "in_channels", in_channels, 1)
        self.out_channels = check.integer("Conv2d", "out_channels", out_channels, 1)
        self.kernel_size = check.pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = check.pair("Conv2d", "stride", stride, 1)
        self.dilation = check.pair("Conv2d", "dilation", dilation, 1)
        self.groups = check.integer("Conv2d", "groups", groups, 1)
        self.activation = check.choice("Conv2d", "activation", activation, FUSED_ACTIVATIONS)
        self.padding = padding
        top, bottom, left, right = pad4("Conv2d", padding, self.kernel_size, self.stride, self.dilation)
        self._padding = (top, bottom), (left, right)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"Conv2d: groups={self.groups} must divide in_channels={in_channels} and out_channels={out_channels}"
            )
        shape = (self.out_channels, *self.kernel_size, self.in_channels // self.groups)
        self._make_parameters(shape, bias)

    def forward_with(self, x: ArrayLike, activation: str | None) -> Tensor:
        return F.conv2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self._padding,
            self.dilation,
            self.groups,
            activation=activation,
        )

    def pools_at_once(self, x: ArrayLike, pool_size: tuple[int, int]) -> bool:
        """Whether `forward_pooled` is faster than this layer and a MaxPool2d after it."""
        rows, columns = self._padding
        geometry = Geometry(self.stride, (*rows, *columns), self.dilation, self.groups)
        return pools_at_once(x, self.weight, geometry, pool_size)

    def forward_pooled(self, x: ArrayLike, pool_size: tuple[int, int], activation: str | None) -> Tensor:
        """This layer, `activation` and MaxPool2d(pool_size) in one pass."""
        return F.conv2d_max_pool2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self._padding,
            self.dilation,
            self.groups,
            pool_size=pool_size,
            activation=activation,
        )

    def extra_repr(self) -> str:
        extra = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in (("padding", 0), ("dilation", (1, 1)), ("groups", 1), ("activation", None)):
            if getattr(self, name) != default:
                extra += f", {name}={getattr(self, name)!r}"
        return extra if self.bias is not None else f"{extra}, bias=False"
