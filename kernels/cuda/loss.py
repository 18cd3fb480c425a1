"""Losses. Elementwise ones make an array of losses, which `summed` adds; cross-entropy makes a row by a block.

The operations are defined in `kernels/reference/loss.py`.
"""

from __future__ import annotations

import math

from .dialect import cuda, device, full_name, i64, kernel, real, real_dtype
from .elementwise import gated, sigmoid, softplus
from .loops import THREADS as ELEMENTS
from .loops import like, mapped_two
from .rows import THREADS, WARPS, block_max, block_sum, larger

INFINITY, NAN = math.inf, math.nan


@kernel("psii")
def partial(x, parts, n, share):
    """parts[block] = the sum of a share of x."""
    part = cuda.shared.array(WARPS, real)
    first = cuda.blockIdx.x * share
    total = real(0)
    for i in range(first + cuda.threadIdx.x, min(first + share, n), THREADS):
        total += x[i]
    total = block_sum(total, part)
    if cuda.threadIdx.x == 0:
        parts[cuda.blockIdx.x] = total


@kernel("spif")
def whole(parts, y, n, divisor):
    """y[0] = the sum of x / divisor, by one block."""
    part = cuda.shared.array(WARPS, real)
    total = real(0)
    for i in range(cuda.threadIdx.x, n, THREADS):
        total += parts[i]
    total = block_sum(total, part)
    if cuda.threadIdx.x == 0:
        y[0] = total / divisor


def summed(x, divisor=1.0, dtype=None):
    """The sum of all numbers of x over a divisor, as a 0-d array of a dtype (None: x's); shares of 4096 first."""
    share = max(4096, -(-x.size // 4096))
    parts = x.device.empty((max(1, -(-x.size // share)),), real_dtype(x.dtype))
    partial((parts.size, 1, 1), THREADS, x, parts, x.size, share)
    y = x.device.empty((), x.dtype if dtype is None else dtype)
    whole((1, 1, 1), THREADS, parts, y, parts.size, divisor)
    return y


def reduced(losses, reduction):
    """The elementwise losses, their sum, or their mean."""
    if reduction == "none":
        return losses
    return summed(losses, losses.size if reduction == "mean" else 1.0)


def spread(slope):
    """run(dy, x, target, reduction, a=0) -> dx, dtarget, for losses whose dx is dloss slope(x, target, a) = -dtarget.

    dloss is dy, or for the mean its equal share.
    """
    one = device(slope)

    @kernel("pppppfiif", full_name(slope))
    def loop(dy, x, target, dx, dtarget, a, n, single, factor):
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        if i < n:
            g = dy[0 if single else i] * factor * one(x[i], target[i], a)
            dx[i] = g
            dtarget[i] = -g

    def run(dy, x, target, reduction, needs, a=0.0):
        dx, dtarget = like(x), like(x)
        factor = 1.0 / max(x.size, 1) if reduction == "mean" else 1.0
        grid = (-(-x.size // ELEMENTS), 1, 1)
        loop(grid, ELEMENTS, dy, x, target, dx, dtarget, a, x.size, reduction != "none", factor)
        return dx if needs[0] else None, dtarget if needs[1] else None

    return run


@mapped_two
def _mse(x, target, a, b):
    return (x - target) * (x - target)


@spread
def _mse_slope(x, target, a):
    return real(2) * (x - target)


def mse_forward(x, target, *, reduction):
    return reduced(_mse(x, target), reduction), (x, target, reduction)


def mse_backward(dy, saved, needs):
    x, target, reduction = saved
    return _mse_slope(dy, x, target, reduction, needs)


@mapped_two
def _l1(x, target, a, b):
    return abs(x - target)


@spread
def _l1_slope(x, target, a):
    d = x - target
    return real(1) if d > 0 else (real(-1) if d < 0 else d)


def l1_forward(x, target, *, reduction):
    return reduced(_l1(x, target), reduction), (x, target, reduction)


def l1_backward(dy, saved, needs):
    x, target, reduction = saved
    return _l1_slope(dy, x, target, reduction, needs)


@mapped_two
def _huber(x, target, delta, b):
    d = abs(x - target)
    near = d if d < delta or d != d else delta
    return near * (d - real(0.5) * near)


@spread
def _huber_slope(x, target, delta):
    d = x - target
    return d if d != d else min(max(d, -delta), delta)


def huber_forward(x, target, *, delta, reduction):
    return reduced(_huber(x, target, delta), reduction), (x, target, delta, reduction)


def huber_backward(dy, saved, needs):
    x, target, delta, reduction = saved
    return _huber_slope(dy, x, target, reduction, needs, delta)


@kernel("pppppiii")
def bce(x, target, weight, pos_weight, y, has_weight, has_pos_weight, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        positive = pos_weight[i] * target[i] if has_pos_weight else target[i]
        loss = gated(softplus(-x[i]), positive) + gated(softplus(x[i]), real(1) - target[i])
        y[i] = weight[i] * loss if has_weight else loss


@kernel("pppppppiiiif")
def bce_back(dy, x, target, weight, pos_weight, dx, dtarget, has_weight, has_pos_weight, n, single, factor):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        g = dy[0 if single else i] * factor
        g = g * weight[i] if has_weight else g
        p = pos_weight[i] if has_pos_weight else real(1)
        dx[i] = g * ((real(1) - target[i]) * sigmoid(x[i]) - p * target[i] * sigmoid(-x[i]))
        dtarget[i] = g * (p * softplus(-x[i]) - softplus(x[i]))


def bce_with_logits_forward(x, target, weight, pos_weight, *, reduction):
    y, grid = like(x), (-(-x.size // ELEMENTS), 1, 1)
    given = weight is not None, pos_weight is not None
    bce(grid, ELEMENTS, x, target, weight, pos_weight, y, *given, x.size)
    return reduced(y, reduction), (x, target, weight, pos_weight, reduction)


def bce_with_logits_backward(dy, saved, needs):
    x, target, weight, pos_weight, reduction = saved
    dx, dtarget, grid = like(x), like(x), (-(-x.size // ELEMENTS), 1, 1)
    factor = 1.0 / max(x.size, 1) if reduction == "mean" else 1.0
    given = weight is not None, pos_weight is not None
    bce_back(
        grid, ELEMENTS, dy, x, target, weight, pos_weight, dx, dtarget, *given, x.size, reduction != "none", factor
    )
    return dx if needs[0] else None, dtarget if needs[1] else None, None, None


@kernel("plsspsiiwf")
def cross_entropy(logits, target, weight, logs, losses, row_weights, classes, has_weight, ignore_index, smoothing):
    """A row's maximum and log of its sum of exponentials, its loss, and the weight it counts with.

    A label of no class, for which nobody has looked on the CPU, makes the loss NaN.
    """
    part = cuda.shared.array(WARPS, real)
    row = cuda.blockIdx.x
    base = row * classes
    best, total, all_logs = real(-INFINITY), real(0), real(0)
    for c in range(cuda.threadIdx.x, classes, THREADS):
        best = larger(best, logits[base + c])
    best = block_max(best, part)
    for c in range(cuda.threadIdx.x, classes, THREADS):
        total += math.exp(logits[base + c] - best)
    log = math.log(block_sum(total, part))
    if smoothing > 0:
        for c in range(cuda.threadIdx.x, classes, THREADS):
            term = (logits[base + c] - best) - log
            all_logs += weight[c] * term if has_weight else term
        all_logs = block_sum(all_logs, part)
    if cuda.threadIdx.x == 0:
        label = target[row]
        counted = label != ignore_index
        wrong = counted and (label < 0 or label >= classes)
        label = label if counted and not wrong else i64(0)
        row_weight = (weight[label] if has_weight else real(1)) if counted else real(0)
        loss = gated(-((logits[base + label] - best) - log), row_weight)
        if smoothing > 0:
            spread_loss = -all_logs / real(classes) if counted else real(0)
            loss = (real(1) - smoothing) * loss + smoothing * spread_loss
        logs[row] = best
        logs[cuda.gridDim.x + row] = log
        losses[row] = real(NAN) if wrong else loss
        row_weights[row] = row_weight


@kernel("pspslsspiiiiwf")
def cross_entropy_back(dy, divisor, logits, logs, target, weight, weights, dlogits, classes, has_weight, single, mean,
                       ignore_index, smoothing):  # fmt: skip
    """dlogits of a row; divisor[0] is the sum of the rows' weights, weights[0] that of the classes'."""
    row = cuda.blockIdx.x
    base = row * classes
    label = target[row]
    counted = label != ignore_index
    wrong = counted and (label < 0 or label >= classes)
    label = label if counted and not wrong else i64(0)
    row_weight = weight[label] if has_weight else real(1)
    g = real(NAN) if wrong else dy[0 if single else row]
    g = g / divisor[0] if mean else g
    spread_weight = smoothing / real(classes)
    all_q = (real(1) - smoothing) * row_weight
    if smoothing > 0:
        all_q += spread_weight * (weights[0] if has_weight else real(classes))
    for c in range(cuda.threadIdx.x, classes, THREADS):
        q = spread_weight * weight[c] if has_weight else spread_weight
        if c == label:
            q += (real(1) - smoothing) * row_weight
        p = math.exp((logits[base + c] - logs[row]) - logs[cuda.gridDim.x + row])
        dlogits[base + c] = g * (p * all_q - q) if counted else real(0)


@kernel("ssp")
def divided(total, weights, y):
    """y[0] = total[0] / weights[0]."""
    if cuda.threadIdx.x == 0:
        y[0] = total[0] / weights[0]


def cross_entropy_forward(logits, target, weight, *, label_smoothing, ignore_index, reduction):
    rows, classes = logits.shape
    empty, dtype, wide = logits.device.empty, logits.dtype, real_dtype(logits.dtype)
    logs, losses, row_weights = empty((2, rows), wide), empty((rows,), dtype), empty((rows,), wide)
    cross_entropy((rows, 1, 1), THREADS, logits, target, weight, logs, losses, row_weights, classes,
                  weight is not None, ignore_index, label_smoothing)  # fmt: skip
    divisor = summed(row_weights) if reduction == "mean" else None
    saved = (logits, logs, target, weight, divisor, label_smoothing, ignore_index, reduction)
    if reduction != "mean":
        return reduced(losses, reduction), saved
    y = empty((), dtype)
    divided((1, 1, 1), 32, summed(losses, dtype=wide), divisor, y)
    return y, saved


def cross_entropy_backward(dy, saved, needs):
    logits, logs, target, weight, divisor, label_smoothing, ignore_index, reduction = saved
    if not needs[0]:
        return None, None, None
    rows, classes = logits.shape
    weights = summed(weight) if weight is not None and label_smoothing > 0 else None
    dlogits = like(logits)
    cross_entropy_back((rows, 1, 1), THREADS, dy, divisor, logits, logs, target, weight, weights, dlogits, classes,
                       weight is not None, reduction != "none", reduction == "mean", ignore_index,
                       label_smoothing)  # fmt: skip
    return dlogits, None, None
