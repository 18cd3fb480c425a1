"""The scale of values: normalisation of images and tables, brightness, contrast and saturation."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from ... import _check as check
from ... import kernels
from ..._arrays import plain_array
from ...kernels.memory import pooled
from ..datasets import ArrayDataset
from ..loader import DataLoader
from ._base import Transform, interval

_ROWS = 512  # that `of` measures at a time
_N = TypeVar("_N", bound="Normalize")


class Normalize(Transform):
    """y = (x - mean) / std along the last axis, the channels of images: x (..., C) -> y (..., C).

    mean and std: one number, or one for each channel, in the units of x; std positive. y is float64 for float64, else
    float32, of bytes too (which count 0..255). `of` measures both on a data set.
    """

    def __init__(self, mean: Any, std: Any) -> None:
        name = type(self).__name__
        self.mean, self.std = (_numbers(name, what, value) for what, value in (("mean", mean), ("std", std)))
        if self.mean.size != self.std.size and 1 not in (self.mean.size, self.std.size):
            raise ValueError(f"{name}: mean and std must have one length, got {self.mean.size} and {self.std.size}")
        if not (self.std > 0).all():
            raise ValueError(f"{name}: std must be positive, got {std!r}")

    @classmethod
    def of(cls: type[_N], data: Any) -> _N:
        """With the mean and standard deviation (divided by n) of each channel of an array or a data set's inputs.

        A channel that is constant gets the std 1, so that it becomes 0. Batches are read once, in float64.
        Raises ValueError for no rows and for NaN or infinite values.
        """
        count, mean, square = 0, np.zeros(1), np.zeros(1)
        for batch in DataLoader(_inputs(cls.__name__, data), _ROWS):
            x = (batch[0] if isinstance(batch, tuple) else batch).astype(np.float64)
            x = x.reshape(-1, x.shape[-1] if x.ndim > 1 else 1)
            if not len(x):
                continue
            # Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", equation 2.1
            count, old = count + len(x), count
            delta = x.mean(0) - mean
            mean = mean + delta * (len(x) / count)
            square = square + x.var(0) * len(x) + delta**2 * (old * len(x) / count)
        if not count:
            raise ValueError(f"{cls.__name__}.of: there are no rows to measure")
        if not np.isfinite(mean).all() or not np.isfinite(square).all():
            raise ValueError(f"{cls.__name__}.of: the data hold NaN or infinite values; fill or remove them first")
        std = np.sqrt(square / count)
        constant = std <= 1e-7 * np.abs(mean)  # what rounding leaves of 0
        return cls(mean, np.where(constant, 1, std))

    def checked(self, name: str, x: np.ndarray) -> np.ndarray:
        if x.dtype.kind not in "fiub":
            raise TypeError(f"{name}: x must hold numbers, got {x.dtype}")
        channels = max(self.mean.size, self.std.size)
        if x.ndim < 2 or channels not in (1, x.shape[-1]):
            raise ValueError(f"{name}: x must have {channels} channels on its last axis, got shape {x.shape}")
        return x

    def apply(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        mean, std = self._rows(x)
        with pooled():
            y = (x.reshape(len(x), -1) - mean) if x.size else np.zeros(x.shape, mean.dtype)
            y /= std
        return y.reshape(x.shape)

    def inverse(self, y: Any) -> np.ndarray:
        """x = y std + mean: back to the units of before."""
        y = self.checked(type(self).__name__, plain_array(y))
        mean, std = self._rows(y)
        return (y.reshape(len(y), -1) * std + mean).reshape(y.shape) if y.size else y.astype(mean.dtype)

    def _rows(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """mean and std for a flat image: NumPy's loops are slow along three channels."""
        dtype = np.float64 if x.dtype == np.float64 else np.float32
        pixels = int(np.prod(x.shape[1:-1]))
        return tuple(  # type: ignore[return-value]
            values.astype(dtype) if values.size == 1 else np.tile(values.astype(dtype), pixels)
            for values in (self.mean, self.std)
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mean={self.mean.tolist()}, std={self.std.tolist()})"


class Standardize(Normalize):
    """`Normalize` for the columns of a table (N, F): ``Standardize.of(training)``, used on validation data too."""

    def checked(self, name: str, x: np.ndarray) -> np.ndarray:
        check.rank(name, "x", x, "N, F")
        return super().checked(name, x)


class ToFloat(Transform):
    """Bytes 0..255 as float32 in 0..1; images of floats stay what they are."""

    def apply(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        with pooled():
            return x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x.copy()


class ColorJitter(Transform):
    """Brightness, contrast and saturation of each image by random factors, in that order, each clipped to the range.

        y = f x        y = f x + (1 - f) mean(grey(x))        y = f x + (1 - f) grey(x)

    Each strength s >= 0 draws f evenly from [max(0, 1 - s), 1 + s], or from (least, most) where two numbers are given;
    grey is 0.299 R + 0.587 G + 0.114 B, of images that do not have 3 channels their mean, and one channel has no
    saturation. Floats must be in 0..1 (so use it before `Normalize`), bytes are in 0..255 and are rounded.
    """

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0) -> None:
        self.brightness, self.contrast, self.saturation = (
            _factors(name, value)
            for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation))
        )

    def apply(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        ranges = self.brightness, self.contrast, self.saturation
        drawn = [generator.uniform(*ends, len(x)) for ends in ranges]
        dtype = np.float64 if x.dtype == np.float64 else np.float32
        wanted = [ends != (1, 1) for ends in ranges[:2]] + [ranges[2] != (1, 1) and x.shape[3] > 1]
        factors = [each.astype(dtype) if use else None for use, each in zip(wanted, drawn)]
        return kernels.active_transform("jitter")(x, *factors)


def _factors(name: str, value: Any) -> tuple[float, float]:
    if isinstance(value, (tuple, list)):
        return interval("ColorJitter", name, value, 0)
    strength = check.number("ColorJitter", name, value, 0, np.inf)
    return max(0.0, 1 - strength), 1 + strength


def _numbers(name: str, what: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.ndim > 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"{name}: {what} must be a number, or one for each channel, got {value!r}")
    return array.astype(np.float64).reshape(-1)


def _inputs(name: str, data: Any) -> Any:
    """A data set of the inputs alone, where that is cheap."""
    if isinstance(data, (tuple, list)) and data:
        data = ArrayDataset(*data)
    if isinstance(data, ArrayDataset):
        return ArrayDataset(data.arrays[0])
    if isinstance(data, np.ndarray):
        return ArrayDataset(data)
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return data
    raise TypeError(f"{name}.of: expected an array or a data set, got {type(data).__name__}")
