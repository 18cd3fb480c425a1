"""Activations: a formula for one element each, made into kernels by `mapped` (see loops.py, vmath.py).

The operations are defined in `kernels/reference/elementwise.py`; the rest of the family stands in activations.py,
elementwise_rows.py and dropout.py.
"""

from __future__ import annotations

import math

from . import vmath
from .activations import (  # noqa: F401  (and below: the rest of the family)
    celu_backward,
    celu_forward,
    hardshrink_backward,
    hardshrink_forward,
    hardsigmoid_backward,
    hardsigmoid_forward,
    hardtanh_backward,
    hardtanh_forward,
    logsigmoid_backward,
    logsigmoid_forward,
    selu_backward,
    selu_forward,
    softshrink_backward,
    softshrink_forward,
    softsign_backward,
    softsign_forward,
    threshold_backward,
    threshold_forward,
)
from .dropout import dropout_backward, dropout_forward  # noqa: F401
from .elementwise_rows import glu_backward, glu_forward, prelu_backward, prelu_forward  # noqa: F401
from .jit import helper
from .loops import gradient, mapped, mapped_pair
from .vmath import clip, exp_gradual, exp_negative, expm1_negative, gated, normal, real, sigmoid, softplus, where

INVERSE_ROOT_2PI = 1 / math.sqrt(2 * math.pi)
DOUBLE_ROOT_2_BY_PI = 2 * math.sqrt(2 / math.pi)
CUBE = 0.044715


@mapped
def _relu(x):
    return real(x, 0) if x <= 0 else x


def relu_forward(x):
    y = _relu(x)
    return y, (y,)


@gradient
def relu_backward(dy, y):
    return real(y, 0) if y <= 0 else dy


_sigmoid = mapped(sigmoid)


def sigmoid_forward(x):
    y = _sigmoid(x)
    return y, (y,)


@gradient
def sigmoid_backward(dy, y):
    return dy * (y * (real(y, 1) - y))


_tanh = mapped(vmath.tanh)


def tanh_forward(x):
    y = _tanh(x)
    return y, (y,)


@gradient
def tanh_backward(dy, y):
    return dy * (real(y, 1) - y * y)


@mapped
def _leaky_relu(x, negative_slope):
    below = negative_slope * x
    return x if x > 0 else below


def leaky_relu_forward(x, *, negative_slope):
    return _leaky_relu(x, options=(negative_slope,)), (x, negative_slope)


@gradient
def leaky_relu_backward(dy, x, negative_slope):
    below = negative_slope * dy
    return dy if x > 0 else below


@mapped
def _elu(x, alpha):
    below = alpha * expm1_negative(x)
    return x if x > 0 else below


def elu_forward(x, *, alpha):
    return _elu(x, options=(alpha,)), (x, alpha)


@gradient
def elu_backward(dy, x, alpha):
    below = dy * (alpha * exp_negative(where(x > 0, real(x, 0), x)))
    return dy if x > 0 else below


@mapped
def _scaled(dy, slope):
    return dy * slope


def _scaled_backward(dy, saved, needs):
    """dx = dy slope, for operations whose forward has made their derivative."""
    return (_scaled(dy, saved[0]) if needs[0] else None,)


@mapped_pair
def _gelu(x):
    gate, density = normal(x)
    return gated(x, gate), gate + gated(x, density * real(x, INVERSE_ROOT_2PI))


@helper
def _both_sigmoids(x, e):
    """sigmoid(x) and sigmoid(-x) from e = exp(-|x|)."""
    one = real(x, 1)
    large = one / (one + e)
    small = e * large
    return (small, large) if x < 0 else (large, small)


@mapped_pair
def _gelu_tanh(x):
    """gelu with u = sqrt(2 / pi) (x + 0.044715 x^3), since (1 + tanh u) / 2 = sigmoid(2 u)."""
    one, factor, square = real(x, 1), real(x, DOUBLE_ROOT_2_BY_PI), x * x
    double_u = factor * (x + real(x, CUBE) * (square * x))
    gate, rest = _both_sigmoids(double_u, exp_gradual(-abs(double_u)))
    slope = gated(factor * (one + real(x, 3 * CUBE) * square), gate * rest)
    return gated(x, gate), gate + gated(x, slope)


def gelu_forward(x, *, approximate):
    y, slope = (_gelu_tanh if approximate == "tanh" else _gelu)(x)
    return y, (slope,)


gelu_backward = _scaled_backward


@mapped_pair
def _silu(x):
    gate, rest = _both_sigmoids(x, exp_gradual(-abs(x)))
    return gated(x, gate), gated(real(x, 1) + gated(x, rest), gate)


def silu_forward(x):
    y, slope = _silu(x)
    return y, (slope,)


silu_backward = _scaled_backward


@mapped
def _softplus(x, beta, threshold):
    z = beta * x
    y = softplus(z) / beta
    return x if z > threshold else y


def softplus_forward(x, *, beta, threshold):
    return _softplus(x, options=(beta, threshold)), (x, beta, threshold)


@gradient
def softplus_backward(dy, x, beta, threshold):
    z = beta * x
    below = dy * sigmoid(z)
    return dy if z > threshold else below


@mapped
def _hardswish(x):
    return gated(x, clip(x + real(x, 3), real(x, 0), real(x, 6)) / real(x, 6))


def hardswish_forward(x):
    return _hardswish(x), (x,)


@gradient
def hardswish_backward(dy, x):
    inner = x / real(x, 3) + real(x, 0.5)
    inner = real(x, 0) if x <= -3 else inner
    return dy * (real(x, 1) if x >= 3 else inner)


@mapped_pair
def _mish(x):
    """With e = exp(-|x|): t = e (e + 2) / (e (e + 2) + 2) for x < 0, else t = (1 + 2 e) / (1 + 2 e + 2 e^2)."""
    one, e = real(x, 1), exp_gradual(-abs(x))
    n, m = e * (e + real(x, 2)), one + real(x, 2) * e
    low, high = n + real(x, 2), m + real(x, 2) * (e * e)
    top, d, power = (n, low, e) if x < 0 else (m, high, e * e)
    t = top / d
    return gated(x, t), t + gated(x, real(x, 4) * power * (one + e) / (d * d))


def mish_forward(x):
    y, slope = _mish(x)
    return y, (slope,)


mish_backward = _scaled_backward
