"""The gradient of an image of few channels: a direct convolution of dy in which the pixels are the lanes.

    dx[n, h, w, c] = sum over r, s, k of dy[n, p, q, k] w[k, r, s, c],   h = p sh + r dh - top,  w = q sw + s dw - left

A matrix product would have C columns only, of which a register tile fills 16. Here a tile is channels x pixels: rows of
dy are transposed to (K, Q) in cache, with zeros at both ends, and each tap adds the product of a column of weights, its
C channels, with a run of pixels. Pixels fall into sh x sw classes, (h mod sh, w mod sw), each with its taps (`im2col`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..conv_methods import Geometry
from ..memory import empty, zeros
from .gemm import panel_width
from .im2col import flipped_offsets
from .jit import JOB, SERIAL_WORK, TILE, helper, jit, parallel_for, scratch
from .simd import ROWS, VECTORS, address, lanes, tile_outer, tile_store, tile_zero, zero_bytes
from .vector import transpose_block, transpose_part
from .vmath import inlined

PLANE_BYTES = 256 * 1024  # of transposed rows: they share L2 with the weights
LOW, WIDE = ROWS // 2, 2 * VECTORS  # of a flat register tile


def input_gradient(dz, weight, shape, geometry: Geometry) -> np.ndarray:
    """dx."""
    dx = empty(shape, dz.dtype)
    k, r, s, channels = weight.shape
    height, width = tile = (ROWS, panel_width(dz.itemsize)) if channels > LOW else (LOW, 2 * panel_width(dz.itemsize))
    packed = zeros((r, s, k, -(-channels // height) * height), dz.dtype)
    packed[..., :channels] = weight.transpose(1, 2, 0, 3)
    stride, padding, dilation, _ = geometry
    rows, row_starts, low, high = _classes(r, stride[0], padding[0], dilation[0])
    columns, column_starts, left, right = _classes(s, stride[1], padding[2], dilation[1])
    pixels = -(-shape[2] // stride[1])
    line = max(-(-dz.shape[2] // width) * width, -(-pixels // width) * width + right) - left  # width: whole registers
    fit = PLANE_BYTES // (k * line * dz.itemsize) if dz.size else 1
    per_job = max(1, min(shape[1], (fit - (high - low) - 2) * stride[0]))
    window = ((per_job - 1) // stride[0] + high - low + 2, k, line)
    _convolve(dz, packed, dx, rows, row_starts, columns, column_starts, stride, (low, left), per_job, tile, window)
    return dx


@lru_cache(maxsize=256)
def _classes(size, stride, padding, dilation):
    """(offset, tap) of the pixels of each class of one axis, where each class begins, lowest and highest offset."""
    taps = [flipped_offsets(place + padding, size, stride, dilation) for place in range(stride)]
    table = np.array([pair for each in taps for pair in each], np.int64).reshape(-1, 2)
    starts = np.cumsum([0, *map(len, taps)])
    return table, starts.astype(np.int64), min(0, int(table[:, 0].min())), max(0, int(table[:, 0].max()))


@helper
def _transpose_line(dz, n, p, planes, place, left):
    """planes[place, k, q - left] = dz[n, p, q, k], zero for q outside."""
    step, depth, pixels = lanes(dz), dz.shape[3], dz.shape[2]
    zero_bytes(address(planes, (place, 0, 0)), planes.strides[0])
    to_row, row = planes.strides[1], dz.strides[2]
    for q in range(0, pixels, step):
        for k in range(0, depth, step):
            start, to = address(dz, (n, p, q, k)), address(planes, (place, k, q - left))
            rows, columns = min(step, pixels - q), min(step, depth - k)
            if rows == step and columns == step:
                transpose_block(dz, start, row, to, to_row)
            else:
                transpose_part(dz, start, row, rows, columns, to, to_row)


@inlined
def _add_tap(tile, a, a_step, b, b_step, depth, size):
    """tile (channels x pixels) += sum over k of the weights of a tap times a run of pixels."""
    for k in range(depth):
        tile = tile_outer(tile, a + k * a_step, size, b + k * b_step)
    return tile


@helper
def _write_row(zero, tile, planes, packed, dx, n, h, first, rows, row_starts, columns, column_starts, stride, left,
               lines):  # fmt: skip
    """One row of dx."""
    size, depth = dx.itemsize, packed.shape[2]
    a_step, b_step = packed.strides[2], planes.strides[1]
    edge, channels = scratch(dx, TILE, tile), dx.shape[3]
    place = h % stride[0]
    for column in range(min(stride[1], dx.shape[2])):
        pixels = -(-(dx.shape[2] - column) // stride[1])
        for w in range(0, pixels, tile[1]):
            for c in range(0, channels, tile[0]):
                total = zero
                for e in range(row_starts[place], row_starts[place + 1]):
                    p = h // stride[0] + rows[e, 0]
                    if 0 <= p < lines:
                        for f in range(column_starts[column], column_starts[column + 1]):
                            a = address(packed, (rows[e, 1], columns[f, 1], 0, c))
                            b = address(planes, (p - first, 0, w + columns[f, 0] - left))
                            total = _add_tap(total, a, a_step, b, b_step, depth, size)
                tile_store(total, address(edge, (0, 0)), tile[1] * size)
                for i in range(min(tile[1], pixels - w)):
                    for j in range(min(tile[0], channels - c)):
                        dx[n, h, column + (w + i) * stride[1], c + j] = edge[j, i]


@helper
def _band_job(job, worker, dz, packed, dx, rows, row_starts, columns, column_starts, stride, low, per_job, tile,
              window):  # fmt: skip
    """Some rows of dx of one image."""
    n, band = divmod(job, -(-dx.shape[1] // per_job))
    planes = scratch(dz, JOB, window)
    first = band * per_job // stride[0] + low[0]
    for place in range(window[0]):
        if 0 <= first + place < dz.shape[1]:
            _transpose_line(dz, n, first + place, planes, place, low[1])
    for h in range(band * per_job, min(dx.shape[1], (band + 1) * per_job)):
        if tile[0] == ROWS:
            _write_row(tile_zero(ROWS, VECTORS, dx), tile, planes, packed, dx, n, h, first, rows, row_starts, columns,
                       column_starts, stride, low[1], dz.shape[1])  # fmt: skip
        else:
            _write_row(tile_zero(LOW, WIDE, dx), tile, planes, packed, dx, n, h, first, rows, row_starts, columns,
                       column_starts, stride, low[1], dz.shape[1])  # fmt: skip


@jit
def _convolve(dz, packed, dx, rows, row_starts, columns, column_starts, stride, low, per_job, tile, window):
    jobs = dx.shape[0] * -(-dx.shape[1] // per_job)
    arguments = (dz, packed, dx, rows, row_starts, columns, column_starts, stride, low, per_job, tile, window)
    parallel_for(_band_job, jobs, arguments, dz.size * packed.shape[0] * packed.shape[1] < SERIAL_WORK)
