"""Rectangles of the images replaced by values that say nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _check as check
from ...kernels.memory import empty
from ._base import Transform, interval, probability

_TRIES = 10  # rectangles drawn for an image, of which the first that fits is taken: torchvision's number


class RandomErasing(Transform):
    """A random rectangle of each image is erased, with the probability p; x (N, H, W, C).

    Its area is a share of the image drawn from ``scale``, its height by its width a ratio drawn from ``ratio`` (the
    logarithm evenly), its place any where it fits; of ten such rectangles the first that is smaller than the image.
    value: a number, one for each channel, or "random" for each pixel: standard normal for floats, 0..255 for bytes.
    Source: Zhong et al. 2017, "Random erasing data augmentation", algorithm 1.
    """

    def __init__(self, p: float = 0.5, scale: Any = (0.02, 0.33), ratio: Any = (0.3, 3.3), value: Any = 0) -> None:
        self.p = probability("RandomErasing", p)
        self.scale = interval("RandomErasing", "scale", scale, 0, 1)
        self.ratio = interval("RandomErasing", "ratio", ratio, 0)
        if self.ratio[0] == 0 or self.ratio[1] == np.inf:
            raise ValueError(f"RandomErasing: ratio must be positive and finite, got {ratio!r}")
        if isinstance(value, str):
            check.choice("RandomErasing", "value", value, ("random",))
        self.value = value

    def apply(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        y = _copied(x)
        chosen = generator.random(len(x)) < self.p
        areas = generator.uniform(*self.scale, (len(x), _TRIES)) * (x.shape[1] * x.shape[2])
        ratios = np.exp(generator.uniform(np.log(self.ratio[0]), np.log(self.ratio[1]), (len(x), _TRIES)))
        heights, widths = (np.rint(np.sqrt(product)).astype(np.int64) for product in (areas * ratios, areas / ratios))
        fits = (heights < x.shape[1]) & (widths < x.shape[2])
        places = generator.random((len(x), 2))
        value = None if isinstance(self.value, str) else _fill("RandomErasing", self.value, x)
        for i in np.flatnonzero(chosen & fits.any(1)).tolist():
            h, w = (int(sizes[i, fits[i].argmax()]) for sizes in (heights, widths))
            top, left = int(places[i, 0] * (x.shape[1] - h + 1)), int(places[i, 1] * (x.shape[2] - w + 1))
            part = y[i, top : top + h, left : left + w]
            part[...] = _noise(part, generator) if value is None else value
        return y


class Cutout(Transform):
    """A square of ``size`` pixels around a random pixel of each image is set to ``value``, as far as it lies inside.

    value: a number, or one for each channel; 0 is the mean of normalised images.
    Source: DeVries and Taylor 2017, "Improved regularization of convolutional neural networks with cutout", section 3.
    """

    def __init__(self, size: int, value: Any = 0) -> None:
        self.size = check.integer("Cutout", "size", size, 1)
        self.value = value

    def apply(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        y, value = _copied(x), _fill("Cutout", self.value, x)
        if not y.size:
            return y
        rows, columns = (generator.integers(0, x.shape[axis], len(x)) - self.size // 2 for axis in (1, 2))
        for i, (top, left) in enumerate(zip(rows.tolist(), columns.tolist())):
            y[i, max(top, 0) : top + self.size, max(left, 0) : left + self.size] = value
        return y


def _copied(x: np.ndarray) -> np.ndarray:
    y = empty(x.shape, x.dtype)
    y[...] = x
    return y


def _noise(part: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if part.dtype == np.uint8:
        return generator.integers(0, 256, part.shape, np.uint8)
    return generator.standard_normal(part.shape)


def _fill(name: str, value: Any, x: np.ndarray) -> np.ndarray:
    """The value as an array () or (C,) of the images' dtype."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.shape not in ((), x.shape[3:]):
        raise ValueError(f"{name}: value must be a number, or one for each of {x.shape[3]} channels, got {value!r}")
    if x.dtype == np.uint8 and array.size and not 0 <= array.min() <= array.max() <= 255:
        raise ValueError(f"{name}: value must be in 0..255 for images of bytes, got {value!r}")
    return array.astype(x.dtype)
