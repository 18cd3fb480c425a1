"""Where the pixels of a resized image come from, shared by every backend."""

import math
from functools import lru_cache

import numpy as np

CROWDED = 1 << 12  # numbers of y to a pixel of x, from which on they are summed in float64


@lru_cache(256)
def taps(size, out, step, mode, align_corners, dtype):
    """For each of `out` pixels along an axis of `size`: (low, high, share), y = (1 - share) x[low] + share x[high].

    step: pixels of x to a pixel of y. "nearest": low = floor(i step), "nearest-exact": floor((i + 1/2) step), share 0.
    "bilinear": at (i + 1/2) step - 1/2, not below 0, or with align_corners at i step. high = low where share is 0.
    Where a product should be whole, rounding decides: "nearest" rounds as PyTorch does, to the arrays' dtype and then
    to float32. Results are remembered: not to be written to. Source: PyTorch, aten/src/ATen/native/UpSample.h.
    """
    i = np.arange(out)
    if mode != "bilinear":
        real = np.dtype(dtype).type
        if mode == "nearest":
            at = i.astype(dtype) * real(step)
        else:
            at = np.maximum(((i + 0.5) * float(real(step)) - 0.5).astype(dtype), 0) + np.float64(0.5)
        low = np.minimum(np.floor(at.astype(np.float32)).astype(np.int64), size - 1)
        return low, low, np.zeros(out)
    at = i * step if align_corners else np.maximum((i + 0.5) * step - 0.5, 0)
    low = np.minimum(np.floor(at).astype(np.int64), size - 1)
    share = np.where(low < size - 1, at - low, 0)
    return low, np.where(share > 0, low + 1, low), share


def bins(size, count):
    """(begin, end) of each of `count` bins that divide an axis: floor(i size / count), ceil((i + 1) size / count)."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def summing(dy, x_shape):
    """dy (N, P, Q, C) in the dtype in which what goes to a pixel of x is summed: float32 sums of very many stall."""
    crowded = dy.shape[1] * dy.shape[2] > CROWDED * x_shape[1] * x_shape[2]
    return dy.astype(np.float64, copy=False) if crowded else dy


def axis_step(size, out, scale_factor, align_corners):
    """Pixels of x to a pixel of y: by the sizes, or by the factor given."""
    if align_corners:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return size / out if scale_factor is None else 1 / scale_factor


def scaled_size(size, scale_factor):
    return math.floor(size * scale_factor)
