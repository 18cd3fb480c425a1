"""Optimizer updates, in one pass: each reads the parameter, its gradient and the state once and writes them once.

Bytes moved a parameter in float32: SGD 12, with momentum 20; RMSprop 20; Adam 28. The updates are defined in
`kernels/reference/optim.py`.
"""

from __future__ import annotations

import math

from ..reference.optim import rectification
from .dialect import cuda, device, kernel, real
from .loops import THREADS, mapped
from .loss import summed


@kernel("pppffffiiifi")
def sgd(param, grad, buffer, lr, momentum, dampening, weight_decay, has_buffer, nesterov, first, grad_scale, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        g = grad_scale * grad[i] + weight_decay * param[i]
        if has_buffer:
            b = g if first else momentum * buffer[i] + (real(1) - dampening) * g
            buffer[i] = b
            g = g + momentum * b if nesterov else b
        param[i] -= lr * g


@kernel("ppppfffffffiii")
def rmsprop(param, grad, square_avg, buffer, lr, alpha, rest, eps, weight_decay, momentum, grad_scale, inside,
            has_buffer, n):  # fmt: skip
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        g = grad_scale * grad[i] + weight_decay * param[i]
        s = alpha * square_avg[i] + rest * (g * g)
        square_avg[i] = s
        update = g / (math.sqrt(s + eps) if inside else math.sqrt(s) + eps)
        if has_buffer:
            update = momentum * buffer[i] + update
            buffer[i] = update
        param[i] -= lr * update


@device
def averages(param, grad, exp_avg, exp_avg_sq, i, beta1, rest1, beta2, rest2, weight_decay, keep, grad_scale):
    """Adam's averages at i, the gradient that they were updated by, and the parameter after decoupled decay.

    keep: what decoupled decay leaves of the parameter; weight_decay is 0 then.
    """
    p = param[i] * keep
    g = grad_scale * grad[i] + weight_decay * p
    m = beta1 * exp_avg[i] + rest1 * g
    v = beta2 * exp_avg_sq[i] + rest2 * (g * g)
    exp_avg[i] = m
    exp_avg_sq[i] = v
    return p, g, m, v


AVERAGES = "pppp" + 7 * "f"


@kernel(AVERAGES + "fffi")
def adam(param, grad, exp_avg, exp_avg_sq, beta1, rest1, beta2, rest2, weight_decay, keep, grad_scale, rate,
         root_correction, eps, n):  # fmt: skip
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        p, g, m, v = averages(param, grad, exp_avg, exp_avg_sq, i, beta1, rest1, beta2, rest2, weight_decay, keep,
                              grad_scale)  # fmt: skip
        param[i] = p - rate * (m / (math.sqrt(v) / root_correction + eps))


@kernel(AVERAGES + "ffffi")
def nadam(param, grad, exp_avg, exp_avg_sq, beta1, rest1, beta2, rest2, weight_decay, keep, grad_scale, fresh, old,
          root_correction, eps, n):  # fmt: skip
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        p, g, m, v = averages(param, grad, exp_avg, exp_avg_sq, i, beta1, rest1, beta2, rest2, weight_decay, keep,
                              grad_scale)  # fmt: skip
        param[i] = p - (fresh * g + old * m) / (math.sqrt(v) / root_correction + eps)


@kernel(AVERAGES + "ffii")
def radam(param, grad, exp_avg, exp_avg_sq, beta1, rest1, beta2, rest2, weight_decay, keep, grad_scale, rate, eps,
          rectified, n):  # fmt: skip
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        p, g, m, v = averages(param, grad, exp_avg, exp_avg_sq, i, beta1, rest1, beta2, rest2, weight_decay, keep,
                              grad_scale)  # fmt: skip
        param[i] = p - rate * (m / (math.sqrt(v) + eps) if rectified else m)


@kernel("pppffffi")
def adagrad(param, grad, squares, lr, eps, weight_decay, grad_scale, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        g = grad_scale * grad[i] + weight_decay * param[i]
        s = squares[i] + g * g
        squares[i] = s
        param[i] -= lr * (g / (math.sqrt(s) + eps))


@kernel("pppfffffffi")
def lion(param, grad, exp_avg, lr, beta1, rest1, beta2, rest2, keep, grad_scale, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        g = grad_scale * grad[i]
        m = exp_avg[i]
        direction = beta1 * m + rest1 * g
        sign = real(1) if direction > 0 else (real(-1) if direction < 0 else direction)
        param[i] = param[i] * keep - lr * sign
        exp_avg[i] = beta2 * m + rest2 * g


def _grid(param):
    return -(-param.size // THREADS), 1, 1


def sgd_step(param, grad, momentum_buffer, *, lr, momentum, dampening, nesterov, weight_decay, grad_scale, first):
    sgd(_grid(param), THREADS, param, grad, momentum_buffer, lr, momentum, dampening, weight_decay,
        momentum_buffer is not None, nesterov, first, grad_scale, param.size)  # fmt: skip


def rmsprop_step(
    param, grad, square_avg, momentum_buffer, *, lr, alpha, eps, eps_inside_sqrt, weight_decay, momentum, grad_scale
):
    rmsprop(_grid(param), THREADS, param, grad, square_avg, momentum_buffer, lr, alpha, 1 - alpha, eps, weight_decay,
            momentum, grad_scale, eps_inside_sqrt, momentum_buffer is not None, param.size)  # fmt: skip


def _averages(lr, beta1, beta2, weight_decay, decoupled, grad_scale):
    """The numbers that `averages` takes."""
    keep, decay = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    return beta1, 1 - beta1, beta2, 1 - beta2, decay, keep, grad_scale


def adam_step(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step):
    adam(_grid(param), THREADS, param, grad, exp_avg, exp_avg_sq,
         *_averages(lr, beta1, beta2, weight_decay, decoupled, grad_scale), lr / (1 - beta1**step),
         math.sqrt(1 - beta2**step), eps, param.size)  # fmt: skip


def nadam_step(
    param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step, mu, next_mu,
    mu_product,
):  # fmt: skip
    fresh, old = lr * (1 - mu) / (1 - mu_product), lr * next_mu / (1 - mu_product * next_mu)
    nadam(_grid(param), THREADS, param, grad, exp_avg, exp_avg_sq,
          *_averages(lr, beta1, beta2, weight_decay, decoupled, grad_scale), fresh, old, math.sqrt(1 - beta2**step),
          eps, param.size)  # fmt: skip


def radam_step(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step):
    scale = rectification(beta2, step)
    rate = lr / (1 - beta1**step) * (1.0 if scale is None else scale)
    radam(_grid(param), THREADS, param, grad, exp_avg, exp_avg_sq,
          *_averages(lr, beta1, beta2, weight_decay, decoupled, grad_scale), rate, eps, scale is not None,
          param.size)  # fmt: skip


def adagrad_step(param, grad, square_sum, *, lr, eps, weight_decay, grad_scale):
    adagrad(_grid(param), THREADS, param, grad, square_sum, lr, eps, weight_decay, grad_scale, param.size)


def lion_step(param, grad, exp_avg, *, lr, beta1, beta2, weight_decay, grad_scale):
    lion(_grid(param), THREADS, param, grad, exp_avg, lr, beta1, 1 - beta1, beta2, 1 - beta2, 1 - lr * weight_decay,
         grad_scale, param.size)  # fmt: skip


@mapped
def _square(x, a, b):
    return x * x


def square_sum(x):
    return float(summed(_square(x)).numpy())


@mapped
def _absolute(x, a, b):
    return abs(x)


def abs_sum(x):
    return float(summed(_absolute(x)).numpy())
