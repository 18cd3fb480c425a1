"""Pooling. N H W C images, R S window rows and columns, P Q output rows and columns."""

import numpy as np

from ..geometry import pool_bins, pool_output_size
from ..sums import mean, total
from .conv import add_windows, pad_image, windows
from .elementwise import like


def _window_padding(size, kernel_size, output_size, stride, padding, dilation):
    """(top, bottom, left, right) that make room for every window; ceil_mode may need more after than before."""
    sides = []
    for axis in (0, 1):
        end = (output_size[axis] - 1) * stride[axis] + (kernel_size[axis] - 1) * dilation[axis] + 1
        sides += [padding[axis], max(end - padding[axis] - size[axis], 0)]
    return tuple(sides)


def _spread(values, x_shape, stride, padding, dilation):
    """dx (N, H, W, C) from the gradients (N, P, Q, R, S, C) of every window's cells."""
    n, h, w, c = x_shape
    sides = _window_padding((h, w), values.shape[3:5], values.shape[1:3], stride, padding, dilation)
    padded = pad_image(np.zeros(x_shape, dtype=values.dtype), sides)
    add_windows(padded, values, stride, dilation)
    return np.ascontiguousarray(padded[:, sides[0] : sides[0] + h, sides[2] : sides[2] + w])


def max_pool2d_forward(x, *, kernel_size, stride, padding, dilation, ceil_mode):
    """y = the largest value in each window; NaN is larger than any number, and padding is never chosen.

    x (N, H, W, C), y (N, P, Q, C); kernel_size, stride, padding and dilation are (rows, columns).
    Saved: index (N, P, Q, C) = r S + s of the winner, the first of equals in row-major order. A dilated window
    that misses the image altogether gives y = -inf with index 0.
    """
    n, h, w, c = x.shape
    options = zip((h, w), kernel_size, stride, padding, dilation, strict=True)
    output_size = tuple(pool_output_size(*axis, ceil_mode) for axis in options)
    sides = _window_padding((h, w), kernel_size, output_size, stride, padding, dilation)

    def cells(image, outside):
        view = windows(pad_image(image, sides, outside), kernel_size, output_size, stride, dilation)
        return view.reshape(len(image), *output_size, kernel_size[0] * kernel_size[1], image.shape[3])

    values = cells(x, -np.inf)
    y = values.max(axis=3)
    # Where all is -inf, padding ties with the image: take the first cell of the image.
    first = cells(np.ones((1, h, w, 1), dtype=bool), False).argmax(axis=3)
    index = np.where(y == -np.inf, first, values.argmax(axis=3))
    index = index.astype(np.uint8 if kernel_size[0] * kernel_size[1] <= 256 else np.int32)
    return like(y, x), (x.shape, index, kernel_size, stride, padding, dilation)


def max_pool2d_backward(dy, saved, needs):
    """dx = the sum of dy over the windows that each pixel won."""
    x_shape, index, kernel_size, stride, padding, dilation = saved
    if not needs[0]:
        return (None,)
    cell = np.arange(kernel_size[0] * kernel_size[1]).reshape(*kernel_size, 1)
    won = index[:, :, :, None, None] == cell
    return (_spread(np.where(won, dy[:, :, :, None, None], 0), x_shape, stride, padding, dilation),)


def _cells(size, output_size, kernel, stride, padding, count_include_pad):
    """How many cells each window averages along one axis: (P,). Cells beyond the padding never count."""
    start = np.arange(output_size) * stride - padding
    end = np.minimum(start + kernel, size + padding)
    return end - start if count_include_pad else np.minimum(end, size) - np.maximum(start, 0)


def _divisor(x_shape, output_size, kernel_size, stride, padding, count_include_pad, dtype):
    """The number of cells in each window: (P, Q, 1)."""
    rows, columns = (
        _cells(*axis, count_include_pad)
        for axis in zip(x_shape[1:3], output_size, kernel_size, stride, padding, strict=True)
    )
    return np.multiply.outer(rows, columns)[:, :, None].astype(dtype)


def avg_pool2d_forward(x, *, kernel_size, stride, padding, ceil_mode, count_include_pad):
    """y = the mean of each window, with zeros for padding; these count as cells only if count_include_pad.

    x (N, H, W, C), y (N, P, Q, C); kernel_size, stride and padding are (rows, columns). The part of a window that
    ceil_mode lets hang beyond the padding is never counted. Source: PyTorch, AvgPoolKernel.cpp.
    """
    options = zip(x.shape[1:3], kernel_size, stride, padding, strict=True)
    output_size = tuple(pool_output_size(*axis, 1, ceil_mode) for axis in options)
    sides = _window_padding(x.shape[1:3], kernel_size, output_size, stride, padding, (1, 1))
    sums = total(windows(pad_image(x, sides), kernel_size, output_size, stride, (1, 1)), (3, 4))
    divisor = _divisor(x.shape, output_size, kernel_size, stride, padding, count_include_pad, x.dtype)
    return like(sums / divisor, x), (x.shape, kernel_size, stride, padding, count_include_pad)


def avg_pool2d_backward(dy, saved, needs):
    """dx = the sum over a pixel's windows of dy / cells in the window."""
    x_shape, kernel_size, stride, padding, count_include_pad = saved
    if not needs[0]:
        return (None,)
    n, p, q, c = dy.shape
    share = dy / _divisor(x_shape, (p, q), kernel_size, stride, padding, count_include_pad, dy.dtype)
    values = np.broadcast_to(share[:, :, :, None, None], (n, p, q, *kernel_size, c))
    return (_spread(values, x_shape, stride, padding, (1, 1)),)


def _bins(x_shape, output_size):
    """Each bin of the image: its place (p, q) in the output, its rows and its columns."""
    down, across = (pool_bins(*axis) for axis in zip(x_shape[1:3], output_size, strict=True))
    return [((p, q), slice(*rows), slice(*columns)) for p, rows in enumerate(down) for q, columns in enumerate(across)]


def adaptive_avg_pool2d_forward(x, *, output_size):
    """y = the mean of each bin of an image divided into P x Q bins (`pool_bins`): x (N, H, W, C), y (N, P, Q, C)."""
    y = np.empty((x.shape[0], *output_size, x.shape[3]), x.dtype)
    for (p, q), rows, columns in _bins(x.shape, output_size):
        y[:, p, q] = mean(x[:, rows, columns], (1, 2))
    return y, (x.shape, output_size)


def adaptive_avg_pool2d_backward(dy, saved, needs):
    """dx = the sum over a pixel's bins of dy / pixels in the bin."""
    x_shape, output_size = saved
    if not needs[0]:
        return (None,)
    dx = np.zeros(x_shape, dy.dtype)
    for (p, q), rows, columns in _bins(x_shape, output_size):
        pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
        dx[:, rows, columns] += dy[:, p : p + 1, q : q + 1] / pixels
    return (dx,)
