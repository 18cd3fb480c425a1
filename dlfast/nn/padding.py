"""Padding of sequences and images, and channels for pixels, as layers; they have no parameters."""

from __future__ import annotations

from .. import _check as check
from .. import functional as F
from ..tensor import ArrayLike, Tensor, as_tensor
from .module import Module


class _Pad(Module):
    """padding: an integer for every side, or PyTorch's numbers: (left, right), of images (left, right, top, bottom)."""

    _mode = "constant"
    _letters = "N, H, W, C"

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        name, sides = type(self).__name__, 4 if self._letters.count(",") == 3 else 2
        numbers = (padding,) * sides if isinstance(padding, int) else tuple(padding)
        if len(numbers) != sides:
            raise ValueError(f"{name}: padding must be an integer or {sides} of them, got {padding!r}")
        self.padding = tuple(check.integer(name, "padding", number, 0) for number in numbers)

    def forward(self, x: ArrayLike) -> Tensor:
        t = as_tensor(x)
        check.rank(type(self).__name__, "x", t, self._letters)
        left, right, *rows = self.padding
        inner = [tuple(rows), (left, right)] if rows else [(left, right)]
        return F.pad(t, [(0, 0), *inner, (0, 0)], self._value(), mode=self._mode)

    def _value(self) -> float:
        return 0.0

    def extra_repr(self) -> str:
        return str(self.padding)


class ZeroPad2d(_Pad):
    """Zeros around images (N, H, W, C); padding: an integer or (left, right, top, bottom)."""


class ZeroPad1d(_Pad):
    """Zeros around sequences (N, L, C); padding: an integer or (left, right)."""

    _letters = "N, L, C"


class ConstantPad2d(_Pad):
    """A value around images (N, H, W, C); padding: an integer or (left, right, top, bottom)."""

    def __init__(self, padding: int | tuple[int, ...], value: float) -> None:
        super().__init__(padding)
        self.value = check.number(type(self).__name__, "value", value, -float("inf"), float("inf"))

    def _value(self) -> float:
        return self.value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(ConstantPad2d):
    """A value around sequences (N, L, C); padding: an integer or (left, right)."""

    _letters = "N, L, C"


class ReflectionPad2d(_Pad):
    """Images (N, H, W, C) mirrored at their edges; padding: an integer or (left, right, top, bottom)."""

    _mode = "reflect"


class ReflectionPad1d(ReflectionPad2d):
    """Sequences (N, L, C) mirrored at their ends; padding: an integer or (left, right)."""

    _letters = "N, L, C"


class ReplicationPad2d(_Pad):
    """Images (N, H, W, C) with their edges repeated; padding: an integer or (left, right, top, bottom)."""

    _mode = "replicate"


class ReplicationPad1d(ReplicationPad2d):
    """Sequences (N, L, C) with their ends repeated; padding: an integer or (left, right)."""

    _letters = "N, L, C"


class CircularPad2d(_Pad):
    """Images (N, H, W, C) that go on at the other side; padding: an integer or (left, right, top, bottom)."""

    _mode = "circular"


class CircularPad1d(CircularPad2d):
    """Sequences (N, L, C) that go on at the other end; padding: an integer or (left, right)."""

    _letters = "N, L, C"


class PixelShuffle(Module):
    """(N, H, W, C r^2) -> (N, H r, W r, C), r = upscale_factor."""

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = check.integer("PixelShuffle", "upscale_factor", upscale_factor, 1)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """(N, H r, W r, C) -> (N, H, W, C r^2), r = downscale_factor."""

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = check.integer("PixelUnshuffle", "downscale_factor", downscale_factor, 1)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"
