"""Activations beyond the usual ones of elementwise.py, whose family they belong to; made in the same way."""

from __future__ import annotations

from .loops import gradient, mapped
from .vmath import clip, exp_negative, expm1_negative, real, sigmoid, softplus, where

# As in the reference; here too, since compiled kernels are kept by the sources in this folder alone.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@mapped
def _hardtanh(x, min_val, max_val):
    return clip(x, min_val, max_val)


def hardtanh_forward(x, *, min_val, max_val):
    return _hardtanh(x, options=(min_val, max_val)), (x, min_val, max_val)


@gradient
def hardtanh_backward(dy, x, min_val, max_val):
    below = real(x, 0) if x >= max_val else dy
    return real(x, 0) if x <= min_val else below


@mapped
def _hardsigmoid(x):
    return clip(x + real(x, 3), real(x, 0), real(x, 6)) / real(x, 6)


def hardsigmoid_forward(x):
    return _hardsigmoid(x), (x,)


@gradient
def hardsigmoid_backward(dy, x):
    inner = real(x, 0) if x >= 3 else dy / real(x, 6)
    return real(x, 0) if x <= -3 else inner


@mapped
def _selu(x):
    below = real(x, SELU_ALPHA * SELU_SCALE) * expm1_negative(x)
    above = real(x, SELU_SCALE) * x
    return above if x > 0 else below


def selu_forward(x):
    return _selu(x), (x,)


@gradient
def selu_backward(dy, x):
    below = dy * (real(x, SELU_ALPHA * SELU_SCALE) * exp_negative(where(x > 0, real(x, 0), x)))
    above = real(x, SELU_SCALE) * dy
    return above if x > 0 else below


@mapped
def _celu(x, alpha):
    below = alpha * expm1_negative(x / alpha)
    return x if x > 0 else below


def celu_forward(x, *, alpha):
    return _celu(x, options=(alpha,)), (x, alpha)


@gradient
def celu_backward(dy, x, alpha):
    below = dy * exp_negative(where(x > 0, real(x, 0), x) / alpha)
    return dy if x > 0 else below


@mapped
def _softsign(x):
    near = clip(x, real(x, -1e30), real(x, 1e30))
    return near / (real(x, 1) + abs(near))


def softsign_forward(x):
    return _softsign(x), (x,)


@gradient
def softsign_backward(dy, x):
    root = real(x, 1) + abs(x)
    return dy / (root * root)


@mapped
def _logsigmoid(x):
    return -softplus(-x)


def logsigmoid_forward(x):
    return _logsigmoid(x), (x,)


@gradient
def logsigmoid_backward(dy, x):
    return dy * sigmoid(-x)


@mapped
def _threshold(x, threshold, value):
    return value if x <= threshold else x


def threshold_forward(x, *, threshold, value):
    return _threshold(x, options=(threshold, value)), (x, threshold)


@gradient
def threshold_backward(dy, x, threshold):
    return real(x, 0) if x <= threshold else dy


@mapped
def _hardshrink(x, lambd):
    return real(x, 0) if abs(x) <= lambd else x


def hardshrink_forward(x, *, lambd):
    return _hardshrink(x, options=(lambd,)), (x, lambd)


@gradient
def hardshrink_backward(dy, x, lambd):
    return real(x, 0) if abs(x) <= lambd else dy


@mapped
def _softshrink(x, lambd):
    below = x + lambd if x < -lambd else x * real(x, 0)
    return x - lambd if x > lambd else below


def softshrink_forward(x, *, lambd):
    return _softshrink(x, options=(lambd,)), (x, lambd)


softshrink_backward = hardshrink_backward
