"""Convolution, activation and pooling as one operation: with max-pooling the convolution's output is never written.

The windows lie side by side, so some rows of windows and their convolution are one job. Where the convolution is
`direct`, it computes the few rows of a row of windows into a buffer in cache, from which the largest and its place in
the window are kept. The gradient comes back to that one place: a row of windows is spread out in cache, zeros where
another pixel won, and goes into the gradient of the weights. Elsewhere the operation is the two it is made of; so it is
with average-pooling, which could not leave out writing the activations that its gradient needs.
"""

from __future__ import annotations

import numpy as np

from ..memory import empty
from .conv import ABILITIES, conv2d_backward, conv2d_forward
from .direct import (
    add_line,
    fetch_rows,
    gradients_of,
    line_tile,
    origin,
    plan_forward,
    plan_gradient,
    rows_in_cache,
    window_shape,
)
from .gemm import MIN_JOBS, add_partials, pack_panel, padded_bias
from .jit import JOB, PRODUCT, SERIAL_WORK, contiguous, helper, jit, parallel_for, scratch
from .linear import activate, activation_gradient
from .pool import avg_pool2d_backward, avg_pool2d_forward, max_pool2d_backward, max_pool2d_forward
from .simd import ROWS, VECTORS, address, lanes, tile_relu, tile_zero, zero_bytes
from .vector import (
    vector_load,
    vector_load_as,
    vector_load_as_part,
    vector_load_part,
    vector_store,
    vector_store_as,
    vector_store_as_part,
    vector_store_part,
    vector_where_equal,
    vector_where_larger,
)


def conv2d_max_pool2d_forward(x, weight, bias, *, plan):
    """y = act(max over each window of x * w + b)."""
    plan, relu = plan.of(ABILITIES), plan.activation == "relu"
    if plan.windows:
        y, index = _forward(contiguous(x), contiguous(weight), bias, relu, plan.geometry, plan.output, plan.pool)
    else:  # ReLU first: where it gives 0 there is no gradient, whoever wins the window
        z, _ = conv2d_forward(x, weight, bias, plan=plan.alone("relu" if relu else None))
        y, (_, index, *_) = max_pool2d_forward(
            z, kernel_size=plan.pool, stride=plan.pool, padding=(0, 0), dilation=(1, 1), ceil_mode=False
        )
    y = activate(y, plan.activation)
    return y, (x, weight, y if plan.activation else None, index, plan)


def conv2d_max_pool2d_backward(dy, saved, needs):
    """dweight and dbias from the windows where the method can, the rest from dz, the gradient of x * w + b."""
    x, weight, y, index, plan = saved
    plan, dx, dweight, dbias = plan.of(ABILITIES), None, None, None
    dy = activation_gradient(dy, y, plan.activation)
    inside = bool(plan.windows_back)
    if inside and (needs[1] or needs[2]):
        dweight, dbias = _gradients(contiguous(dy), contiguous(index), contiguous(x), weight.shape, plan.geometry,
                                    plan.pool, bool(needs[2]))  # fmt: skip
    outside = (needs[0], False, False) if inside else needs
    if any(outside):
        (dz,) = max_pool2d_backward(dy, (plan.output, index, plan.pool, plan.pool, (0, 0), (1, 1)), (True,))
        dx, *rest = conv2d_backward(dz, (x, weight, None, plan.alone(None)), outside)
        dweight, dbias = (dweight, dbias) if inside else rest
    return dx, dweight if needs[1] else None, dbias


def conv2d_avg_pool2d_forward(x, weight, bias, *, plan):
    """y = mean over each window of a = act(x * w + b)."""
    a, _ = conv2d_forward(x, weight, bias, plan=plan.alone(plan.activation))
    y, _ = avg_pool2d_forward(
        a, kernel_size=plan.pool, stride=plan.pool, padding=(0, 0), ceil_mode=False, count_include_pad=True
    )
    return y, (x, weight, a if plan.activation else None, plan)


def conv2d_avg_pool2d_backward(dy, saved, needs):
    """All gradients from da, the gradient of the activations."""
    x, weight, a, plan = saved
    (da,) = avg_pool2d_backward(dy, (plan.output, plan.pool, plan.pool, (0, 0), True), (True,))
    return conv2d_backward(da, (x, weight, a, plan.alone(plan.activation)), needs)


def _forward(x, weight, bias, relu, geometry, shape, pool):
    """y and the index of each window's winner."""
    y = empty((shape[0], shape[1] // pool[0], shape[2] // pool[1], shape[3]), x.dtype)
    index = empty(y.shape, np.uint8 if pool[0] * pool[1] <= 256 else np.int32)
    columns = y.shape[2] * pool[1]
    fit = rows_in_cache(x, weight.shape, geometry, columns) // pool[0]
    per_job = max(1, min(y.shape[1], fit, -(-y.shape[0] * y.shape[1] // MIN_JOBS)))
    window = window_shape(x, weight.shape, geometry, per_job * pool[0], columns)
    matrix, packed, offsets = plan_forward(weight, geometry, window)
    _convolve(x, matrix, packed, padded_bias(bias, weight.shape[0], x), y, index, geometry.stride, origin(geometry),
              offsets, relu, pool, per_job, window)  # fmt: skip
    return y, index


def _gradients(dy, index, x, shape, geometry, pool, with_bias):
    """dweight and, where wanted, dbias."""
    plan = plan_gradient(shape, dy.shape[0] * dy.shape[1], dy, with_bias)
    window = window_shape(x, shape, geometry, pool[0], dy.shape[2] * pool[1])
    _correlate(x, dy, index, plan.partial, plan.total, geometry.stride, origin(geometry), geometry.dilation[0],
               shape[1], with_bias, plan.tile, pool, plan.per_job, window)  # fmt: skip
    return gradients_of(plan, shape, with_bias)


@helper
def _larger(like, value, number, best, winner):
    """The larger of the best so far and a value, with its number; the first of equals, and the first NaN."""
    winner = vector_where_larger(value, best, tile_zero(1, 1, like) + number, winner)
    return vector_where_larger(value, best, value, best), winner


@helper
def _largest(like, cell, down, across, pool):
    """One register: the largest of a window and its number; written out for the usual 2 x 2."""
    best, winner = vector_load(like, cell), tile_zero(1, 1, like)
    if pool[0] == 2 and pool[1] == 2:
        best, winner = _larger(like, vector_load(like, cell + across), 1, best, winner)
        best, winner = _larger(like, vector_load(like, cell + down), 2, best, winner)
        return _larger(like, vector_load(like, cell + down + across), 3, best, winner)
    for r in range(pool[0]):
        for s in range(pool[1]):
            value = vector_load(like, cell + r * down + s * across)
            best, winner = _larger(like, value, r * pool[1] + s, best, winner)
    return best, winner


@helper
def _pool_line(lines, pool, relu, y, index, n, p, column):
    """One row of windows: y and index from the rows of the convolution, for one panel of channels."""
    step, down, across = lanes(y), lines.strides[0], lines.strides[1]
    for q in range(y.shape[2]):
        for v in range(0, min(lines.shape[2], y.shape[3] - column), step):
            best, winner = _largest(y, address(lines, (0, q * pool[1], v)), down, across, pool)
            if relu:
                best = tile_relu(best)
            to, count = address(y, (n, p, q, column + v)), y.shape[3] - column - v
            to_index = address(index, (n, p, q, column + v))
            if count >= step:
                vector_store(best, to)
                vector_store_as(winner, index, to_index)
            else:
                vector_store_part(best, to, count)
                vector_store_as_part(winner, index, to_index, count)


@helper
def _pool_job(job, worker, x, packed, bias, relu, y, index, stride, origin, offsets, pool, per_job, window):
    """Some rows of windows of one image."""
    size, width, pixels = y.itemsize, packed.shape[2], y.shape[2] * pool[1]
    n, block = divmod(job, -(-y.shape[1] // per_job))
    first, last = block * per_job, min(y.shape[1], (block + 1) * per_job)
    image, lines = scratch(x, JOB, window), scratch(y, PRODUCT, (pool[0], pixels + ROWS, width))
    fetch_rows(x, n, first * pool[0] * stride[0] + origin[0], origin[1], image)
    a_row = stride[1] * x.shape[3] * size
    for panel in range(packed.shape[0]):
        b, from_bias = address(packed, (panel, 0, 0)), address(bias, (panel * width,)) if bias.size else 0
        narrow = y.shape[3] - panel * width <= lanes(y)
        for p in range(first, last):
            for r in range(pool[0]):
                row = address(image, (((p - first) * pool[0] + r) * stride[0], 0, 0))
                for q in range(0, pixels, ROWS):
                    a, to = row + q * a_row, address(lines, (r, q, 0))
                    if narrow:
                        line_tile(tile_zero(ROWS, 1, y), a, a_row, offsets, b, width * size, from_bias, False, to,
                                  width * size)  # fmt: skip
                    else:
                        line_tile(tile_zero(ROWS, VECTORS, y), a, a_row, offsets, b, width * size, from_bias, False, to,
                                  width * size)  # fmt: skip
            _pool_line(lines, pool, relu, y, index, n, p, panel * width)


@jit
def _convolve(x, weight, packed, bias, y, index, stride, origin, offsets, relu, pool, per_job, window):
    parallel_for(pack_panel, packed.shape[0], (weight, True, packed), weight.size < SERIAL_WORK)
    jobs = y.shape[0] * -(-y.shape[1] // per_job)
    arguments = (x, packed, bias, relu, y, index, stride, origin, offsets, pool, per_job, window)
    parallel_for(_pool_job, jobs, arguments, y.size * pool[0] * pool[1] * weight.shape[1] < SERIAL_WORK)


@helper
def _spread_cells(zero, value, won, to, down, across, pool):
    """One register of one window: the value where its pixel won, 0 at the others; written out for the usual 2 x 2."""
    if pool[0] == 2 and pool[1] == 2:
        vector_store(vector_where_equal(won, zero, value, zero), to)
        vector_store(vector_where_equal(won, zero + 1, value, zero), to + across)
        vector_store(vector_where_equal(won, zero + 2, value, zero), to + down)
        vector_store(vector_where_equal(won, zero + 3, value, zero), to + down + across)
        return
    for r in range(pool[0]):
        for s in range(pool[1]):
            share = vector_where_equal(won, zero + (r * pool[1] + s), value, zero)
            vector_store(share, to + r * down + s * across)


@helper
def _spread_line(dy, index, n, p, pool, lines):
    """lines (rows of a window, pixels, K) = dy where the pixel won its window, else 0; lines end with a register."""
    channels, step, size, item = dy.shape[3], lanes(dy), dy.itemsize, index.itemsize
    whole, down, across = channels // step * step, lines.strides[0], lines.strides[1]
    from_dy, from_index, to = address(dy, (n, p, 0, 0)), address(index, (n, p, 0, 0)), address(lines, (0, 0, 0))
    for _ in range(dy.shape[2]):
        for k in range(0, whole, step):
            value = vector_load(dy, from_dy + k * size)
            won = vector_load_as(dy, index, from_index + k * item)
            _spread_cells(tile_zero(1, 1, dy), value, won, to + k * size, down, across, pool)
        if whole < channels:
            value = vector_load_part(dy, from_dy + whole * size, channels - whole)
            won = vector_load_as_part(dy, index, from_index + whole * item, channels - whole)
            _spread_cells(tile_zero(1, 1, dy), value, won, to + whole * size, down, across, pool)
        from_dy += channels * size
        from_index += channels * item
        to += pool[1] * across


@helper
def _gradient_job(job, worker, x, dy, index, partial, stride, origin, dilation, taps, sums, tile, pool, per_job,
                  window):  # fmt: skip
    """A chunk of the rows of windows of all images: partial[job] = dweight (R S C, K), and the sums for dbias."""
    image, c, pixels = scratch(x, JOB, window), partial[job], dy.shape[2] * pool[1]
    lines = scratch(dy, PRODUCT, (pool[0], pixels, c.shape[1]))
    zero_bytes(address(c, (0, 0)), c.size * c.itemsize)
    a_step, down = stride[1] * x.shape[3] * x.itemsize, image.strides[0] * dilation
    for place in range(job * per_job, min(dy.shape[0] * dy.shape[1], (job + 1) * per_job)):
        n, p = divmod(place, dy.shape[1])
        fetch_rows(x, n, p * pool[0] * stride[0] + origin[0], origin[1], image)
        _spread_line(dy, index, n, p, pool, lines)
        for r in range(pool[0]):
            add_line(tile, address(image, (r * stride[0], 0, 0)), a_step, down, taps, address(lines, (r, 0, 0)),
                     lines.strides[1], pixels, c, sums)  # fmt: skip


@jit
def _correlate(x, dy, index, partial, total, stride, origin, dilation, taps, sums, tile, pool, per_job, window):
    work = dy.size * pool[0] * pool[1] * total.shape[0]
    arguments = (x, dy, index, partial, stride, origin, dilation, taps, sums, tile, pool, per_job, window)
    parallel_for(_gradient_job, partial.shape[0], arguments, work < SERIAL_WORK)
    parallel_for(add_partials, total.shape[0], (partial, total, total[0, :0], False), partial.size < SERIAL_WORK)
