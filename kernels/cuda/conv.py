"""Convolution as an implicit product: the tiles of `gemm`, whose numbers are fetched where the windows have them.

    forward   y (N P Q, K)     = windows of x (N P Q, R S C)    times the weight (K, R S C), transposed
    dx        dx (N H W, C)    = windows of dz (N H W, R S K)   times the weight (R S K, C)
    dweight   dw (K, R S C)    = dz (N P Q, K), transposed      times the windows of x (N P Q, R S C)

No matrix of windows is written; a group is a product of its own, and where it is one channel `depthwise` serves it. The
operations are defined in `kernels/reference/conv.py`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from ..conv_methods import Abilities
from ..conv_on_device import DEVICE_METHODS, OnDevice
from ..halves import HALVES
from . import conv_cudnn, conv_im2col, depthwise
from .columns import column_sums
from .cudnn_problem import DTYPES
from .dialect import cuda, device, kernel, real
from .gemm import BOUNDS, CODES, THREADS, TILE, activate, multiply, reduced_parts, room_for_parts, splits_of
from .linear import activated
from .tf32 import tf32_is_allowed


@device
def window(x, row, depth, h, w, c, p, q, s, sh, sw, top, left, dh, dw, channels, first):
    """x at place `depth` (r, s, c) of window `row` (n, p, q), channels from `first` on; 0 outside of the image."""
    tap = depth // c
    y = row // q % p * sh + tap // s * dh - top
    z = row % q * sw + tap % s * dw - left
    inside = y >= 0 and y < h and z >= 0 and z < w
    return x[((row // q // p * h + y) * w + z) * channels + first + depth % c] if inside else real(0)


@device
def transposed_window(dz, row, depth, h, w, k, p, q, s, sh, sw, top, left, dh, dw, channels, first):
    """dz at place `depth` (r, s, k) of all outputs that pixel `row` (n, h, w) went to; 0 where it went to none."""
    tap = depth // k
    y = row // w % h + top - tap // s * dh
    z = row % w + left - tap % s * dw
    inside = y >= 0 and y % sh == 0 and y // sh < p and z >= 0 and z % sw == 0 and z // sw < q
    return dz[((row // w // h * p + y // sh) * q + z // sw) * channels + first + depth % k] if inside else real(0)


GEOMETRY = 16 * "i"  # n h w c p q k r s sh sw top left dh dw groups; c and k of a group


@kernel("pppp" + GEOMETRY + "ii", bounds=BOUNDS)
def forward(x, weight, bias, y, n, h, w, c, p, q, k, r, s, sh, sw, top, left, dh, dw, groups, has_bias, code):
    tile_a = cuda.shared.array(16 * 68, real, alignment=16)
    tile_b = cuda.shared.array(16 * 68, real, alignment=16)
    sums = cuda.local.array(16, real)
    t = cuda.threadIdx.x
    group = cuda.blockIdx.z
    row0 = cuda.blockIdx.y * 64
    column0 = cuda.blockIdx.x * 64
    depth = r * s * c
    for i in range(16):
        sums[i] = real(0)
    for d0 in range(0, depth, 16):
        for i in range(4):
            at = t + i * 256
            line = at // 16
            d = d0 + at % 16
            a, b = real(0), real(0)
            if d < depth:
                if row0 + line < n * p * q:
                    a = window(x, row0 + line, d, h, w, c, p, q, s, sh, sw, top, left, dh, dw, groups * c, group * c)
                if column0 + line < k:
                    b = weight[(group * k + column0 + line) * depth + d]
            tile_a[at % 16 * 68 + line] = a
            tile_b[at % 16 * 68 + line] = b
        cuda.syncthreads()
        multiply(tile_a, tile_b, sums, t // 16, t % 16)
        cuda.syncthreads()
    for i in range(16):
        row = row0 + t // 16 * 4 + i // 4
        column = column0 + t % 16 * 4 + i % 4
        if row < n * p * q and column < k:
            value = sums[i] + bias[group * k + column] if has_bias else sums[i]
            y[row * groups * k + group * k + column] = activate(value, code)


@kernel("ppp" + GEOMETRY, bounds=BOUNDS)
def dx(dz, weight, out, n, h, w, c, p, q, k, r, s, sh, sw, top, left, dh, dw, groups):
    tile_a = cuda.shared.array(16 * 68, real, alignment=16)
    tile_b = cuda.shared.array(16 * 68, real, alignment=16)
    sums = cuda.local.array(16, real)
    t = cuda.threadIdx.x
    group = cuda.blockIdx.z
    row0 = cuda.blockIdx.y * 64
    column0 = cuda.blockIdx.x * 64
    depth = r * s * k
    for i in range(16):
        sums[i] = real(0)
    for d0 in range(0, depth, 16):
        for i in range(4):
            at = t + i * 256
            line = at // 16
            d = d0 + at % 16
            value = real(0)
            if d < depth and row0 + line < n * h * w:
                value = transposed_window(dz, row0 + line, d, h, w, k, p, q, s, sh, sw, top, left, dh, dw, groups * k,
                                          group * k)  # fmt: skip
            tile_a[at % 16 * 68 + line] = value
            column = column0 + at % 64
            d = d0 + at // 64
            value = real(0)
            if d < depth and column < c:
                value = weight[((group * k + d % k) * r * s + d // k) * c + column]
            tile_b[at // 64 * 68 + at % 64] = value
        cuda.syncthreads()
        multiply(tile_a, tile_b, sums, t // 16, t % 16)
        cuda.syncthreads()
    for i in range(16):
        row = row0 + t // 16 * 4 + i // 4
        column = column0 + t % 16 * 4 + i % 4
        if row < n * h * w and column < c:
            out[row * groups * c + group * c + column] = sums[i]


@kernel("pps" + GEOMETRY + "i", bounds=BOUNDS)
def dweight(x, dz, out, n, h, w, c, p, q, k, r, s, sh, sw, top, left, dh, dw, groups, splits):
    """Block z makes a share of the depth of one group."""
    tile_a = cuda.shared.array(16 * 68, real, alignment=16)
    tile_b = cuda.shared.array(16 * 68, real, alignment=16)
    sums = cuda.local.array(16, real)
    t = cuda.threadIdx.x
    group = cuda.blockIdx.z // splits
    row0 = cuda.blockIdx.y * 64
    column0 = cuda.blockIdx.x * 64
    depth = n * p * q
    columns = r * s * c
    share = (depth + splits * 16 - 1) // (splits * 16) * 16
    begin = cuda.blockIdx.z % splits * share
    for i in range(16):
        sums[i] = real(0)
    for d0 in range(begin, min(begin + share, depth), 16):
        for i in range(4):
            at = t + i * 256
            line = at % 64
            d = d0 + at // 64
            a, b = real(0), real(0)
            if d < depth:
                if row0 + line < k:
                    a = dz[d * groups * k + group * k + row0 + line]
                if column0 + line < columns:
                    b = window(x, d, column0 + line, h, w, c, p, q, s, sh, sw, top, left, dh, dw, groups * c, group * c)
            tile_a[at // 64 * 68 + line] = a
            tile_b[at // 64 * 68 + line] = b
        cuda.syncthreads()
        multiply(tile_a, tile_b, sums, t // 16, t % 16)
        cuda.syncthreads()
    for i in range(16):
        row = row0 + t // 16 * 4 + i // 4
        column = column0 + t % 16 * 4 + i % 4
        if row < k and column < columns:
            out[((cuda.blockIdx.z % splits * groups + group) * k + row) * columns + column] = sums[i]


def _geometry(plan):
    """The sizes that the kernels take, see GEOMETRY."""
    (sh, sw), (top, _, left, _), (dh, dw), groups = plan.geometry
    (n, h, w, _), (_, p, q, outputs), (_, r, s, c) = plan.image, plan.output, plan.kernel
    return n, h, w, c, p, q, outputs // groups, r, s, sh, sw, top, left, dh, dw, groups


def _grid(rows, columns, groups):
    return -(-columns // TILE), -(-rows // TILE), groups


def abilities(device_: Any, dtype: Any) -> Abilities:
    """What the convolutions of a device can do for arrays of a dtype."""
    return _abilities(device_.no_cudnn, device_.cublas is not None, dtype, tf32_is_allowed())


@cache
def _abilities(no_cudnn: str, cublas: bool, dtype: Any, tf32: bool) -> Abilities:
    name = str(dtype)
    no_cudnn = no_cudnn or ("" if name in DTYPES else f"it is not asked for {name}")
    methods = tuple(method for method in DEVICE_METHODS if method != "cudnn" or not no_cudnn)
    tensor_cores = name in HALVES or (name == "float32" and tf32)
    return Abilities(methods, on_device=OnDevice(no_cudnn, cublas, tensor_cores))


def on_device(plan, x):
    """The plan for arrays as x, made anew where another backend made it."""
    return plan.of(abilities(x.device, x.dtype))


def conv2d_forward(x, weight, bias, *, plan):
    plan = on_device(plan, x)
    y = conv_cudnn.forward(x, weight, bias, plan) if plan.forward == "cudnn" else None
    if plan.forward == "im2col":
        y = conv_im2col.forward(x, weight, bias, plan)
    elif y is None and depthwise.is_depthwise(plan):
        y = depthwise.outputs(x, weight, bias, plan, plan.activation)
    elif y is None:
        n, h, w, c, p, q, k, *_, groups = geometry = _geometry(plan)
        y = x.device.empty(plan.output, x.dtype)
        code = CODES[plan.activation]
        forward(_grid(n * p * q, k, groups), THREADS, x, weight, bias, y, *geometry, bias is not None, code)
    return y, (x, weight, y if plan.activation else None, plan)


def conv2d_backward(dy, saved, needs):
    x, weight, y, plan = saved
    dz, dbias = activated(dy, y, plan.activation, math.prod(plan.output[:3]), needs[2])
    dz = dz.reshape(plan.output)
    gradient_of_x = image_gradient(dz, weight, plan) if needs[0] else None
    gradient_of_weight = None
    if needs[1]:
        gradient_of_weight, total = weight_gradient(x, dz, plan, needs[2] and dbias is None, needs[1])
        dbias = total if dbias is None else dbias
    elif needs[2] and dbias is None:
        dbias = channel_sums(dz)
    return gradient_of_x, gradient_of_weight, dbias


def image_gradient(dz, weight, plan):
    """dx (N, H, W, C)."""
    plan = on_device(plan, dz)
    if plan.dx == "im2col":
        return conv_im2col.image_gradient(dz, weight, plan)
    if plan.dx == "cudnn" and (out := conv_cudnn.image_gradient(dz, weight, plan)) is not None:
        return out
    if depthwise.is_depthwise(plan):
        return depthwise.image_gradient(dz, weight, plan)
    n, h, w, c, p, q, k, *_, groups = geometry = _geometry(plan)
    out = dz.device.empty(plan.image, dz.dtype)
    dx(_grid(n * h * w, c, groups), THREADS, dz, weight, out, *geometry)
    return out


def weight_gradient(x, dz, plan, sums=False, need=True):
    """dweight (K, R, S, C/groups), and where wanted dz's sums (K,). need: where dweight goes, see `destination`.

    The depth, all windows, is cut into shares where there are few tiles.
    """
    plan = on_device(plan, x)
    if plan.dweight == "im2col":
        return conv_im2col.weight_gradient(x, dz, plan, sums, need)
    if plan.dweight == "cudnn" and (out := conv_cudnn.weight_gradient(x, dz, plan, need)) is not None:
        return out, channel_sums(dz) if sums else None
    if depthwise.is_depthwise(plan):
        return depthwise.weight_gradient(x, dz, plan, need), channel_sums(dz) if sums else None
    n, h, w, c, p, q, k, r, s, *_, groups = geometry = _geometry(plan)
    tiles_x, tiles_y, _ = _grid(k, r * s * c, groups)
    splits = splits_of(tiles_x * tiles_y * groups, n * p * q)
    parts, out = room_for_parts(need, splits, plan.kernel, x.device, x.dtype)
    dweight((tiles_x, tiles_y, groups * splits), THREADS, x, dz, parts, *geometry, splits)
    return reduced_parts(parts, x.dtype, out), channel_sums(dz) if sums else None


def channel_sums(dz):
    """The sum over all but the last axis."""
    channels = dz.shape[-1]
    return column_sums(dz.reshape(dz.size // channels if channels else 0, channels))
