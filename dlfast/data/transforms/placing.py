"""Crops and flips: every pixel is one of the image's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _check as check
from ...kernels.memory import empty, pooled
from ._base import Transform, probability

_MODES = ("constant", "reflect", "edge")


class RandomCrop(Transform):
    """A part (h, w) of each image from a random place, x (N, H, W, C) -> y (N, h, w, C); with padding, a random shift.

        y[n, i, j] = padded[n, t[n] + i, l[n] + j],   t[n] in 0..H + 2 padding - h,  l[n] in 0..W + 2 padding - w

    size          one integer or (h, w); None: as large as the image, so that only `padding` moves it
    padding       pixels added on each side first, one integer or (rows, columns)
    padding_mode  "constant" with the value ``fill``, "reflect" (without the pixel at the edge) or "edge"
    Raises ValueError where the padded image is smaller than `size`, or narrower than reflection needs.
    The shift of CIFAR training, ``RandomCrop(padding=4)``: He et al. 2016, "Deep residual learning", section 4.2.
    """

    def __init__(self, size: Any = None, padding: Any = 0, fill: float = 0, padding_mode: str = "constant") -> None:
        self.size = None if size is None else check.pair("RandomCrop", "size", size, 1)
        self.padding = check.pair("RandomCrop", "padding", padding, 0)
        self.fill = check.number("RandomCrop", "fill", fill, -np.inf, np.inf)
        self.padding_mode = check.choice("RandomCrop", "padding_mode", padding_mode, _MODES)

    def apply(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        h, w = self.size or x.shape[1:3]
        room = [x.shape[1 + axis] + 2 * self.padding[axis] - (h, w)[axis] for axis in (0, 1)]
        if min(room) < 0:
            raise ValueError(f"RandomCrop: images {x.shape[1:3]} with padding {self.padding} hold no part {(h, w)}")
        tops, lefts = (generator.integers(0, most + 1, len(x)).tolist() for most in room)
        padded = self._padded(x)
        y = empty((len(x), h, w, x.shape[3]), x.dtype)
        for i, (top, left) in enumerate(zip(tops, lefts)):
            y[i] = padded[i, top : top + h, left : left + w]
        return y

    def _padded(self, x: np.ndarray) -> np.ndarray:
        rows, columns = self.padding
        if not rows and not columns:
            return x
        widths = ((0, 0), (rows, rows), (columns, columns), (0, 0))
        with pooled():
            if self.padding_mode == "constant":
                return np.pad(x, widths, constant_values=self.fill)
            if self.padding_mode == "reflect" and (rows >= x.shape[1] or columns >= x.shape[2]):
                raise ValueError(f"RandomCrop: images {x.shape[1:3]} are too small to reflect {self.padding} pixels")
            return np.pad(x, widths, mode="reflect" if self.padding_mode == "reflect" else "edge")


class RandomHorizontalFlip(Transform):
    """Each image with left and right exchanged, with the probability p: y[n, i, j] = x[n, i, W - 1 - j]."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability(type(self).__name__, p)

    def apply(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return _flipped(x, x[:, :, ::-1], generator.random(len(x)) < self.p)


class RandomVerticalFlip(RandomHorizontalFlip):
    """Each image upside down, with the probability p: y[n, i, j] = x[n, H - 1 - i, j]."""

    def apply(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return _flipped(x, x[:, ::-1], generator.random(len(x)) < self.p)


def _flipped(x: np.ndarray, mirrored: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    y = empty(x.shape, x.dtype)
    y[...] = x
    for i in np.flatnonzero(chosen).tolist():
        y[i] = mirrored[i]
    return y
