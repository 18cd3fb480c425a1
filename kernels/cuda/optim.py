"""Optimizer updates, in one pass: each reads the parameter, its gradient and the state once and writes them once.

Bytes moved a parameter in float32: SGD 12, with momentum 20; RMSprop 20; Adam 28. The updates are defined in
`kernels/reference/optim.py`.

The numbers that differ from step to step, learning rates and corrections, lie in device memory (`scalars`), so that a
captured graph reads those of its replay. ``grad_scale`` may be an array of one number beside the gradients, as
`clip_factor` gives it: then nothing waits for the norm.
"""

from __future__ import annotations

import math

from ..reference.optim import rectification
from .device import Array
from .dialect import cuda, device, f64, kernel, real, real_dtype
from .loops import THREADS
from .rows import THREADS as SUMMING
from .rows import WARPS, block_sum
from .scalars import on_device


def updating(param, grad, *others):
    """The bytes that an update moves: the gradient is read, what else there is is read and written."""
    return grad.nbytes + 2 * sum(getattr(each, "nbytes", 0) for each in (param, *others))


@device
def scale_of(number, factor, has_factor):
    """What gradients are multiplied by: a number of the host's, and one that has been computed here."""
    return number * factor[0] if has_factor else number


@kernel("pppssiiii", moved=updating)
def sgd(param, grad, buffer, numbers, factor, has_factor, has_buffer, nesterov, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        lr, momentum, undamped = numbers[1], numbers[2], numbers[3]
        g = scale_of(numbers[0], factor, has_factor) * grad[i] + numbers[4] * param[i]
        if has_buffer:
            b = g if numbers[5] != 0 else momentum * buffer[i] + undamped * g
            buffer[i] = b
            g = g + momentum * b if nesterov else b
        param[i] -= lr * g


@kernel("ppppssiiii", moved=updating)
def rmsprop(param, grad, square_avg, buffer, numbers, factor, has_factor, inside, has_buffer, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        lr, alpha, rest, eps = numbers[1], numbers[2], numbers[3], numbers[4]
        g = scale_of(numbers[0], factor, has_factor) * grad[i] + numbers[5] * param[i]
        s = alpha * square_avg[i] + rest * (g * g)
        square_avg[i] = s
        update = g / (math.sqrt(s + eps) if inside else math.sqrt(s) + eps)
        if has_buffer:
            update = numbers[6] * buffer[i] + update
            buffer[i] = update
        param[i] -= lr * update


@device
def averages(param, grad, exp_avg, exp_avg_sq, i, numbers, factor, has_factor):
    """Adam's averages at i, the gradient that they were updated by, and the parameter after decoupled decay.

    numbers: `_averages`, which begins with what the host multiplies gradients by.
    """
    p = param[i] * numbers[6]
    g = scale_of(numbers[0], factor, has_factor) * grad[i] + numbers[5] * p
    m = numbers[1] * exp_avg[i] + numbers[2] * g
    v = numbers[3] * exp_avg_sq[i] + numbers[4] * (g * g)
    exp_avg[i] = m
    exp_avg_sq[i] = v
    return p, g, m, v


ADAM = "ppppssii"  # param, grad, exp_avg, exp_avg_sq, numbers, factor, has_factor, n


@kernel(ADAM, moved=updating)
def adam(param, grad, exp_avg, exp_avg_sq, numbers, factor, has_factor, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        rate, root_correction, eps = numbers[7], numbers[8], numbers[9]
        p, _, m, v = averages(param, grad, exp_avg, exp_avg_sq, i, numbers, factor, has_factor)
        param[i] = p - rate * (m / (math.sqrt(v) / root_correction + eps))


@kernel(ADAM, moved=updating)
def nadam(param, grad, exp_avg, exp_avg_sq, numbers, factor, has_factor, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        fresh, old, root_correction, eps = numbers[7], numbers[8], numbers[9], numbers[10]
        p, g, m, v = averages(param, grad, exp_avg, exp_avg_sq, i, numbers, factor, has_factor)
        param[i] = p - (fresh * g + old * m) / (math.sqrt(v) / root_correction + eps)


@kernel(ADAM, moved=updating)
def radam(param, grad, exp_avg, exp_avg_sq, numbers, factor, has_factor, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        rate, eps, rectified = numbers[7], numbers[8], numbers[9]
        p, _, m, v = averages(param, grad, exp_avg, exp_avg_sq, i, numbers, factor, has_factor)
        param[i] = p - rate * (m / (math.sqrt(v) + eps) if rectified != 0 else m)


@kernel("pppssii", moved=updating)
def adagrad(param, grad, squares, numbers, factor, has_factor, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        lr, eps = numbers[1], numbers[2]
        g = scale_of(numbers[0], factor, has_factor) * grad[i] + numbers[3] * param[i]
        s = squares[i] + g * g
        squares[i] = s
        param[i] -= lr * (g / (math.sqrt(s) + eps))


@kernel("pppssii", moved=updating)
def lion(param, grad, exp_avg, numbers, factor, has_factor, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        lr, keep = numbers[1], numbers[6]
        g = scale_of(numbers[0], factor, has_factor) * grad[i]
        m = exp_avg[i]
        direction = numbers[2] * m + numbers[3] * g
        sign = real(1) if direction > 0 else (real(-1) if direction < 0 else direction)
        param[i] = param[i] * keep - lr * sign
        exp_avg[i] = numbers[4] * m + numbers[5] * g


def _update(update, arrays: tuple, grad_scale, numbers: tuple, *flags) -> None:
    """Run a kernel over all elements; its numbers begin with what the host multiplies gradients by."""
    param = arrays[0]
    factor = grad_scale if isinstance(grad_scale, Array) else None
    numbers = on_device(param, (1.0 if factor is not None else grad_scale, *numbers), real_dtype(param.dtype))
    grid = -(-param.size // THREADS), 1, 1
    update(grid, THREADS, *arrays, numbers, factor, factor is not None, *flags, param.size)


def sgd_step(param, grad, momentum_buffer, *, lr, momentum, dampening, nesterov, weight_decay, grad_scale, first):
    _update(sgd, (param, grad, momentum_buffer), grad_scale, (lr, momentum, 1 - dampening, weight_decay, first),
            momentum_buffer is not None, nesterov)  # fmt: skip


def rmsprop_step(
    param, grad, square_avg, momentum_buffer, *, lr, alpha, eps, eps_inside_sqrt, weight_decay, momentum, grad_scale
):
    _update(rmsprop, (param, grad, square_avg, momentum_buffer), grad_scale,
            (lr, alpha, 1 - alpha, eps, weight_decay, momentum),
            eps_inside_sqrt, momentum_buffer is not None)  # fmt: skip


def _averages(lr, beta1, beta2, weight_decay, decoupled):
    """The numbers 1 to 6 that `averages` takes: what decoupled decay leaves of a parameter is the last."""
    keep, decay = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    return beta1, 1 - beta1, beta2, 1 - beta2, decay, keep


def adam_step(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step):
    _update(adam, (param, grad, exp_avg, exp_avg_sq), grad_scale,
            (*_averages(lr, beta1, beta2, weight_decay, decoupled), lr / (1 - beta1**step),
             math.sqrt(1 - beta2**step), eps))  # fmt: skip


def nadam_step(
    param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step, mu, next_mu,
    mu_product,
):  # fmt: skip
    fresh, old = lr * (1 - mu) / (1 - mu_product), lr * next_mu / (1 - mu_product * next_mu)
    _update(nadam, (param, grad, exp_avg, exp_avg_sq), grad_scale,
            (*_averages(lr, beta1, beta2, weight_decay, decoupled), fresh, old,
             math.sqrt(1 - beta2**step), eps))  # fmt: skip


def radam_step(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step):
    scale = rectification(beta2, step)
    rate = lr / (1 - beta1**step) * (1.0 if scale is None else scale)
    _update(radam, (param, grad, exp_avg, exp_avg_sq), grad_scale,
            (*_averages(lr, beta1, beta2, weight_decay, decoupled), rate, eps, scale is not None))  # fmt: skip


def adagrad_step(param, grad, square_sum, *, lr, eps, weight_decay, grad_scale):
    _update(adagrad, (param, grad, square_sum), grad_scale, (lr, eps, weight_decay))


def lion_step(param, grad, exp_avg, *, lr, beta1, beta2, weight_decay, grad_scale):
    _update(lion, (param, grad, exp_avg), grad_scale, (lr, beta1, 1 - beta1, beta2, 1 - beta2, 1 - lr * weight_decay))


# Sums in float64 over several arrays: shares of each first, then all of these in order.


@kernel("udiiii")
def partial_sums(x, parts, first, n, share, absolute):
    """parts[first + block] = the sum of x^2, or of |x|, over a share of x."""
    part = cuda.shared.array(WARPS, f64)
    begin = cuda.blockIdx.x * share
    total = f64(0)
    for i in range(begin + cuda.threadIdx.x, min(begin + share, n), SUMMING):
        value = f64(x[i])
        total += abs(value) if absolute else value * value
    total = block_sum(total, part)
    if cuda.threadIdx.x == 0:
        parts[first + cuda.blockIdx.x] = total


@kernel("udddi")
def summary(factor, total, parts, limit, count):
    """total[0] = the sum of the parts; factor[0] = min(1, limit[0] / (root of it + 1e-6)), NaN where that is NaN."""
    part = cuda.shared.array(WARPS, f64)
    value = f64(0)
    for i in range(cuda.threadIdx.x, count, SUMMING):
        value += parts[i]
    value = block_sum(value, part)
    if cuda.threadIdx.x == 0:
        total[0] = value
        clipped = limit[0] / (math.sqrt(value) + 1e-6)
        factor[0] = real(1) if clipped >= 1 else real(clipped)


def clip_factor(gradients, limit, absolute=False):
    """(factor, total): arrays of one number for arrays of one dtype on one device, at least one.

    total = sum g^2 in float64, or with `absolute` sum |g|;  factor = min(1, limit / (sqrt(total) + 1e-6))
    """
    shares = [max(4096, -(-g.size // 1024)) for g in gradients]
    counts = [max(1, -(-g.size // share)) for g, share in zip(gradients, shares)]
    one = gradients[0]
    parts, first = one.device.empty((sum(counts),), "float64"), 0
    for g, share, count in zip(gradients, shares, counts):
        partial_sums((count, 1, 1), SUMMING, g, parts, first, g.size, share, absolute)
        first += count
    factor, total = one.device.empty((1,), real_dtype(one.dtype)), one.device.empty((1,), "float64")
    summary((1, 1, 1), SUMMING, factor, total, parts, on_device(one, (limit,), "float64"), first)
    return factor, total


def square_sum(x):
    return float(clip_factor([x], 1.0)[1].numpy()[0])


def abs_sum(x):
    return float(clip_factor([x], 1.0, absolute=True)[1].numpy()[0])
