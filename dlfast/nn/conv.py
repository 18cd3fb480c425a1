"""The convolutional layers."""

from __future__ import annotations

from typing import Any

from .. import _check as check
from .. import functional as F
from ..functional._conv import Padding, check_method, pad4, pad_steps, sides
from ..functional._conv_pool import pools_at_once
from ..functional._conv_transpose import output_padding_pair
from ..functional._linear import FUSED_ACTIVATIONS
from ..kernels.conv_methods import Geometry
from ..tensor import ArrayLike, Tensor
from .linear import Affine
from .norm import BatchNorm2d


class _Convolution(Affine):
    """Channels, groups and what `repr` shows; the geometry is each layer's own."""

    kernel_size: Any
    stride: Any
    channels_first_in_torch = True
    padding_mode = "zeros"
    _border: list[tuple[int, int]] | None = None  # what padding with a padding_mode adds before the convolution
    _shown: tuple[tuple[str, Any], ...] = (("padding", 0), ("dilation", 1), ("groups", 1), ("activation", None))

    def _set_channels(self, in_channels: int, out_channels: int, groups: int, activation: str | None) -> None:
        name = type(self).__name__
        self.in_channels = check.integer(name, "in_channels", in_channels, 1)
        self.out_channels = check.integer(name, "out_channels", out_channels, 1)
        self.groups = check.integer(name, "groups", groups, 1)
        self.activation = check.choice(name, "activation", activation, FUSED_ACTIVATIONS)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"{name}: groups={self.groups} must divide in_channels={in_channels} and out_channels={out_channels}"
            )

    def _set_border(self, padding_mode: str, widths: list[tuple[int, int]]) -> bool:
        """Whether what is around x comes from x, and so is added before the convolution."""
        modes = ("zeros", "reflect", "replicate", "circular")
        self.padding_mode = check.choice(type(self).__name__, "padding_mode", padding_mode, modes)
        if padding_mode == "zeros":
            return False
        self._border = [(0, 0), *widths, (0, 0)]
        return True

    def _with_border(self, x: ArrayLike) -> ArrayLike:
        return x if self._border is None else F.pad(x, self._border, mode=self.padding_mode)

    def extra_repr(self) -> str:
        extra = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in self._shown:
            value = getattr(self, name)
            if value not in (default, (default, default)):
                extra += f", {name}={value!r}"
        return extra if self.bias is not None else f"{extra}, bias=False"


class Conv2d(_Convolution):
    """Convolution over images, channels last: x (N, H, W, in_channels), y (N, P, Q, out_channels).

    weight (out_channels, R, S, in_channels/groups), bias (out_channels,). stride, dilation: one integer or (rows,
    columns); padding: an integer, (rows, columns), ((top, bottom), (left, right)), "same" or "valid"; padding_mode:
    "zeros", "reflect", "replicate" or "circular" (`functional.pad`), of which all but the first copy x. activation:
    None, "relu", "sigmoid" or "tanh", computed in the same pass. method: "auto", or an algorithm to insist on.
    Both parameters start uniform in +-1/sqrt(R S in_channels/groups), as in PyTorch. Equation: `functional.conv2d`.
    """

    _shown = (*_Convolution._shown, ("padding_mode", "zeros"), ("method", "auto"))

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
        padding_mode: str = "zeros",
        *,
        activation: str | None = None,
        method: str = "auto",
    ) -> None:
        self._set_channels(in_channels, out_channels, groups, activation)
        self.kernel_size = check.pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = check.pair("Conv2d", "stride", stride, 1)
        self.dilation = check.pair("Conv2d", "dilation", dilation, 1)
        self.padding = padding
        four = pad4("Conv2d", padding, self.kernel_size, self.stride, self.dilation)
        if self._set_border(padding_mode, [four[:2], four[2:]]):
            four = (0, 0, 0, 0)
        self._padding = four[:2], four[2:]
        shape = (self.out_channels, *self.kernel_size, self.in_channels // self.groups)
        self.method = check_method("Conv2d", method, shape, Geometry(self.stride, four, self.dilation, self.groups))
        self._make_parameters(shape, self.out_channels, bias)

    def forward(
        self,
        x: ArrayLike,
        activation: str | None = None,
        pool_size: tuple[int, int] | None = None,
        norm: BatchNorm2d | None = None,
        residual: ArrayLike | None = None,
        average: bool = False,
    ) -> Tensor:
        """This layer; `Sequential` hands over the activation and the MaxPool2d(pool_size), or with `average` the
        AvgPool2d, that follow it, or in evaluation the BatchNorm2d, with the activation behind that, and `Residual`
        also what is added before."""
        activation, x = activation or self.activation, self._with_border(x)
        if norm is not None:
            return F.conv2d_batch_norm(
                x,
                self.weight,
                self.bias,
                norm.running_mean,
                norm.running_var,
                norm.weight,
                norm.bias,
                self.stride,
                self._padding,
                self.dilation,
                self.groups,
                eps=norm.eps,
                residual=residual,
                activation=activation,
                method=self.method,
            )
        geometry = self.stride, self._padding, self.dilation, self.groups
        if pool_size is None:
            return F.conv2d(x, self.weight, self.bias, *geometry, activation=activation, method=self.method)
        return (F.conv2d_avg_pool2d if average else F.conv2d_max_pool2d)(
            x, self.weight, self.bias, *geometry, pool_size=pool_size, activation=activation, method=self.method
        )

    def pools_at_once(self, x: ArrayLike, pool_size: tuple[int, int], average: bool) -> bool:
        """Whether this layer and a MaxPool2d, or with `average` an AvgPool2d, after it are faster in one pass."""
        geometry = self.stride, self._padding, self.dilation, self.groups
        return (
            self.method == "auto"
            and self._border is None
            and pools_at_once(x, self.weight, geometry, pool_size, average)
        )


class Conv1d(_Convolution):
    """Convolution over sequences, channels last: x (N, L, in_channels), y (N, Q, out_channels).

    weight (out_channels, S, in_channels/groups), bias (out_channels,). padding: an integer, (before, after), "same",
    "valid" or "causal" (nothing flows back in time). Otherwise as `Conv2d`. Equation: `functional.conv1d`.
    """

    _shown = Conv2d._shown

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: Padding = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        activation: str | None = None,
        method: str = "auto",
    ) -> None:
        self._set_channels(in_channels, out_channels, groups, activation)
        self.kernel_size = check.integer("Conv1d", "kernel_size", kernel_size, 1)
        self.stride = check.integer("Conv1d", "stride", stride, 1)
        self.dilation = check.integer("Conv1d", "dilation", dilation, 1)
        self.padding = padding
        self._padding = pad_steps("Conv1d", padding, self.kernel_size, self.stride, self.dilation)
        if self._set_border(padding_mode, [self._padding]):
            self._padding = 0, 0
        channels = self.in_channels // self.groups
        geometry = Geometry((1, self.stride), (0, 0, *self._padding), (1, self.dilation), self.groups)
        image_kernel = (self.out_channels, 1, self.kernel_size, channels)
        self.method = check_method("Conv1d", method, image_kernel, geometry)
        self._make_parameters((self.out_channels, self.kernel_size, channels), self.out_channels, bias)

    def forward(self, x: ArrayLike, activation: str | None = None) -> Tensor:
        return F.conv1d(
            self._with_border(x),
            self.weight,
            self.bias,
            self.stride,
            self._padding,
            self.dilation,
            self.groups,
            activation=activation or self.activation,
            method=self.method,
        )


class ConvTranspose2d(_Convolution):
    """Transposed convolution, which enlarges images: x (N, H, W, in_channels), y (N, P, Q, out_channels).

    weight (in_channels, R, S, out_channels/groups), bias (out_channels,). P = (H - 1) stride - 2 padding + dilation
    (R - 1) + output_padding + 1, and Q likewise. stride, output_padding, dilation: one integer or (rows, columns);
    padding: an integer, (rows, columns) or ((top, bottom), (left, right)). activation as in `Conv2d`.
    Both parameters start uniform in +-1/sqrt(R S out_channels/groups), as in PyTorch.
    Equation and layout: `functional.conv_transpose2d`.
    """

    _shown = (("padding", 0), ("output_padding", 0), *_Convolution._shown[1:])

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple = 0,
        output_padding: int | tuple[int, int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, int] = 1,
        *,
        activation: str | None = None,
    ) -> None:
        self._set_channels(in_channels, out_channels, groups, activation)
        self.kernel_size = check.pair("ConvTranspose2d", "kernel_size", kernel_size, 1)
        self.stride = check.pair("ConvTranspose2d", "stride", stride, 1)
        self.dilation = check.pair("ConvTranspose2d", "dilation", dilation, 1)
        self.output_padding = output_padding_pair("ConvTranspose2d", output_padding, self.stride, self.dilation)
        sides("ConvTranspose2d", padding)
        self.padding = padding
        shape = (self.in_channels, *self.kernel_size, self.out_channels // self.groups)
        self._make_parameters(shape, self.out_channels, bias)

    def forward(self, x: ArrayLike, activation: str | None = None) -> Tensor:
        return F.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
            activation=activation or self.activation,
        )


class ConvTranspose1d(_Convolution):
    """Transposed convolution, which lengthens sequences: x (N, L, in_channels), y (N, Q, out_channels).

    weight (in_channels, S, out_channels/groups), bias (out_channels,); padding: an integer or (before, after).
    Otherwise as `ConvTranspose2d`. Equation and layout: `functional.conv_transpose1d`.
    """

    _shown = ConvTranspose2d._shown

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int = 1,
        *,
        activation: str | None = None,
    ) -> None:
        self._set_channels(in_channels, out_channels, groups, activation)
        self.kernel_size = check.integer("ConvTranspose1d", "kernel_size", kernel_size, 1)
        self.stride = check.integer("ConvTranspose1d", "stride", stride, 1)
        self.dilation = check.integer("ConvTranspose1d", "dilation", dilation, 1)
        check.integer("ConvTranspose1d", "output_padding", output_padding, 0)
        output_padding_pair("ConvTranspose1d", (0, output_padding), (1, self.stride), (1, self.dilation))
        check.pair("ConvTranspose1d", "padding", padding, 0)
        self.padding, self.output_padding = padding, output_padding
        shape = (self.in_channels, self.kernel_size, self.out_channels // self.groups)
        self._make_parameters(shape, self.out_channels, bias)

    def forward(self, x: ArrayLike, activation: str | None = None) -> Tensor:
        return F.conv_transpose1d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
            activation=activation or self.activation,
        )
