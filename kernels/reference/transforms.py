"""Transforms of images of a data set: they have no gradient. N H W C images of float32, float64 or bytes (0..255).

Bytes are computed with in float32 and rounded, of two equally near numbers to the even one.
"""

import numpy as np

from ..memory import empty, pooled

IMAGES = 16  # at a time: what they need stays in the caches
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, section 2.5.1


def affine_transform(x, maps, *, fill):
    """y[n, i, j] = x[n] at row a i + b j + c, column d i + e j + f, where maps[n] = ((a, b, c), (d, e, f)).

    x, y (N, H, W, C), maps (N, 2, 3) of float64. Between pixels values are interpolated linearly, outside lies `fill`,
    a number in the range of x. Shares of pixels are of the dtype that is computed with.
    """
    y = empty(x.shape, x.dtype)
    for first in range(0, len(x) if x.size else 0, IMAGES):
        some = slice(first, first + IMAGES)
        with pooled():
            values = _bilinear(x[some], *_places(maps[some], *x.shape[1:3]), fill)
            y[some] = np.rint(values, out=values) if y.dtype == np.uint8 else values
    return y


def _places(maps, height, width):
    """Where each pixel of y comes from: rows and columns (N, H, W)."""
    i, j = np.arange(height)[:, None], np.arange(width)
    ahead, aside, start = np.moveaxis(maps, -1, 0)[..., None, None]  # each (N, 2, 1, 1)
    places = (ahead * i + start) + aside * j
    return places[:, 0], places[:, 1]


def _bilinear(x, rows, columns, fill):
    """The values (N, H, W, C) of x between its pixels; of what lies outside, one pixel suffices all around."""
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


def jitter_transform(x, brightness, contrast, saturation):
    """y = f x, then f y + (1 - f) mean(grey(y)), then f y + (1 - f) grey(y), each clipped to 0..1, of bytes 0..255.

    x, y (N, H, W, C); each f (N,) of the dtype that is computed with, or None for no such step. grey is the luminance,
    of images that do not have 3 channels their mean.
    """
    white = 255 if x.dtype == np.uint8 else 1
    factors = [None if f is None else f[:, None, None, None] for f in (brightness, contrast, saturation)]
    y = empty(x.shape, np.float64 if x.dtype == np.float64 else np.float32)
    y[...] = x
    for first in range(0, len(x) if x.size else 0, IMAGES):
        some = slice(first, first + IMAGES)
        with pooled():
            _jitter(y[some], *(f if f is None else f[some] for f in factors), white)
    return np.rint(y, out=y).astype(np.uint8) if x.dtype == np.uint8 else y


def _jitter(y, brightness, contrast, saturation, white):
    """The three steps in place."""
    if brightness is not None:
        y *= brightness
        np.clip(y, 0, white, out=y)
    if contrast is not None:
        mean = _grey(y).mean((1, 2), dtype=np.float64)[:, None, None, None].astype(y.dtype)
        y *= contrast
        y += (1 - contrast) * mean
        np.clip(y, 0, white, out=y)
    if saturation is not None:
        grey = (1 - saturation) * _grey(y)[..., None]
        y *= saturation
        y += grey
        np.clip(y, 0, white, out=y)


def _grey(x):
    """The luminance (N, H, W)."""
    weights = grey_weights(x.shape[3], x.dtype)
    grey = x[..., 0] * weights[0]
    for c in range(1, len(weights)):
        grey += x[..., c] * weights[c]
    return grey


def grey_weights(channels, dtype):
    """Of each channel in the luminance."""
    return np.array(LUMINANCE if channels == 3 else [1 / channels] * channels, dtype)
