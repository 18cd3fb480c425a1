"""Normalisation. The operations are defined in `kernels/reference/norm.py`.

Layer, RMS and group norm are one: a block normalises the numbers of an image's group, ``pixels`` times ``channels`` of
them, together (a row of layer norm is an image of one pixel and one group). Batch norm sums columns.
Means are corrected by the mean of what is left, since that of numbers far from 0 is rounded. Saved by layer and group
norm: both means and rstd, (3, N, G). Weight, bias, mean, variance and their gradients are of the dtype that kernels
compute in: float32 for an x in half.

Bytes moved: layer norm forward 8 a number where the caches hold a row, backward 20; batch norm forward 16, backward 24.
"""

from __future__ import annotations

import math

from .columns import COLUMNS as WIDTH
from .columns import LINES, ROWS
from .dialect import cuda, i32, kernel, real, real_dtype
from .gemm import CODES, activate, reduced_parts
from .linear import activation_gradient
from .loops import THREADS as ELEMENTS
from .loops import like, mapped
from .rows import THREADS, WARPS, block_sum


@kernel("psspsiiifiii")
def group(x, weight, bias, y, statistics, pixels, groups, channels, eps, centre, has_weight, has_bias):
    part = cuda.shared.array(WARPS, real)
    g = cuda.blockIdx.x % groups
    width = groups * channels
    base = cuda.blockIdx.x // groups * pixels * width + g * channels
    count = pixels * channels
    mean, left, total = real(0), real(0), real(0)
    if centre:
        for k in range(cuda.threadIdx.x, count, THREADS):
            total += x[base + k // channels * width + k % channels]
        mean = block_sum(total, part) / real(count)
        total = real(0)
        for k in range(cuda.threadIdx.x, count, THREADS):
            total += x[base + k // channels * width + k % channels] - mean
        left = block_sum(total, part) / real(count)
        total = real(0)
    for k in range(cuda.threadIdx.x, count, THREADS):
        u = x[base + k // channels * width + k % channels] - mean - left
        total += u * u
    rstd = real(1) / math.sqrt(block_sum(total, part) / real(count) + eps)
    for k in range(cuda.threadIdx.x, count, THREADS):
        at = base + k // channels * width + k % channels
        c = g * channels + k % channels
        u = (x[at] - mean - left) * rstd
        u = u * weight[c] if has_weight else u
        y[at] = u + bias[c] if has_bias else u
    if cuda.threadIdx.x == 0:
        statistics[cuda.blockIdx.x] = mean
        statistics[cuda.gridDim.x + cuda.blockIdx.x] = left
        statistics[2 * cuda.gridDim.x + cuda.blockIdx.x] = rstd


@kernel("ppsspiiiii")
def group_back(dy, x, weight, statistics, dx, pixels, groups, channels, centre, has_weight):
    part = cuda.shared.array(WARPS, real)
    g = cuda.blockIdx.x % groups
    width = groups * channels
    base = cuda.blockIdx.x // groups * pixels * width + g * channels
    count = pixels * channels
    mean = statistics[cuda.blockIdx.x]
    left = statistics[cuda.gridDim.x + cuda.blockIdx.x]
    rstd = statistics[2 * cuda.gridDim.x + cuda.blockIdx.x]
    sum_h, sum_hu = real(0), real(0)
    for k in range(cuda.threadIdx.x, count, THREADS):
        at = base + k // channels * width + k % channels
        h = dy[at] * weight[g * channels + k % channels] if has_weight else dy[at]
        sum_h += h
        sum_hu += h * ((x[at] - mean - left) * rstd)
    mean_h = block_sum(sum_h, part) / real(count) if centre else real(0)
    mean_hu = block_sum(sum_hu, part) / real(count)
    for k in range(cuda.threadIdx.x, count, THREADS):
        at = base + k // channels * width + k % channels
        h = dy[at] * weight[g * channels + k % channels] if has_weight else dy[at]
        dx[at] = (h - mean_h - (x[at] - mean - left) * rstd * mean_hu) * rstd


@kernel("ppsssiiiiii")
def group_columns(dy, x, statistics, dweight, dbias, m, n, pixels, groups, channels, images):
    """Shares of dweight = the sum of dy u and dbias = the sum of dy, over the rows of a block."""
    sums = cuda.shared.array(512, real)
    column = cuda.blockIdx.x * 32 + cuda.threadIdx.x
    slot = cuda.threadIdx.y * 32 + cuda.threadIdx.x
    first = cuda.blockIdx.y * 512
    sum_w, sum_b = real(0), real(0)
    if column < n:
        for row in range(first + cuda.threadIdx.y, min(first + 512, m), 8):
            k = row // pixels * groups + column // channels
            u = (x[row * n + column] - statistics[k] - statistics[images + k]) * statistics[2 * images + k]
            sum_w += dy[row * n + column] * u
            sum_b += dy[row * n + column]
    sums[slot] = sum_w
    sums[256 + slot] = sum_b
    cuda.syncthreads()
    if cuda.threadIdx.y == 0 and column < n:
        for line in range(1, 8):
            sum_w += sums[line * 32 + cuda.threadIdx.x]
            sum_b += sums[256 + line * 32 + cuda.threadIdx.x]
        dweight[cuda.blockIdx.y * n + column] = sum_w
        dbias[cuda.blockIdx.y * n + column] = sum_b


def _group_forward(x, weight, bias, pixels, groups, eps, centre=True):
    channels = x.shape[-1] // groups
    images = x.size // (pixels * channels) if x.size else 0
    y, statistics = like(x), x.device.empty((3, images), real_dtype(x.dtype))
    group((images, 1, 1), THREADS, x, weight, bias, y, statistics, pixels, groups, channels, eps, centre,
          weight is not None, bias is not None)  # fmt: skip
    return y, statistics


def _group_backward(dy, x, weight, statistics, pixels, groups, needs, centre=True):
    n = x.shape[-1]
    channels, images, m = n // groups, statistics.shape[1], math.prod(x.shape[:-1])
    dx = dweight = dbias = None
    if needs[0]:
        dx = like(x)
        group_back((images, 1, 1), THREADS, dy, x, weight, statistics, dx, pixels, groups, channels, centre,
                   weight is not None)  # fmt: skip
    if any(needs[1:]):
        shares = max(1, -(-m // ROWS))
        parts = [x.device.empty((shares, n), statistics.dtype) for _ in range(2)]
        group_columns((-(-n // WIDTH), shares, 1), (WIDTH, LINES), dy, x, statistics, *parts, m, n, max(pixels, 1),
                      groups, channels, images)  # fmt: skip
        dweight, dbias = (reduced_parts(each) for each in parts)
    return dx, dweight if needs[1] else None, dbias if len(needs) > 2 and needs[2] else None


def layer_norm_forward(x, weight, bias, *, eps):
    y, statistics = _group_forward(x, weight, bias, 1, 1, eps)
    return y, (x, weight, statistics)


def layer_norm_backward(dy, saved, needs):
    x, weight, statistics = saved
    return _group_backward(dy, x, weight, statistics, 1, 1, needs)


def rms_norm_forward(x, weight, *, eps):
    y, statistics = _group_forward(x, weight, None, 1, 1, eps, centre=False)
    return y, (x, weight, statistics)


def rms_norm_backward(dy, saved, needs):
    x, weight, statistics = saved
    return _group_backward(dy, x, weight, statistics, 1, 1, needs, centre=False)[:2]


def group_norm_forward(x, weight, bias, *, groups, eps):
    pixels = math.prod(x.shape[1:-1])
    y, statistics = _group_forward(x, weight, bias, pixels, groups, eps)
    return y, (x, weight, statistics, pixels, groups)


def group_norm_backward(dy, saved, needs):
    x, weight, statistics, pixels, groups = saved
    return _group_backward(dy, x, weight, statistics, pixels, groups, needs)


@kernel("pssiii")
def deviations(x, mean, parts, m, n, power):
    """Shares of the sums of (x - mean)^power over the rows of each column."""
    sums = cuda.shared.array(256, real)
    column = cuda.blockIdx.x * 32 + cuda.threadIdx.x
    first = cuda.blockIdx.y * 512
    total = real(0)
    if column < n:
        centre = mean[column]
        for row in range(first + cuda.threadIdx.y, min(first + 512, m), 8):
            d = x[row * n + column] - centre
            total += d * d if power == 2 else d
    sums[cuda.threadIdx.y * 32 + cuda.threadIdx.x] = total
    cuda.syncthreads()
    if cuda.threadIdx.y == 0 and column < n:
        for line in range(1, 8):
            total += sums[line * 32 + cuda.threadIdx.x]
        parts[cuda.blockIdx.y * n + column] = total


@kernel("ppfi")
def moved(mean, sums, rows, n):
    """mean += sums / rows."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        mean[i] += sums[i] / rows


def _column_mean(x, mean, power):
    """mean + the mean over M of (x - mean)^power, for (C,) mean."""
    n = x.shape[-1]
    m = math.prod(x.shape[:-1])
    shares = max(1, -(-m // ROWS))
    parts = x.device.empty((shares, n), mean.dtype)
    deviations((-(-n // WIDTH), shares, 1), (WIDTH, LINES), x, mean, parts, m, n, power)
    result = zeros(mean) if power == 2 else mean
    moved((-(-n // ELEMENTS), 1, 1), ELEMENTS, result, reduced_parts(parts), max(m, 1), n)
    return result


def zeros(x):
    """Zeros like x."""
    y = like(x)
    x.device.fill(y, 0)
    return y


@kernel("psspsspiiiiiif")
def batch(x, weight, bias, residual, mean, var, y, has_weight, has_bias, has_residual, code, n, total, eps):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < total:
        c = i % n
        z = (x[i] - mean[c]) / math.sqrt(var[c] + eps)
        z = z * weight[c] if has_weight else z
        z = z + bias[c] if has_bias else z
        z = z + residual[i] if has_residual else z
        y[i] = activate(z, code)


@kernel("ppssssiif")
def batch_columns(g, x, mean, var, dweight, dbias, m, n, eps):
    """Shares of dweight = the sum of g u and dbias = the sum of g, over the rows of a block."""
    sums = cuda.shared.array(512, real)
    column = cuda.blockIdx.x * 32 + cuda.threadIdx.x
    slot = cuda.threadIdx.y * 32 + cuda.threadIdx.x
    first = cuda.blockIdx.y * 512
    sum_w, sum_b = real(0), real(0)
    if column < n:
        rstd = real(1) / math.sqrt(var[column] + eps)
        for row in range(first + cuda.threadIdx.y, min(first + 512, m), 8):
            sum_w += g[row * n + column] * ((x[row * n + column] - mean[column]) * rstd)
            sum_b += g[row * n + column]
    sums[slot] = sum_w
    sums[256 + slot] = sum_b
    cuda.syncthreads()
    if cuda.threadIdx.y == 0 and column < n:
        for line in range(1, 8):
            sum_w += sums[line * 32 + cuda.threadIdx.x]
            sum_b += sums[256 + line * 32 + cuda.threadIdx.x]
        dweight[cuda.blockIdx.y * n + column] = sum_w
        dbias[cuda.blockIdx.y * n + column] = sum_b


@kernel("ppssssspiiiff")
def batch_back(g, x, weight, mean, var, dweight, dbias, dx, has_weight, from_batch, n, rows, eps):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n * i32(rows):
        c = i % n
        rstd = real(1) / math.sqrt(var[c] + eps)
        h = g[i]
        if from_batch:
            h = h - dbias[c] / rows - (x[i] - mean[c]) * rstd * (dweight[c] / rows)
        dx[i] = h * (rstd * weight[c] if has_weight else rstd)


@mapped
def _copy(x, a, b):
    return x


def _blocks(x):
    return -(-x.size // ELEMENTS), 1, 1


def _scaled(x, weight, bias, residual, mean, var, eps, activation):
    y = like(x)
    given = (each is not None for each in (weight, bias, residual))
    batch(_blocks(x), ELEMENTS, x, weight, bias, residual, mean, var, y, *given, CODES[activation], x.shape[-1],
          x.size, eps)  # fmt: skip
    return y


def batch_norm_forward(x, weight, bias, residual, mean, var, *, eps, activation):
    from_batch = mean is None
    if from_batch:
        mean = zeros(x.device.empty(x.shape[-1:], real_dtype(x.dtype)))
        mean = _column_mean(x, _column_mean(x, mean, 1), 1)
        var = _column_mean(x, mean, 2)
    y = _scaled(x, weight, bias, residual, mean, var, eps, activation)
    kept = None if activation is None or (activation == "relu" and residual is None) else y
    return y, (x, weight, bias, mean, var, kept, eps, from_batch, activation)


def batch_norm_backward(dy, saved, needs):
    x, weight, bias, mean, var, y, eps, from_batch, activation = saved
    if activation == "relu" and y is None:
        y = _scaled(x, weight, bias, None, mean, var, eps, None)
    g = activation_gradient(dy, y, activation)
    n, m = x.shape[-1], math.prod(x.shape[:-1])
    shares = max(1, -(-m // ROWS))
    parts = [x.device.empty((shares, n), mean.dtype) for _ in range(2)]
    batch_columns((-(-n // WIDTH), shares, 1), (WIDTH, LINES), g, x, mean, var, *parts, m, n, eps)
    dweight, dbias = (reduced_parts(each) for each in parts)
    dx = None
    if needs[0]:
        dx = like(x)
        batch_back(_blocks(x), ELEMENTS, g, x, weight, mean, var, dweight, dbias, dx, weight is not None, from_batch, n,
                   max(m, 1), eps)  # fmt: skip
    dresidual = (_copy(g) if g is dy else g) if needs[3] else None
    return dx, dweight if needs[1] else None, dbias if needs[2] else None, dresidual, None, None
