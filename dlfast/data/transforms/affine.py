"""Rotation, shift and scale of images, by bilinear interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _check as check
from ...kernels.memory import empty, pooled
from ._base import Transform, interval

_IMAGES = 16  # at a time: what they need stays in the caches


class RandomAffine(Transform):
    """Each image turned, moved and scaled about its centre by random amounts; x (N, H, W, C), y as large.

        y[n, p] = x[n, c + R(-a) (p - c - t) / s],   pixels p = (row, column), c the centre, R(a) the rotation by a

    degrees    a is drawn evenly from [-degrees, degrees] (or from (least, most)), counterclockwise
    translate  (across, down): t is drawn evenly from the shares [-across, across] of the width and so of the height;
               whole or not, values between pixels are interpolated linearly
    scale      s is drawn evenly from (least, most); None: 1
    fill       a number: what lies outside of the image
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
        count, height, width = x.shape[:3]
        lows = [self.degrees[0], *(-share for share in self.translate), self.scale[0]]
        highs = [self.degrees[1], *self.translate, self.scale[1]]
        turns, across, down, scales = generator.uniform(lows, highs, (count, 4)).T
        angles, across, down = np.deg2rad(turns), across * width, down * height
        y = empty(x.shape, x.dtype)
        for i in range(0, count if y.size else 0, _IMAGES):
            some = slice(i, i + _IMAGES)
            rows, columns = _sources(height, width, angles[some], down[some], across[some], scales[some])
            with pooled():
                values = _bilinear(x[some], rows, columns, self.fill)
            y[some] = np.rint(values) if y.dtype == np.uint8 else values
        return y


class RandomRotation(RandomAffine):
    """Each image turned about its centre by up to ``degrees``, or by (least, most). See `RandomAffine`."""

    def __init__(self, degrees: Any, *, fill: float = 0) -> None:
        super().__init__(degrees, fill=fill)


def _sources(height: int, width: int, angles, down, across, scales) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of y comes from: rows and columns (N, H, W), float64. Rows count downwards."""
    angles, down, across, scales = (drawn.reshape(-1, 1, 1) for drawn in (angles, down, across, scales))
    middle, centre = (height - 1) / 2, (width - 1) / 2
    i = np.arange(height)[:, None] - middle - down
    j = np.arange(width) - centre - across
    cosine, sine = np.cos(angles) / scales, np.sin(angles) / scales
    return middle + cosine * i + sine * j, centre + cosine * j - sine * i


def _bilinear(x: np.ndarray, rows: np.ndarray, columns: np.ndarray, fill: float) -> np.ndarray:
    """The values (N, H, W, C) of x between its pixels; outside lies `fill`, of which one pixel suffices all around."""
    count, height, width, channels = x.shape
    dtype = np.float64 if x.dtype == np.float64 else np.float32
    framed = np.full((count, height + 3, width + 3, channels), fill, dtype)  # a last one more, for its right neighbour
    framed[:, 1 : height + 1, 1 : width + 1] = x
    flat = framed.reshape(-1, channels)
    rows, columns = np.clip(rows + 1, 0, height + 1), np.clip(columns + 1, 0, width + 1)
    top, left = rows.astype(np.int64), columns.astype(np.int64)
    at = (np.arange(count)[:, None, None] * (height + 3) + top) * (width + 3) + left
    v, u = (rows - top).astype(dtype)[..., None], (columns - left).astype(dtype)[..., None]
    above = flat[at] * (1 - u) + flat[at + 1] * u
    below = flat[at + width + 3] * (1 - u) + flat[at + width + 4] * u
    return above * (1 - v) + below * v
