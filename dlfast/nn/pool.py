"""Pooling layers; equations in `functional`. They have no parameters."""

from __future__ import annotations

from typing import Any

from .. import _check as check
from .. import functional as F
from ..tensor import ArrayLike, Tensor
from .module import Module

Size = int | tuple[int, int]


class _Pool(Module):
    """Keeps the geometry; `stride` defaults to kernel_size."""

    kernel_size: Any
    stride: Any
    padding: Any
    dilation: Any

    def __init__(self, kernel_size: Size, stride: Size | None, padding: Size, dilation: Size, ceil_mode: bool) -> None:
        name = type(self).__name__
        check.pair(name, "kernel_size", kernel_size, 1)
        check.pair(name, "stride", kernel_size if stride is None else stride, 1)
        check.pair(name, "padding", padding, 0)
        check.pair(name, "dilation", dilation, 1)
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, bool(ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool2d(_Pool):
    """The largest value of each window: x (N, H, W, C), y (N, P, Q, C)."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


class MaxPool1d(_Pool):
    """The largest value of each window along a sequence: x (N, L, C), y (N, P, C)."""

    def __init__(
        self, kernel_size: int, stride: int | None = None, padding: int = 0, dilation: int = 1, ceil_mode: bool = False
    ) -> None:
        check.integer("MaxPool1d", "kernel_size", kernel_size, 1)
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.max_pool1d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


class AvgPool2d(_Pool):
    """The mean of each window: x (N, H, W, C), y (N, P, Q, C). count_include_pad: padding counts as zeros."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = bool(count_include_pad)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(AvgPool2d):
    """The mean of each window along a sequence: x (N, L, C), y (N, P, C). count_include_pad: padding counts, as 0."""

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        check.integer("AvgPool1d", "kernel_size", kernel_size, 1)
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AdaptiveAvgPool2d(Module):
    """Means over output_size bins that divide the image: x (N, H, W, C), y (N, P, Q, C). None keeps an axis."""

    def __init__(self, output_size: Any) -> None:
        wanted = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
        check.pair("AdaptiveAvgPool2d", "output_size", [1 if size is None else size for size in wanted], 1)
        self.output_size = output_size

    def forward(self, x: ArrayLike) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(Module):
    """Means over output_size bins that divide a sequence: x (N, L, C), y (N, output_size, C)."""

    def __init__(self, output_size: int) -> None:
        self.output_size = check.integer("AdaptiveAvgPool1d", "output_size", output_size, 1)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.adaptive_avg_pool1d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
