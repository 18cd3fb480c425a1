"""Sums and products of NumPy arrays whose errors do not grow with their length: for all that adds outside fast kernels.

`np.sum` adds pairwise along the last axis of an array alone. Along any other it adds one row after the other: float32
ones stop at 2^24, and digits are lost long before. Here rows are added in blocks, and blocks in float64.
"""

from __future__ import annotations

import math

import numpy as np

from .devices import DeviceArray

BLOCK = 64  # rows added in their own dtype
WIDE = 512  # numbers in a row: short rows are joined, which takes a twentieth of the time as well
FEW = 1024  # numbers that are added one after the other: their errors are small
LONG = 1 << 12  # depth of a product that NumPy's BLAS may sum one after the other
SCATTERED = 1 << 16  # numbers, or rows, added to their places one by one in their own dtype;
MOST_SCATTERED = 1 << 22  # or up to this, where there are so many places that passing over them all would take long


def wide(dtype) -> np.dtype:
    """The dtype of sums over many numbers: float64 at least."""
    return np.result_type(dtype, np.float64)


def total(x, axis=None, keepdims=False):
    """The sum of x over some axes (None: all), as `np.sum` gives it, but of any number of numbers.

    In x's dtype, a scalar where no axis is left. Integers, and few numbers, are added by `np.sum` itself.
    """
    if x.dtype.kind != "f" or isinstance(x, DeviceArray) or _is_short(x, axis):
        return np.sum(x, axis=axis, keepdims=keepdims)
    return wide_total(x, axis, keepdims).astype(x.dtype)


def wide_total(x, axis=None, keepdims=False):
    """`total` in float64 at least, as it is before it is rounded to x's dtype."""
    if _is_short(x, axis):
        return np.sum(x, axis=axis, keepdims=keepdims, dtype=wide(x.dtype))
    axes = _numbered(x, axis)
    repeated = math.prod(x.shape[i] for i in axes if x.strides[i] == 0)
    x = x[tuple(slice(1) if i in axes and x.strides[i] == 0 else slice(None) for i in range(x.ndim))]
    order = sorted(range(x.ndim), key=lambda i: -abs(x.strides[i]))  # as it lies in memory
    sums = _along(x.transpose(order), [i in axes for i in order])
    sums = sums.transpose(np.argsort(order)) * repeated
    return sums if keepdims else sums.reshape([n for i, n in enumerate(x.shape) if i not in axes])[()]


def mean(x, axis=None, keepdims=False):
    """The mean over some axes, of any number of numbers; NaN of nothing."""
    sums = (np.sum if _is_short(x, axis) else wide_total)(x, axis=axis, keepdims=keepdims)
    with np.errstate(invalid="ignore"):
        return (sums / sums.dtype.type(x.size // (sums.size or 1))).astype(x.dtype)


def _numbered(x, axis) -> set[int]:
    """The axes from 0 on."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return {each % x.ndim for each in axes}


def _is_short(x, axis) -> bool:
    """Whether `np.sum` adds few numbers at a time: all in all, or because it adds pairwise, or for a wrong axis."""
    if x.size <= FEW or (axis is None and x.flags.forc):
        return True
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return not all(-x.ndim <= i < x.ndim for i in axes) or math.prod([x.shape[i] for i in axes]) <= FEW


def _along(x, summed):
    """The sums over the axes that `summed` tells, of length 1 then: neighbours together, the last first."""
    end = x.ndim
    while end:
        if not summed[end - 1]:
            end -= 1
            continue
        begin = end
        while begin and summed[begin - 1]:
            begin -= 1
        sizes = [math.prod(part) for part in (x.shape[:begin], x.shape[begin:end], x.shape[end:])]
        sums = _rows(np.ascontiguousarray(x).reshape(sizes))
        x = sums.reshape(x.shape[:begin] + (1,) * (end - begin) + x.shape[end:])
        end = begin
    return x


def _rows(x):
    """x (A, M, C), contiguous, summed over M: (A, C) in float64 at least."""
    dtype, (lead, count, size) = wide(x.dtype), x.shape
    if size == 1:  # NumPy adds pairwise
        return x.sum(axis=1).astype(dtype)
    joined = max(1, min(WIDE // max(size, 1), count))
    block = max(1, min(BLOCK, count // joined))
    whole = count // (joined * block) * joined * block
    blocks = x[:, :whole].reshape(lead, whole // (joined * block), block, joined * size).sum(axis=2)
    sums = blocks.sum(axis=1, dtype=dtype).reshape(lead, joined, size).sum(axis=1)
    return sums + x[:, whole:].sum(axis=1, dtype=dtype)


def product(a, b):
    """a b over the last two axes as `np.matmul` gives it, in blocks of a long depth."""
    depth = a.shape[-1]
    if depth <= LONG:
        return np.matmul(a, b)
    blocks = range(0, depth, LONG)
    sums = sum(np.matmul(a[..., k : k + LONG], b[..., k : k + LONG, :]).astype(wide(a.dtype)) for k in blocks)
    return sums.astype(a.dtype)


def scattered_in_pieces(scatter, indices, values, rows):
    """scatter(indices, values), which adds each of the values to the row (of so many) of its index, piece by piece."""
    piece = min(max(SCATTERED, 4 * rows), MOST_SCATTERED)
    sums = scatter(indices[:piece], values[:piece])
    for start in range(piece, len(indices), piece):
        sums += scatter(indices[start : start + piece], values[start : start + piece])
    return sums


def scattered(shape, index, values):
    """Zeros of `shape` with each of the values added at its place, x[index], however often there: `np.add.at`."""
    many = values.size > SCATTERED
    if isinstance(values, DeviceArray):
        sums = np.zeros_like(values, shape=shape)
        np.add.at(sums, index, values)
        return sums
    sums = np.zeros(shape, wide(values.dtype) if many else values.dtype)
    np.add.at(sums, index, values.astype(sums.dtype, copy=False))
    return sums.astype(values.dtype, copy=False)
