"""Activations and dropout: a formula for one element each, made into kernels by `mapped` (see loops.py, vmath.py).

The operations are defined in `kernels/reference/elementwise.py`.
"""

from __future__ import annotations

import math

import numpy as np

from ..memory import empty
from ..reference.elementwise import SELU_ALPHA, SELU_SCALE
from . import vmath
from .jit import contiguous, helper, jit, parallel_for
from .loops import BLOCK, SERIAL, get, mapped, mapped_pair, put
from .vmath import clip, exp_gradual, exp_negative, expm1_negative, normal, real, sigmoid, softplus, where

INVERSE_ROOT_2PI = 1 / math.sqrt(2 * math.pi)
DOUBLE_ROOT_2_BY_PI = 2 * math.sqrt(2 / math.pi)
CUBE = 0.044715
WORD = 0xFFFFFFFF


def gradient(formula):
    """The backward of an operation with saved = (x or y, *options), from dx = formula(dy, x or y, *options)."""
    kernel = mapped(formula)

    def backward(dy, saved, needs):
        return (kernel(dy, saved[0], options=saved[1:]) if needs[0] else None,)

    return backward


@helper
def gated(x, gate):
    """x * gate, and 0 where the gate is 0."""
    product = x * gate
    return gate if gate == 0 else product


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


@helper
def _mixed(x, shift, factor):
    """A step of the hash, on 32 bits."""
    return np.uint32((x ^ (x >> shift)) * factor)


@helper
def _triple32(x, key):
    """The hash `_triple32` of the reference, with a key that goes in after the first step."""
    x = _mixed(_mixed(_mixed(x, 17, 0xED5AD4BB) ^ key, 11, 0xAC4C1B51), 15, 0x31848BAB)
    return x ^ (x >> 14)


@helper
def hash_keys(seed_low, seed_high, high):
    """The two keys of the reference's `_hash`, for all words whose index has this high half."""
    none = np.uint32(0)
    a = _triple32(np.uint32(seed_low), none)
    key = _triple32(np.uint32(high + _triple32(np.uint32(seed_high + a), none)), none)
    return key, _triple32(np.uint32(key + a), none)


@helper
def hash_word(keys, low):
    """The word of the index with this low half."""
    return _triple32(np.uint32(low + keys[0]), keys[1])


@helper(noalias=True)
def _dropout_job(index, worker, x, y, seed_low, seed_high, threshold, scale):
    start = index * BLOCK
    keys = hash_keys(seed_low, seed_high, start >> 32)
    zero, factor, least = x.dtype.type(0), x.dtype.type(scale), np.uint32(threshold)
    for i in range(start, min(start + BLOCK, x.size)):
        value = get(x, i) * factor
        put(y, i, value if hash_word(keys, i) >= least else zero)


@jit
def _dropout(x, y, seed_low, seed_high, threshold, scale):
    arguments = (x, y, seed_low, seed_high, threshold, scale)
    parallel_for(_dropout_job, -(-x.size // BLOCK), arguments, x.size < SERIAL)


def _dropped(x, p, seed, scale):
    """x * scale where hash(seed, i) >= p 2^32, else 0; a probability of 1 (nothing is kept) has no such threshold."""
    y = empty(x.shape, x.dtype)
    threshold = round(p * 2**32)
    if threshold > WORD:
        y[...] = 0
    else:
        _dropout(contiguous(x).ravel(), y.ravel(), seed & WORD, seed >> 32 & WORD, threshold, float(scale))
    return y


def dropout_forward(x, *, p, seed, scale):
    return _dropped(x, p, seed, scale), (p, seed, scale)


def dropout_backward(dy, saved, needs):
    return (_dropped(dy, *saved) if needs[0] else None,)
