"""Pooling. N H W C images, P Q output rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _check as check
from ..kernels.geometry import MOST_CELLS, MOST_POOL_PADDING, least_dilation, least_stride, pool_output_size
from ..tensor import ArrayLike, Tensor, arrays_of, as_tensor, run
from ._linear import matmul

Size = int | tuple[int, int]


def max_pool2d(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest value of each window: y[n, p, q, c] = max over r, s of x[n, p sh + r dh - ph, q sw + s dw - pw, c].

    x (N, H, W, C), y (N, P, Q, C); stride defaults to kernel_size. Padding is never chosen; the first of equal values
    takes the gradient; NaN wins over every number. With ceil_mode a last, partial window counts as well.
    Raises TypeError for dtypes other than float32 and float64 and for geometry that is not integer; ValueError for
    other than four axes, padding of more than half a window or 65536, and a window larger than the padded image.
    """
    (a,) = arrays_of((x,))
    check.is_float("max_pool2d", "x", a)
    options = _windows("max_pool2d", a.shape, kernel_size, stride, padding, dilation, int(bool(ceil_mode)))
    return run("max_pool2d", (x,), (a,), options)


def max_pool1d(
    x: ArrayLike,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest value of each window along a sequence: x (N, L, C), y (N, P, C). Otherwise as `max_pool2d`."""
    check.given("max_pool1d", ("x",), (x,))
    x = as_tensor(x)
    check.rank("max_pool1d", "x", x, "N, L, C")
    window = check.integer("max_pool1d", "kernel_size", kernel_size, 1)
    step = window if stride is None else check.integer("max_pool1d", "stride", stride, 1)
    pad = check.integer("max_pool1d", "padding", padding, 0, MOST_POOL_PADDING)
    apart = check.integer("max_pool1d", "dilation", dilation, 1)
    n, length, channels = x.shape
    y = max_pool2d(x.reshape(n, 1, length, channels), (1, window), (1, step), (0, pad), (1, apart), ceil_mode)
    return y.reshape(n, y.shape[2], channels)


def avg_pool2d(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window: y[n, p, q, c] = sum over r, s of x[n, p sh + r - ph, q sw + s - pw, c] / count.

    x (N, H, W, C), y (N, P, Q, C); stride defaults to kernel_size. count is the whole window or, without
    count_include_pad, its pixels inside the image.
    Raises as `max_pool2d`.
    """
    (a,) = arrays_of((x,))
    check.is_float("avg_pool2d", "x", a)
    options = dict(_windows("avg_pool2d", a.shape, kernel_size, stride, padding, 1, int(bool(ceil_mode))))
    del options["dilation"]
    return run("avg_pool2d", (x,), (a,), {**options, "count_include_pad": bool(count_include_pad)})


def avg_pool1d(
    x: ArrayLike,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window along a sequence: x (N, L, C), y (N, P, C). Otherwise as `avg_pool2d`."""
    check.given("avg_pool1d", ("x",), (x,))
    x = as_tensor(x)
    check.rank("avg_pool1d", "x", x, "N, L, C")
    window = check.integer("avg_pool1d", "kernel_size", kernel_size, 1)
    step = window if stride is None else check.integer("avg_pool1d", "stride", stride, 1)
    pad = check.integer("avg_pool1d", "padding", padding, 0, MOST_POOL_PADDING)
    n, length, channels = x.shape
    rows = x.reshape(n, 1, length, channels)
    y = avg_pool2d(rows, (1, window), (1, step), (0, pad), ceil_mode, count_include_pad)
    return y.reshape(n, y.shape[2], channels)


@check.remembered
def _windows(op: str, image: tuple, kernel_size, stride, padding, dilation, ceil_mode: int) -> dict[str, Any]:
    """The windows' geometry as the kernels take it; raises where none fits the padded image."""
    if len(image) != 4:
        raise ValueError(f"{op}: x must have 4 axes (N, H, W, C), got shape {image}")
    kernel = check.pair(op, "kernel_size", kernel_size, 1)
    stride = kernel if stride is None else check.pair(op, "stride", stride, 1)
    padding = check.pair(op, "padding", padding, 0, MOST_POOL_PADDING)
    dilation = check.pair(op, "dilation", dilation, 1)
    if kernel[0] * kernel[1] > MOST_CELLS:
        raise ValueError(f"{op}: kernel_size must have at most {MOST_CELLS} cells, got {kernel}")
    shape, steps = [image[0]], []
    for axis in (0, 1):
        span = dilation[axis] * (kernel[axis] - 1) + 1
        if 2 * padding[axis] > span:
            raise ValueError(f"{op}: padding must be at most half the window's span of {span}, got {padding}")
        size = image[1 + axis]
        shape.append(pool_output_size(size, kernel[axis], stride[axis], padding[axis], dilation[axis], bool(ceil_mode)))
        if shape[-1] < 1:
            raise ValueError(
                f"{op}: kernel_size {kernel} with dilation {dilation} is larger than x {image} with padding {padding}"
            )
        if span > size + 2 * MOST_POOL_PADDING:
            raise ValueError(
                f"{op}: windows must span at most {2 * MOST_POOL_PADDING} pixels more than x {image}, got "
                f"kernel_size {kernel} with dilation {dilation}"
            )
        steps.append(least_stride(stride[axis], max(size + padding[axis], span)))
    check.room(op, (*shape, image[3]))
    return {
        "kernel_size": kernel,
        "stride": tuple(steps),
        "padding": padding,
        "dilation": tuple(map(least_dilation, dilation, kernel)),
        "ceil_mode": bool(ceil_mode),
    }


def adaptive_avg_pool2d(x: ArrayLike, output_size: int | tuple[int | None, int | None] | None) -> Tensor:
    """Means over bins that divide the image: bin i of P holds rows floor(i H / P) to ceil((i + 1) H / P) - 1.

    x (N, H, W, C), y (N, P, Q, C); output_size: P = Q or (P, Q), None for the size of x.
    Raises TypeError for dtypes other than float32 and float64, ValueError for other than four axes and sizes below 1.
    """
    (a,) = arrays_of((x,))
    check.is_float("adaptive_avg_pool2d", "x", a)
    check.rank("adaptive_avg_pool2d", "x", a, "N, H, W, C")
    n, h, w, c = a.shape
    if h == 0 or w == 0:
        raise ValueError(f"adaptive_avg_pool2d: x must have at least one row and column, got shape {a.shape}")
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    wanted = [size if given is None else given for given, size in zip(sizes, (h, w))]
    p, q = check.pair("adaptive_avg_pool2d", "output_size", wanted, 1)
    check.room("adaptive_avg_pool2d", (n, p, q, c))
    if h % p == 0 and w % q == 0:
        return avg_pool2d(x, (h // p, w // q))
    rows = matmul(_bins(h, p, a.dtype), as_tensor(x).reshape(n, h, w * c)).reshape(n * p, w, c)
    return matmul(_bins(w, q, a.dtype), rows).reshape(n, p, q, c)


def adaptive_avg_pool1d(x: ArrayLike, output_size: int) -> Tensor:
    """Means over bins that divide a sequence, as `adaptive_avg_pool2d`: x (N, L, C), y (N, output_size, C)."""
    check.given("adaptive_avg_pool1d", ("x",), (x,))
    x = as_tensor(x)
    check.rank("adaptive_avg_pool1d", "x", x, "N, L, C")
    size = check.integer("adaptive_avg_pool1d", "output_size", output_size, 1)
    n, length, channels = x.shape
    return adaptive_avg_pool2d(x.reshape(n, 1, length, channels), (1, size)).reshape(n, size, channels)


def _bins(size: int, count: int, dtype: np.dtype) -> np.ndarray:
    """The matrix (count, size) that takes means over bins."""
    i = np.arange(count)[:, None]
    inside = (np.arange(size) >= i * size // count) & (np.arange(size) < -(-(i + 1) * size // count))
    return (inside / inside.sum(axis=1, keepdims=True)).astype(dtype)
