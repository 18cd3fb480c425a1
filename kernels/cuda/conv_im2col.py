"""Convolution by im2col: the windows of the image as a matrix, and products of `gemm`, which may be cuBLASLt's.

    columns (N P Q, R S C)      y = columns W^T      dW = dz^T columns      dcolumns = dz W, added up by col2im to dx

A 1 x 1 kernel multiplies the image itself. Images are taken as many at a time as leave the matrix within MOST_BYTES,
and groups one by one. Bytes moved by `im2col`: the matrix once, the image from cache; by `col2im` likewise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..conv_on_device import is_product
from .cast import cast
from .columns import column_sums
from .device import Array
from .dialect import cuda, device, kernel, real, real_dtype, store4
from .gemm import finished, gemm, matrix, reduced_parts
from .linear import weight_gradient as product_of_gradients
from .loops import THREADS, blocks, destination

MOST_BYTES = 1 << 28


@device
def place(row, depth, h, w, c, p, q, s, sh, sw, top, left, dh, dw, channels, first):
    """Where the number at place `depth` (r, s, c) of window `row` (n, p, q) lies in the image, -1 outside of it."""
    tap = depth // c
    y = row // q % p * sh + tap // s * dh - top
    z = row % q * sw + tap % s * dw - left
    inside = y >= 0 and y < h and z >= 0 and z < w
    return ((row // q // p * h + y) * w + z) * channels + first + depth % c if inside else -1


GEOMETRY = 14 * "i"  # h w c p q s sh sw top left dh dw channels first


@kernel("up" + GEOMETRY + "ii")
def im2col(x, columns, h, w, c, p, q, s, sh, sw, top, left, dh, dw, channels, first, depth, size):
    """Four numbers a thread, which lie side by side where 4 divides the channels."""
    i = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * 4
    if c % 4 == 0:
        if i < size:
            at = place(i // depth, i % depth, h, w, c, p, q, s, sh, sw, top, left, dh, dw, channels, first)
            if at >= 0:
                store4(columns, i, x[at], x[at + 1], x[at + 2], x[at + 3])
            else:
                store4(columns, i, real(0), real(0), real(0), real(0))
    else:
        for j in range(i, min(i + 4, size)):
            at = place(j // depth, j % depth, h, w, c, p, q, s, sh, sw, top, left, dh, dw, channels, first)
            columns[j] = x[at] if at >= 0 else real(0)


@kernel("pu" + GEOMETRY + "iii")
def col2im(columns, dx, h, w, c, p, q, s, sh, sw, top, left, dh, dw, channels, first, depth, taps, size):
    """dx of a pixel's channel: the sum over the windows that read it, in the order of their taps."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < size:
        channel = i % c
        pixel = i // c
        image = pixel // w // h
        total = real(0)
        for tap in range(taps):
            y = pixel // w % h + top - tap // s * dh
            z = pixel % w + left - tap % s * dw
            if y >= 0 and y % sh == 0 and y // sh < p and z >= 0 and z % sw == 0 and z // sw < q:
                total += columns[((image * p + y // sh) * q + z // sw) * depth + tap * c + channel]
        dx[pixel * channels + first + channel] = total


@kernel("uuiiiiii")
def block(source, target, columns, source_row, source_first, target_row, target_first, size):
    """Some columns of a matrix into those of another; a thread copies one number."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < size:
        row = i // columns
        column = i % columns
        target[row * target_row + target_first + column] = source[row * source_row + source_first + column]


def _numbers(plan, group):
    """GEOMETRY of a plan."""
    (sh, sw), (top, _, left, _), (dh, dw), _ = plan.geometry
    (_, h, w, channels), (_, p, q, _), (_, _, s, c) = plan.image, plan.output, plan.kernel
    return h, w, c, p, q, s, sh, sw, top, left, dh, dw, channels, group * c


def _shares(plan, itemsize: int) -> Iterator[tuple[int, int]]:
    """The images (first, end) that are taken at a time."""
    images, windows = plan.output[0], math.prod(plan.output[1:3])
    each = max(1, MOST_BYTES // max(1, windows * math.prod(plan.kernel[1:]) * itemsize))
    for first in range(0, images, each):
        yield first, min(first + each, images)


def _columns(x: Array, plan, group: int) -> Array:
    """The windows of these images as a matrix (N P Q, R S C), for the channels of a group."""
    depth, windows = math.prod(plan.kernel[1:]), len(x) * math.prod(plan.output[1:3])
    if is_product(plan.kernel, plan.geometry):
        return x.reshape(windows, depth)
    columns = x.device.empty((windows, depth), x.dtype)
    im2col(blocks(columns.size), THREADS, x, columns, *_numbers(plan, group), depth, columns.size)
    return columns


def _group(array: Array, groups: int, group: int) -> Array:
    """A group's channels (rows, K/groups) of an array (..., K), as a matrix without gaps."""
    rows, channels = math.prod(array.shape[:-1]), array.shape[-1]
    if groups == 1:
        return array.reshape(rows, channels)
    each = channels // groups
    part = array.device.empty((rows, each), array.dtype)
    block(_one_each(part), THREADS, array, part, each, channels, group * each, each, 0, part.size)
    return part


def _one_each(array: Array) -> tuple[int, int, int]:
    """A grid with a thread for each number."""
    return -(-array.size // THREADS), 1, 1


def forward(x: Array, weight: Array, bias: Array | None, plan) -> Array:
    """y (N, P, Q, K) = act(conv(x) + bias)."""
    y = x.device.empty(plan.output, x.dtype)
    groups, outputs, depth = plan.geometry.groups, plan.kernel[0], math.prod(plan.kernel[1:])
    if not y.size:
        return y
    each = outputs // groups
    for first, end in _shares(plan, x.itemsize):
        images, out = x.rows(first, end), y.rows(first, end)
        rows = (end - first) * math.prod(plan.output[1:3])
        for group in range(groups):
            kernels = matrix(weight.rows(group * each, (group + 1) * each).reshape(each, depth)).transposed
            columns = matrix(_columns(images, plan, group))
            if groups == 1:
                gemm(columns, kernels, out, rows, outputs, depth, bias=bias, activation=plan.activation)
            else:
                part = gemm(columns, kernels, x.device.empty((rows, each), x.dtype), rows, each, depth)
                block(_one_each(part), THREADS, part, out, each, each, 0, outputs, group * each, part.size)
    return y if groups == 1 else finished(y, bias, plan.activation)


def image_gradient(dz: Array, weight: Array, plan) -> Array:
    """dx (N, H, W, C)."""
    dx = dz.device.empty(plan.image, dz.dtype)
    groups, outputs, depth = plan.geometry.groups, plan.kernel[0], math.prod(plan.kernel[1:])
    each, taps = outputs // groups, math.prod(plan.kernel[1:3])
    for first, end in _shares(plan, dz.itemsize):
        out, share = dx.rows(first, end), dz.rows(first, end)
        rows = (end - first) * math.prod(plan.output[1:3])
        for group in range(groups):
            kernels = matrix(weight.rows(group * each, (group + 1) * each).reshape(each, depth))
            part = matrix(_group(share, groups, group))
            if is_product(plan.kernel, plan.geometry):
                gemm(part, kernels, out, rows, depth, each)
                continue
            columns = gemm(part, kernels, dz.device.empty((rows, depth), dz.dtype), rows, depth, each)
            size = (end - first) * math.prod(plan.image[1:3]) * plan.kernel[3]
            col2im((-(-size // THREADS), 1, 1), THREADS, columns, out, *_numbers(plan, group), depth, taps, size)
    return dx


def weight_gradient(x: Array, dz: Array, plan, sums: bool = False, need=True) -> tuple[Array, Array | None]:
    """dweight (K, R, S, C/groups), and where wanted dz's sums (K,), which cuBLASLt adds up on the way.

    need: where dweight goes, see `destination`.
    """
    groups, outputs, depth = plan.geometry.groups, plan.kernel[0], math.prod(plan.kernel[1:])
    shares = list(_shares(plan, x.itemsize))
    if groups == 1 and len(shares) == 1:
        dweight, total = product_of_gradients(_group(dz, 1, 0), _columns(x, plan, 0), sums, need=need)
        return dweight if dweight.shape == plan.kernel else dweight.reshape(plan.kernel), total
    each = outputs // groups
    parts = x.device.empty((max(len(shares), 1), outputs, depth), x.dtype)
    if not shares:
        x.device.fill(parts, 0)
    for number, (first, end) in enumerate(shares):
        rows = (end - first) * math.prod(plan.output[1:3])
        for group in range(groups):
            left = matrix(_group(dz.rows(first, end), groups, group)).transposed
            out = parts.rows(number, number + 1).reshape(outputs, depth).rows(group * each, (group + 1) * each)
            gemm(left, matrix(_columns(x.rows(first, end), plan, group)), out, each, depth, rows)
    total = column_sums(_group(dz, 1, 0)) if sums else None
    out = destination(need, plan.kernel, x.device, x.dtype)
    return reduced_parts(cast(parts, real_dtype(x.dtype)), x.dtype, out), total
