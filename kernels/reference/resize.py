"""Images of another size: interpolation, and the maxima of bins. N H W C images, P Q output rows and columns."""

import numpy as np

from ..resizing import bins, taps
from ..sums import scattered
from .elementwise import like


def _blend(x, axis, low, high, share):
    """(1 - share) x[low] + share x[high] along an axis; x[low] alone where share is 0, whatever the other is."""
    share = share.astype(x.dtype).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    with np.errstate(invalid="ignore"):
        return np.where(share == 0, x.take(low, axis), (1 - share) * x.take(low, axis) + share * x.take(high, axis))


def _spread(dy, axis, size, low, high, share):
    """The gradient of `_blend`."""
    moved = np.moveaxis(dy, axis, 0)
    share = share.astype(dy.dtype).reshape(-1, *(1,) * (dy.ndim - 1))
    between = share.ravel() != 0
    dx = scattered((size, *moved.shape[1:]), low, (1 - share) * moved)
    dx += scattered(dx.shape, high[between], (share * moved)[between])
    return np.moveaxis(dx, 0, axis)


def interpolate_forward(x, *, size, step, mode, align_corners):
    """y[n, p, q] = a mean of the four pixels of x about the place of (p, q), or the nearest one; see `resizing.taps`.

    x (N, H, W, C), y (N, P, Q, C); size (P, Q); step: pixels of x to a pixel of y, by rows and columns.
    """
    y = x
    for axis in (0, 1):
        y = _blend(y, 1 + axis, *taps(x.shape[1 + axis], size[axis], step[axis], mode, align_corners, x.dtype))
    return like(y, x), (x.shape, size, step, mode, align_corners)


def interpolate_backward(dy, saved, needs):
    """dx = the sum of dy times the share that each pixel has in y."""
    x_shape, size, step, mode, align_corners = saved
    if not needs[0]:
        return (None,)
    for axis in (1, 0):
        extent = x_shape[1 + axis]
        dy = _spread(dy, 1 + axis, extent, *taps(extent, size[axis], step[axis], mode, align_corners, dy.dtype))
    return (np.ascontiguousarray(dy),)


def adaptive_max_pool2d_forward(x, *, output_size):
    """y = the largest value of each bin, see `resizing.bins`; NaN is larger than any number.

    x (N, H, W, C), y (N, P, Q, C). Saved: index (N, P, Q, C) = h W + w of the first of the largest.
    """
    n, h, w, c = x.shape
    y, index = np.empty((n, *output_size, c), x.dtype), np.empty((n, *output_size, c), np.int32)
    for p, (top, below) in enumerate(bins(h, output_size[0])):
        for q, (left, right) in enumerate(bins(w, output_size[1])):
            cells = x[:, top:below, left:right].reshape(n, (below - top) * (right - left), c)
            y[:, p, q] = cells.max(axis=1)
            rows, columns = np.divmod(cells.argmax(axis=1), right - left)
            index[:, p, q] = (top + rows) * w + left + columns
    return y, (x.shape, index)


def adaptive_max_pool2d_backward(dy, saved, needs):
    """dx = the sum of dy over the bins that each pixel won."""
    (n, h, w, c), index = saved
    if not needs[0]:
        return (None,)
    places = np.arange(n)[:, None, None, None], index, np.arange(c)
    return (scattered((n, h * w, c), places, dy).reshape(n, h, w, c),)
