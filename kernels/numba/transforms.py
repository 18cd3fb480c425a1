"""Transforms of images of a data set. N H W C images of float32, float64 or bytes.

They are defined in `kernels/reference/transforms.py`. A job is some rows of images, or one image where its mean counts:
no two jobs write to one place. Bytes become float32 when they are read.
"""

from __future__ import annotations

import numpy as np

from ..memory import empty
from ..reference.transforms import grey_weights
from .jit import contiguous, helper, jit, parallel_for
from .loops import BLOCK, CHUNK, SERIAL, get, pointer, put
from .vmath import inlined, nearest, real, where


def _computing(dtype):
    return np.float64 if dtype == np.float64 else np.float32


@inlined
def _put(y, at, value, whole):
    put(y, at, nearest(value) if whole else value)


@inlined
def _place(line, j):
    """Row and column in x of pixel j of a line of y, counted from one pixel above and left of x."""
    (row, row_step), (column, column_step) = line
    return row + row_step * j + 1, column + column_step * j + 1


@inlined
def _within(place, height, width):
    """Whether all four pixels around lie in x."""
    row, column = place
    return row >= 1 and row < height and column >= 1 and column < width


@inlined
def _blend(corners, v, u):
    a, b, c, d = corners
    one = real(v, 1)
    return (a * (one - u) + b * u) * (one - v) + (c * (one - u) + d * u) * v


@inlined
def _at_edge(x, size, place, fill, y, whole):
    """A pixel of y whose place lies outside of x, or at its edge."""
    height, width, channels = size
    row, column = min(max(place[0], 0.0), height + 1.0), min(max(place[1], 0.0), width + 1.0)
    top, left = int(row), int(column)
    v, u = real(fill, row - top), real(fill, column - left)
    above, below = top >= 1 and top <= height, top < height
    before, behind = left >= 1 and left <= width, left < width
    at, down = ((top - 1) * width + left - 1) * channels, width * channels
    for c in range(channels):
        corners = (
            real(fill, get(x, at + c)) if above and before else fill,
            real(fill, get(x, at + channels + c)) if above and behind else fill,
            real(fill, get(x, at + down + c)) if below and before else fill,
            real(fill, get(x, at + down + channels + c)) if below and behind else fill,
        )
        _put(y, c, _blend(corners, v, u), whole)


@inlined
def _inside(x, size, line, first, end, fill, y, whole):
    """The pixels of a line of y whose places lie inside of x."""
    width, channels = size[1:]
    down = width * channels
    for j in range(first, end):
        row, column = _place(line, j)
        top, left = int(row), int(column)
        v, u = real(fill, row - top), real(fill, column - left)
        at = ((top - 1) * width + left - 1) * channels
        for c in range(channels):
            corners = (
                real(fill, get(x, at + c)),
                real(fill, get(x, at + channels + c)),
                real(fill, get(x, at + down + c)),
                real(fill, get(x, at + down + channels + c)),
            )
            _put(y, j * channels + c, _blend(corners, v, u), whole)


@helper(noalias=True)
def _line(x, size, line, fill, y, whole):
    """A line of y: its places inside of x are neighbours, as they lie on a straight line."""
    height, width, channels = size
    first, end = 0, width
    while first < end and not _within(_place(line, first), height, width):
        _at_edge(x, size, _place(line, first), fill, pointer(y, first * channels), whole)
        first += 1
    while first < end and not _within(_place(line, end - 1), height, width):
        end -= 1
        _at_edge(x, size, _place(line, end), fill, pointer(y, end * channels), whole)
    if channels == 1:  # a number that is known makes a faster loop
        _inside(x, (height, width, 1), line, first, end, fill, y, whole)
    elif channels == 3:
        _inside(x, (height, width, 3), line, first, end, fill, y, whole)
    else:
        _inside(x, size, line, first, end, fill, y, whole)


@helper
def _affine_job(job, worker, x, maps, fill, y, whole, per_job):
    height, width, channels = x.shape[1:]
    for number in range(job * per_job, min((job + 1) * per_job, x.shape[0] * height)):
        n, i = number // height, number % height
        down = get(maps, 6 * n) * i + get(maps, 6 * n + 2), get(maps, 6 * n + 1)
        across = get(maps, 6 * n + 3) * i + get(maps, 6 * n + 5), get(maps, 6 * n + 4)
        image, to = pointer(x, n * height * width * channels), pointer(y, number * width * channels)
        _line(image, (height, width, channels), (down, across), fill, to, whole)


@jit
def _affine(x, maps, fill, y, whole, per_job):
    jobs = -(-x.shape[0] * x.shape[1] // per_job)
    parallel_for(_affine_job, jobs, (x, maps, fill, y, whole, per_job), y.size < SERIAL)


def affine_transform(x, maps, *, fill):
    y = empty(x.shape, x.dtype)
    if y.size:
        per_job = max(1, BLOCK // (x.shape[2] * x.shape[3]))
        fill = _computing(x.dtype)(fill)
        _affine(contiguous(x), contiguous(maps), fill, y, x.dtype == np.uint8, per_job)
    return y


@inlined
def _clipped(value, most):
    """NaN stays."""
    zero = real(value, 0)
    return where(value < zero, zero, where(value > most, most, value))


@inlined
def _bright(value, steps, tone):
    brightness, _, _, _, white = tone
    return _clipped(brightness * value, white) if steps[0] else value


@inlined
def _toned(value, steps, tone):
    """A number after brightness and contrast; shift is (1 - contrast) mean."""
    _, contrast, shift, _, white = tone
    value = _bright(value, steps, tone)
    return _clipped(contrast * value + shift, white) if steps[1] else value


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _mean_grey(x, pixels, weights, channels, steps, tone):
    """Of an image after brightness: sums of a few pixels are added in float64."""
    total = 0.0
    for first in range(0, pixels, CHUNK):
        part = real(tone[0], 0)
        for pixel in range(first, min(first + CHUNK, pixels)):
            for c in range(channels):
                part += get(weights, c) * _bright(real(tone[0], get(x, pixel * channels + c)), steps, tone)
        total += part
    return real(tone[0], total / pixels)


@helper(noalias=True)
def _tone(x, y, count, steps, tone, whole):
    for i in range(count):
        _put(y, i, _toned(real(tone[0], get(x, i)), steps, tone), whole)


@inlined
def _saturate(x, y, pixels, weights, channels, steps, tone, whole):
    """All three steps, a pixel at a time."""
    saturation, white = tone[3:]
    for pixel in range(pixels):
        grey = real(saturation, 0)
        for c in range(channels):
            grey += get(weights, c) * _toned(real(saturation, get(x, pixel * channels + c)), steps, tone)
        grey *= real(saturation, 1) - saturation
        for c in range(channels):
            value = _toned(real(saturation, get(x, pixel * channels + c)), steps, tone)
            _put(y, pixel * channels + c, _clipped(saturation * value + grey, white), whole)


@helper(noalias=True)
def _jittered(x, y, pixels, weights, channels, steps, tone, whole):
    """An image; a number of channels that is known makes a faster loop."""
    if not steps[2]:
        _tone(x, y, pixels * channels, steps, tone, whole)
    elif channels == 3:
        _saturate(x, y, pixels, weights, 3, steps, tone, whole)
    else:
        _saturate(x, y, pixels, weights, channels, steps, tone, whole)


@helper
def _jitter_job(job, worker, x, factors, weights, white, steps, y, whole):
    pixels, channels = x.shape[1] * x.shape[2], x.shape[3]
    at, to = pointer(x, job * pixels * channels), pointer(y, job * pixels * channels)
    brightness, contrast, saturation = get(factors, 3 * job), get(factors, 3 * job + 1), get(factors, 3 * job + 2)
    tone = (brightness, contrast, real(white, 0), saturation, white)
    if steps[1]:
        mean = _mean_grey(at, pixels, pointer(weights, 0), channels, steps, tone)
        tone = (brightness, contrast, (real(white, 1) - contrast) * mean, saturation, white)
    _jittered(at, to, pixels, pointer(weights, 0), channels, steps, tone, whole)


@jit
def _jitter(x, factors, weights, white, steps, y, whole):
    parallel_for(_jitter_job, x.shape[0], (x, factors, weights, white, steps, y, whole), y.size < SERIAL)


def jitter_transform(x, brightness, contrast, saturation):
    y = empty(x.shape, x.dtype)
    if y.size:
        dtype, given = _computing(x.dtype), (brightness, contrast, saturation)
        factors = np.ones((len(x), 3), dtype)
        for step, factor in enumerate(given):
            if factor is not None:
                factors[:, step] = factor
        white, steps = dtype(255 if x.dtype == np.uint8 else 1), tuple(factor is not None for factor in given)
        weights = grey_weights(x.shape[3], dtype)
        _jitter(contiguous(x), factors, weights, white, steps, y, x.dtype == np.uint8)
    return y
