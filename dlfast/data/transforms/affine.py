"""Rotation, shift and scale of images, by bilinear interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _check as check
from ... import kernels
from ._base import Transform, interval


class RandomAffine(Transform):
    """Each image turned, moved and scaled about its centre by random amounts; x (N, H, W, C), y as large.

        y[n, p] = x[n, c + R(-a) (p - c - t) / s],   pixels p = (row, column), c the centre, R(a) the rotation by a

    degrees    a is drawn evenly from [-degrees, degrees] (or from (least, most)), counterclockwise
    translate  (across, down): t is drawn evenly from the shares [-across, across] of the width and so of the height;
               whole or not, values between pixels are interpolated linearly
    scale      s is drawn evenly from (least, most); None: 1
    fill       a number: what lies outside of the image; for bytes in 0..255, else `ValueError`
    Bytes are rounded. Names and order are torchvision's RandomAffine, which interpolates nothing by default.
    """

    def __init__(self, degrees: Any, translate: Any = None, scale: Any = None, *, fill: float = 0) -> None:
        name = type(self).__name__
        if not isinstance(degrees, (tuple, list)):
            degrees = check.number(name, "degrees", degrees, 0, 360, high_closed=True)
            degrees = (-degrees, degrees)
        self.degrees = interval(name, "degrees", degrees, -360, 360)
        self.translate = (0.0, 0.0)
        if translate is not None:
            if not isinstance(translate, (tuple, list)) or len(translate) != 2:
                raise ValueError(f"{name}: translate must be two shares (across, down), got {translate!r}")
            across, down = (check.number(name, "translate", share, 0, 1, high_closed=True) for share in translate)
            self.translate = (across, down)
        self.scale = (1.0, 1.0) if scale is None else interval(name, "scale", scale, 0)
        if self.scale[0] == 0 or self.scale[1] == np.inf:
            raise ValueError(f"{name}: scale must be positive and finite, got {scale!r}")
        self.fill = check.number(name, "fill", fill, -np.inf, np.inf)

    def apply(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        if x.dtype == np.uint8 and not 0 <= self.fill <= 255:
            name = type(self).__name__
            raise ValueError(f"{name}: fill must be in 0..255 for images of bytes, got {self.fill!r}")
        count, height, width = x.shape[:3]
        lows = [self.degrees[0], *(-share for share in self.translate), self.scale[0]]
        highs = [self.degrees[1], *self.translate, self.scale[1]]
        turns, across, down, scales = generator.uniform(lows, highs, (count, 4)).T
        maps = _inverse_maps(height, width, np.deg2rad(turns), down * height, across * width, scales)
        return kernels.active_transform("affine")(x, maps, fill=self.fill)


class RandomRotation(RandomAffine):
    """Each image turned about its centre by up to ``degrees``, or by (least, most). See `RandomAffine`."""

    def __init__(self, degrees: Any, *, fill: float = 0) -> None:
        super().__init__(degrees, fill=fill)


def _inverse_maps(height: int, width: int, angles, down, across, scales) -> np.ndarray:
    """Where the pixels of y come from (N, 2, 3): (row, column) = map (i, j, 1), rows counted downwards."""
    cosine, sine = np.cos(angles) / scales, np.sin(angles) / scales
    middle, centre = (height - 1) / 2, (width - 1) / 2
    i, j = middle + down, centre + across  # the pixel of y that shows the centre of x
    rows = cosine, sine, middle - cosine * i - sine * j
    columns = -sine, cosine, centre - cosine * j + sine * i
    return np.array([rows, columns]).transpose(2, 0, 1)
