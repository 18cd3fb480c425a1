"""Transforms of images of a data set, N H W C of numbers or bytes. Defined in `kernels/reference/transforms.py`.

Bytes become float32 before and are rounded behind. What was drawn, maps and factors, comes from the CPU.
"""

from __future__ import annotations

import math

import numpy as np

from ..reference.transforms import grey_weights
from .dialect import cuda, device, kernel, real
from .loops import THREADS, like
from .rows import THREADS as ROW
from .rows import WARPS, block_sum

TO_EVEN = 1.5 * 2**23  # added to a float32 and taken away it leaves the nearest whole number, of two the even one


@kernel("bpi")
def widen(x, y, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        y[i] = real(x[i])


@kernel("pbi")
def narrow(x, y, n):
    """y = x rounded, x in 0..255."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        y[i] = (x[i] + real(TO_EVEN)) - real(TO_EVEN)


@device
def pixel(x, base, row, column, height, width, channels, fill):
    """A number of an image whose numbers of this channel start at `base`; `fill` outside."""
    inside = row >= 0 and row < height and column >= 0 and column < width
    return x[base + (row * width + column) * channels] if inside else fill


@kernel("pdpfiiii")
def affine(x, maps, y, fill, height, width, channels, n):
    k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if k < n:
        j = k // channels % width
        i = k // channels // width % height
        image = k // channels // width // height
        base = image * height * width * channels + k % channels
        at = image * 6
        row = (maps[at] * i + maps[at + 2]) + maps[at + 1] * j + 1
        column = (maps[at + 3] * i + maps[at + 5]) + maps[at + 4] * j + 1
        row = min(max(row, 0.0), height + 1.0)
        column = min(max(column, 0.0), width + 1.0)
        top = int(row)
        left = int(column)
        v = real(row - top)
        u = real(column - left)
        top -= 1
        left -= 1
        a = pixel(x, base, top, left, height, width, channels, fill)
        b = pixel(x, base, top, left + 1, height, width, channels, fill)
        c = pixel(x, base, top + 1, left, height, width, channels, fill)
        d = pixel(x, base, top + 1, left + 1, height, width, channels, fill)
        one = real(1)
        y[k] = (a * (one - u) + b * u) * (one - v) + (c * (one - u) + d * u) * v


@device
def clipped(value, most):
    """NaN stays."""
    return real(0) if value < 0 else (most if value > most else value)


@device
def bright(value, factor, white, wanted):
    return clipped(factor * value, white) if wanted else value


@device
def toned(value, brightness, contrast, shift, white, has_brightness, has_contrast):
    """A number after brightness and contrast; shift: (1 - contrast) times the image's mean."""
    value = bright(value, brightness, white, has_brightness)
    return clipped(contrast * value + shift, white) if has_contrast else value


@kernel("ppppiifi")
def shifts(x, weights, factors, y, count, channels, white, has_brightness):
    """(1 - contrast) times the mean luminance of each image after brightness; a block makes an image."""
    part = cuda.shared.array(WARPS, real)
    image = cuda.blockIdx.x
    total = real(0)
    for k in range(cuda.threadIdx.x, count, ROW):
        total += weights[k % channels] * bright(x[image * count + k], factors[3 * image], white, has_brightness)
    total = block_sum(total, part)
    if cuda.threadIdx.x == 0:
        y[image] = (real(1) - factors[3 * image + 1]) * (total / real(count // channels))


@kernel("pppppiifiiii")
def jitter(x, weights, factors, shift, y, count, channels, white, has_brightness, has_contrast, has_saturation, n):
    """A thread makes a pixel."""
    at = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if at < n:
        first = at * channels
        image = first // count
        brightness, contrast, saturation = factors[3 * image], factors[3 * image + 1], factors[3 * image + 2]
        moved = shift[image] if has_contrast else real(0)
        grey = real(0)
        if has_saturation:
            for c in range(channels):
                grey += weights[c] * toned(x[first + c], brightness, contrast, moved, white, has_brightness,
                                           has_contrast)  # fmt: skip
            grey *= real(1) - saturation
        for c in range(channels):
            value = toned(x[first + c], brightness, contrast, moved, white, has_brightness, has_contrast)
            y[first + c] = clipped(saturation * value + grey, white) if has_saturation else value


def _blocks(n):
    return -(-n // THREADS), 1, 1


def _numbers(x):
    """Bytes as float32; other images as they are."""
    if x.dtype != np.uint8:
        return x
    y = x.device.empty(x.shape, np.float32)
    widen(_blocks(x.size), THREADS, x, y, x.size)
    return y


def _like(y, x):
    """The result y in the dtype of x."""
    if x.dtype != np.uint8:
        return y
    rounded = like(x)
    narrow(_blocks(y.size), THREADS, y, rounded, y.size)
    return rounded


def _there(values, x, dtype):
    """Drawn numbers on the device of x."""
    return x.device.upload(np.ascontiguousarray(values, dtype)) if isinstance(values, np.ndarray) else values


def affine_transform(x, maps, *, fill):
    numbers = _numbers(x)
    y = like(numbers)
    affine(_blocks(x.size), THREADS, numbers, _there(maps, x, np.float64), y, fill, *x.shape[1:], x.size)
    return _like(y, x)


def jitter_transform(x, brightness, contrast, saturation):
    numbers, given = _numbers(x), (brightness, contrast, saturation)
    y, has = like(numbers), [factor is not None for factor in given]
    channels, count = x.shape[3], math.prod(x.shape[1:])
    factors = np.ones((len(x), 3), y.dtype)
    for step, factor in enumerate(given):
        if factor is not None:
            factors[:, step] = factor if isinstance(factor, np.ndarray) else factor.numpy()
    factors = x.device.upload(factors)
    weights, white = x.device.constant(grey_weights(channels, y.dtype)), 255 if x.dtype == np.uint8 else 1
    shift = x.device.empty((len(x),), y.dtype)
    if contrast is not None:
        shifts((len(x), 1, 1), ROW, numbers, weights, factors, shift, count, channels, white, has[0])
    pixels = x.size // channels if channels else 0
    jitter(_blocks(pixels), THREADS, numbers, weights, factors, shift, y, count, channels, white, *has, pixels)
    return _like(y, x)
