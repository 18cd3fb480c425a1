"""Optimizer updates, in place, in one pass over the parameters, their gradient and the state (all 1-D, contiguous).

The updates are defined in `kernels/reference/optim.py`.
"""

from __future__ import annotations

import math

import numpy as np

from ..reference.optim import rectification
from .jit import contiguous, helper, jit, parallel_for
from .loops import BLOCK, SERIAL, converted, get, put, summed
from .vmath import where


@helper(noalias=True, fastmath={"contract"})
def _sgd_job(index, worker, param, grad, options):
    lr, weight_decay, grad_scale = options
    start = index * BLOCK
    for i in range(start, min(start + BLOCK, param.size)):
        p = get(param, i)
        put(param, i, p - lr * (grad_scale * get(grad, i) + weight_decay * p))


@jit
def _sgd(param, grad, options):
    jobs = -(-param.size // BLOCK)
    parallel_for(_sgd_job, jobs, (param, grad, converted(options, param)), param.size < SERIAL)


@helper(noalias=True, fastmath={"contract"})
def _sgd_momentum_job(index, worker, param, grad, buffer, first, nesterov, options):
    lr, momentum, fresh, weight_decay, grad_scale = options
    start = index * BLOCK
    for i in range(start, min(start + BLOCK, param.size)):
        p = get(param, i)
        g = grad_scale * get(grad, i) + weight_decay * p
        b = where(first, g, momentum * get(buffer, i) + fresh * g)
        put(buffer, i, b)
        put(param, i, p - lr * where(nesterov, g + momentum * b, b))


@jit
def _sgd_momentum(param, grad, buffer, first, nesterov, options):
    arguments = (param, grad, buffer, first, nesterov, converted(options, param))
    parallel_for(_sgd_momentum_job, -(-param.size // BLOCK), arguments, param.size < SERIAL)


def sgd_step(param, grad, momentum_buffer, *, lr, momentum, dampening, nesterov, weight_decay, grad_scale, first):
    grad = contiguous(grad)
    if momentum_buffer is None:
        _sgd(param, grad, (float(lr), float(weight_decay), float(grad_scale)))
    else:
        options = float(lr), float(momentum), 1.0 - dampening, float(weight_decay), float(grad_scale)
        _sgd_momentum(param, grad, momentum_buffer, bool(first), bool(nesterov), options)


@helper(noalias=True, fastmath={"contract"})
def _rmsprop_job(index, worker, param, grad, square_avg, buffer, options):
    """`buffer` is empty where there is no momentum."""
    lr, alpha, fresh, eps_inside, eps_outside, weight_decay, momentum, grad_scale = options
    start = index * BLOCK
    stop = min(start + BLOCK, param.size)
    for i in range(start, stop):
        g = grad_scale * get(grad, i) + weight_decay * get(param, i)
        s = alpha * get(square_avg, i) + fresh * (g * g)
        put(square_avg, i, s)
        update = g / (math.sqrt(s + eps_inside) + eps_outside)
        if buffer.size:
            update += momentum * get(buffer, i)
            put(buffer, i, update)
        put(param, i, get(param, i) - lr * update)


@jit
def _rmsprop(param, grad, square_avg, buffer, options):
    arguments = (param, grad, square_avg, buffer, converted(options, param))
    parallel_for(_rmsprop_job, -(-param.size // BLOCK), arguments, param.size < SERIAL)


def rmsprop_step(
    param, grad, square_avg, momentum_buffer, *, lr, alpha, eps, eps_inside_sqrt, weight_decay, momentum, grad_scale
):
    inside, outside = (float(eps), 0.0) if eps_inside_sqrt else (0.0, float(eps))
    options = lr, alpha, 1 - alpha, inside, outside, weight_decay, momentum, grad_scale
    buffer = param[:0] if momentum_buffer is None else momentum_buffer
    _rmsprop(param, contiguous(grad), square_avg, buffer, tuple(map(float, options)))


@helper(noalias=True, fastmath={"contract"})
def _adam_job(index, worker, param, grad, exp_avg, exp_avg_sq, options):
    lr, beta1, fresh1, beta2, fresh2, eps, weight_decay, keep, root_correction, grad_scale = options
    start = index * BLOCK
    for i in range(start, min(start + BLOCK, param.size)):
        p = get(param, i)
        g = grad_scale * get(grad, i) + weight_decay * p
        m = beta1 * get(exp_avg, i) + fresh1 * g
        v = beta2 * get(exp_avg_sq, i) + fresh2 * (g * g)
        put(exp_avg, i, m)
        put(exp_avg_sq, i, v)
        put(param, i, p * keep - lr * (m / (math.sqrt(v) * root_correction + eps)))


@jit
def _adam(param, grad, exp_avg, exp_avg_sq, options):
    arguments = (param, grad, exp_avg, exp_avg_sq, converted(options, param))
    parallel_for(_adam_job, -(-param.size // BLOCK), arguments, param.size < SERIAL)


def adam_step(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step):
    decay, keep = (0.0, 1.0 - lr * weight_decay) if decoupled else (float(weight_decay), 1.0)
    corrections = lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step)
    options = corrections[0], beta1, 1 - beta1, beta2, 1 - beta2, eps, decay, keep, corrections[1], grad_scale
    _adam(param, contiguous(grad), exp_avg, exp_avg_sq, tuple(map(float, options)))


@helper(noalias=True, fastmath={"contract"})
def _adagrad_job(index, worker, param, grad, square_sum, options):
    lr, eps, weight_decay, grad_scale = options
    start = index * BLOCK
    for i in range(start, min(start + BLOCK, param.size)):
        p = get(param, i)
        g = grad_scale * get(grad, i) + weight_decay * p
        s = get(square_sum, i) + g * g
        put(square_sum, i, s)
        put(param, i, p - lr * (g / (math.sqrt(s) + eps)))


@jit
def _adagrad(param, grad, square_sum, options):
    arguments = (param, grad, square_sum, converted(options, param))
    parallel_for(_adagrad_job, -(-param.size // BLOCK), arguments, param.size < SERIAL)


def adagrad_step(param, grad, square_sum, *, lr, eps, weight_decay, grad_scale):
    _adagrad(param, contiguous(grad), square_sum, (float(lr), float(eps), float(weight_decay), float(grad_scale)))


@helper(noalias=True, fastmath={"contract"})
def _mixed_job(index, worker, param, grad, exp_avg, exp_avg_sq, divides, options):
    """Adam's averages, and a step of `fresh` gradients and `old` averages; `divides` says whether by the root."""
    fresh, old, beta1, fresh1, beta2, fresh2, eps, weight_decay, keep, root_correction, grad_scale = options
    start = index * BLOCK
    for i in range(start, min(start + BLOCK, param.size)):
        p = get(param, i)
        g = grad_scale * get(grad, i) + weight_decay * p
        m = beta1 * get(exp_avg, i) + fresh1 * g
        v = beta2 * get(exp_avg_sq, i) + fresh2 * (g * g)
        put(exp_avg, i, m)
        put(exp_avg_sq, i, v)
        step = fresh * g + old * m
        put(param, i, p * keep - where(divides, step / (math.sqrt(v) * root_correction + eps), step))


@jit
def _mixed(param, grad, exp_avg, exp_avg_sq, divides, options):
    arguments = (param, grad, exp_avg, exp_avg_sq, divides, converted(options, param))
    parallel_for(_mixed_job, -(-param.size // BLOCK), arguments, param.size < SERIAL)


def nadam_step(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    *,
    lr,
    beta1,
    beta2,
    eps,
    weight_decay,
    decoupled,
    grad_scale,
    step,
    mu,
    next_mu,
    mu_product,
):
    decay, keep = (0.0, 1.0 - lr * weight_decay) if decoupled else (weight_decay, 1.0)
    rates = lr * (1 - mu) / (1 - mu_product), lr * next_mu / (1 - mu_product * next_mu)
    root = 1 / math.sqrt(1 - beta2**step)
    options = *rates, beta1, 1 - beta1, beta2, 1 - beta2, eps, decay, keep, root, grad_scale
    _mixed(param, contiguous(grad), exp_avg, exp_avg_sq, True, tuple(map(float, options)))


def radam_step(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step):
    decay, keep = (0.0, 1.0 - lr * weight_decay) if decoupled else (weight_decay, 1.0)
    scale = rectification(beta2, step)
    rate = lr / (1 - beta1**step) * (1.0 if scale is None else scale)
    options = 0.0, rate, beta1, 1 - beta1, beta2, 1 - beta2, eps, decay, keep, 1.0, grad_scale
    _mixed(param, contiguous(grad), exp_avg, exp_avg_sq, scale is not None, tuple(map(float, options)))


@helper(noalias=True, fastmath={"contract"})
def _lion_job(index, worker, param, grad, exp_avg, options):
    lr, beta1, fresh1, beta2, fresh2, keep, grad_scale = options
    start = index * BLOCK
    for i in range(start, min(start + BLOCK, param.size)):
        g = grad_scale * get(grad, i)
        m = get(exp_avg, i)
        u = beta1 * m + fresh1 * g
        put(exp_avg, i, beta2 * m + fresh2 * g)
        put(param, i, keep * get(param, i) - where(u > 0, lr, where(u < 0, -lr, u)))  # NaN comes through


@jit
def _lion(param, grad, exp_avg, options):
    arguments = (param, grad, exp_avg, converted(options, param))
    parallel_for(_lion_job, -(-param.size // BLOCK), arguments, param.size < SERIAL)


def lion_step(param, grad, exp_avg, *, lr, beta1, beta2, weight_decay, grad_scale):
    options = lr, beta1, 1 - beta1, beta2, 1 - beta2, 1 - lr * weight_decay, grad_scale
    _lion(param, contiguous(grad), exp_avg, tuple(map(float, options)))


@summed
def _square(x):
    x = np.float64(x)  # squares of large float32 numbers would be infinite
    return x * x


def square_sum(x):
    return _square(x)


@summed
def _absolute(x):
    return abs(np.float64(x))


def abs_sum(x):
    return _absolute(x)
