"""Layers that change the size of images; equations in `functional`. They have no parameters."""

from __future__ import annotations

from typing import Any

from .. import _check as check
from .. import functional as F
from ..functional._resize import MODES
from ..tensor import ArrayLike, Tensor
from .module import Module


class Upsample(Module):
    """Images (N, H, W, C) or sequences (N, L, C) of another size, also a smaller one: give size or scale_factor.

    mode: "nearest", "nearest-exact", "bilinear" (of sequences "linear") or "area"; `functional.interpolate` has the
    equations and what align_corners does.
    """

    def __init__(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ValueError("Upsample: give size or scale_factor, one of the two")
        self.size, self.scale_factor = size, scale_factor
        self.mode, self.align_corners = check.choice("Upsample", "mode", mode, MODES), align_corners

    def forward(self, x: ArrayLike) -> Tensor:
        return F.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        extra = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        corners = "" if self.align_corners is None else f", align_corners={self.align_corners}"
        return f"{extra}, mode={self.mode!r}{corners}"


class AdaptiveMaxPool2d(Module):
    """The largest values of output_size bins that divide images (N, H, W, C): y (N, P, Q, C). None keeps an axis."""

    def __init__(self, output_size: Any) -> None:
        wanted = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
        check.pair("AdaptiveMaxPool2d", "output_size", [1 if size is None else size for size in wanted], 1)
        self.output_size = output_size

    def forward(self, x: ArrayLike) -> Tensor:
        return F.adaptive_max_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(Module):
    """The largest values of output_size bins that divide a sequence: x (N, L, C), y (N, output_size, C)."""

    def __init__(self, output_size: int) -> None:
        self.output_size = check.integer("AdaptiveMaxPool1d", "output_size", output_size, 1)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.adaptive_max_pool1d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
