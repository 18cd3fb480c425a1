"""Activations and dropout: a formula for one element each, made into kernels by `loops`.

The operations are defined in `kernels/reference/elementwise.py`.
"""

from __future__ import annotations

import math

from ..reference.elementwise import SELU_ALPHA, SELU_SCALE
from .columns import column_sums
from .dialect import cuda, device, i64, kernel, real, real_dtype
from .hashing import keys, seed_arguments, seed_of, threshold, word
from .loops import THREADS, blocks, gradient, like, mapped, mapped_pair, mapped_two

ROOT_HALF = math.sqrt(0.5)
INVERSE_ROOT_2PI = 1 / math.sqrt(2 * math.pi)
DOUBLE_ROOT_2_BY_PI = 2 * math.sqrt(2 / math.pi)
CUBE = 0.044715


@device
def sigmoid(x):
    """1 / (1 + exp(-x)) by exp(-|x|), which does not overflow."""
    e = math.exp(-abs(x))
    return (real(1) if x >= 0 else e) / (real(1) + e)


@device
def gated(x, gate):
    """x * gate, and 0 where the gate is 0."""
    return gate if gate == 0 else x * gate


@device
def softplus(x):
    """log(1 + exp(x))."""
    return max(x, real(0)) + math.log1p(math.exp(-abs(x)))


@mapped
def _relu(x, a, b):
    return real(0) if x <= 0 else x


def relu_forward(x):
    y = _relu(x)
    return y, (y,)


@gradient
def relu_backward(dy, y, a, b):
    return real(0) if y <= 0 else dy


@mapped
def _sigmoid(x, a, b):
    return sigmoid(x)


def sigmoid_forward(x):
    y = _sigmoid(x)
    return y, (y,)


@gradient
def sigmoid_backward(dy, y, a, b):
    return dy * (y * (real(1) - y))


@mapped
def _tanh(x, a, b):
    return math.tanh(x)


def tanh_forward(x):
    y = _tanh(x)
    return y, (y,)


@gradient
def tanh_backward(dy, y, a, b):
    return dy * (real(1) - y * y)


@mapped
def _leaky_relu(x, slope, b):
    return x if x > 0 else slope * x


def leaky_relu_forward(x, *, negative_slope):
    return _leaky_relu(x, negative_slope), (x, negative_slope)


@gradient
def leaky_relu_backward(dy, x, slope, b):
    return dy if x > 0 else slope * dy


@mapped
def _elu(x, alpha, b):
    return x if x > 0 else alpha * math.expm1(x)


def elu_forward(x, *, alpha):
    return _elu(x, alpha), (x, alpha)


@gradient
def elu_backward(dy, x, alpha, b):
    return dy if x > 0 else dy * (alpha * math.exp(x))


@mapped_two
def _scaled(dy, slope, a, b):
    return dy * slope


def _scaled_backward(dy, saved, needs):
    """dx = dy slope, for operations whose forward has made their derivative."""
    return (_scaled(dy, saved[0]) if needs[0] else None,)


@mapped_pair
def _gelu(x, a, b):
    gate = real(0.5) * math.erfc(x * real(-ROOT_HALF))
    density = math.exp(real(-0.5) * (x * x)) * real(INVERSE_ROOT_2PI)
    return gated(x, gate), gate + gated(x, density)


@mapped_pair
def _gelu_tanh(x, a, b):
    double_u = real(DOUBLE_ROOT_2_BY_PI) * (x + real(CUBE) * (x * x * x))
    gate = sigmoid(double_u)
    slope = real(DOUBLE_ROOT_2_BY_PI) * (real(1) + real(3 * CUBE) * (x * x))
    return gated(x, gate), gate + gated(x, gated(slope, gate * sigmoid(-double_u)))


def gelu_forward(x, *, approximate):
    y, slope = (_gelu if approximate == "none" else _gelu_tanh)(x)
    return y, (slope,)


gelu_backward = _scaled_backward


@mapped_pair
def _silu(x, a, b):
    gate = sigmoid(x)
    return gated(x, gate), gated(real(1) + gated(x, sigmoid(-x)), gate)


def silu_forward(x):
    y, slope = _silu(x)
    return y, (slope,)


silu_backward = _scaled_backward


@mapped
def _softplus(x, beta, threshold):
    return x if beta * x > threshold else softplus(beta * x) / beta


def softplus_forward(x, *, beta, threshold):
    return _softplus(x, beta, threshold), (x, beta, threshold)


@gradient
def softplus_backward(dy, x, beta, threshold):
    return dy if beta * x > threshold else dy * sigmoid(beta * x)


@mapped
def _hardswish(x, a, b):
    return gated(x, min(max(x + real(3), real(0)), real(6)) / real(6))


def hardswish_forward(x):
    return _hardswish(x), (x,)


@gradient
def hardswish_backward(dy, x, a, b):
    slope = real(1) if x >= 3 else (real(0) if x <= -3 else x / real(3) + real(0.5))
    return dy * slope


@kernel("ppfliwwi")
def drop(x, y, scale, seeds, has_seeds, seed, limit, n):
    i = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * 4
    if i < n:
        key_a, key_b = keys(seed_of(seeds, has_seeds, seed), i64(0))
        for j in range(i, min(i + 4, n)):
            y[j] = x[j] * scale if word(key_a, key_b, i64(j)) >= limit else real(0)


def _dropped(x, p, seed, scale):
    y = like(x)
    drop(blocks(x.size), THREADS, x, y, scale, *seed_arguments(seed), threshold(p), x.size)
    return y


def dropout_forward(x, *, p, seed, scale):
    return _dropped(x, p, seed, scale), (p, seed, scale)


def dropout_backward(dy, saved, needs):
    return (_dropped(dy, *saved) if needs[0] else None,)


@mapped
def _hardtanh(x, low, high):
    return low if x < low else (high if x > high else x)


def hardtanh_forward(x, *, min_val, max_val):
    return _hardtanh(x, min_val, max_val), (x, min_val, max_val)


@gradient
def hardtanh_backward(dy, x, low, high):
    return real(0) if x <= low or x >= high else dy


@mapped
def _hardsigmoid(x, a, b):
    shifted = x + real(3)
    return (real(0) if shifted < 0 else (real(6) if shifted > 6 else shifted)) / real(6)


def hardsigmoid_forward(x):
    return _hardsigmoid(x), (x,)


@gradient
def hardsigmoid_backward(dy, x, a, b):
    return real(0) if x <= -3 or x >= 3 else dy / real(6)


@mapped
def _selu(x, a, b):
    return real(SELU_SCALE) * (x if x > 0 else real(SELU_ALPHA) * math.expm1(x))


def selu_forward(x):
    return _selu(x), (x,)


@gradient
def selu_backward(dy, x, a, b):
    return dy * (real(SELU_SCALE) if x > 0 else real(SELU_SCALE * SELU_ALPHA) * math.exp(x))


@mapped
def _celu(x, alpha, b):
    return x if x > 0 else alpha * math.expm1(x / alpha)


def celu_forward(x, *, alpha):
    return _celu(x, alpha), (x, alpha)


@gradient
def celu_backward(dy, x, alpha, b):
    return dy if x > 0 else dy * math.exp(x / alpha)


@mapped_pair
def _mish(x, a, b):
    t = math.tanh(softplus(x))
    return gated(x, t), t + gated(x, (real(1) - t * t) * sigmoid(x))


def mish_forward(x):
    y, slope = _mish(x)
    return y, (slope,)


mish_backward = _scaled_backward


@mapped
def _softsign(x, a, b):
    near = x if x != x else min(max(x, real(-1e30)), real(1e30))
    return near / (real(1) + abs(near))


def softsign_forward(x):
    return _softsign(x), (x,)


@gradient
def softsign_backward(dy, x, a, b):
    away = real(1) + abs(x)
    return dy / (away * away)


@mapped
def _logsigmoid(x, a, b):
    return -softplus(-x)


def logsigmoid_forward(x):
    return _logsigmoid(x), (x,)


@gradient
def logsigmoid_backward(dy, x, a, b):
    return dy * sigmoid(-x)


@mapped
def _threshold(x, threshold, value):
    return value if x <= threshold else x


def threshold_forward(x, *, threshold, value):
    return _threshold(x, threshold, value), (x, threshold)


@gradient
def threshold_backward(dy, x, threshold, b):
    return real(0) if x <= threshold else dy


@mapped
def _hardshrink(x, lambd, b):
    return real(0) if abs(x) <= lambd else x


def hardshrink_forward(x, *, lambd):
    return _hardshrink(x, lambd), (x, lambd)


@gradient
def hardshrink_backward(dy, x, lambd, b):
    return real(0) if abs(x) <= lambd else dy


@mapped
def _softshrink(x, lambd, b):
    return x - lambd if x > lambd else (x + lambd if x < -lambd else x * real(0))


def softshrink_forward(x, *, lambd):
    return _softshrink(x, lambd), (x, lambd)


softshrink_backward = hardshrink_backward


@kernel("pppii")
def prelu(x, weight, y, channels, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        below = weight[i % channels] * x[i]
        y[i] = x[i] if x[i] > 0 else below


@kernel("ppppsii")
def prelu_back(dy, x, weight, dx, parts, channels, n):
    """dx, and what each number gives to dweight."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        below = weight[i % channels] * dy[i]
        dx[i] = dy[i] if x[i] > 0 else below
        parts[i] = real(0) if x[i] > 0 else dy[i] * x[i]


def _singles(x):
    return -(-x.size // THREADS), 1, 1


def prelu_forward(x, weight):
    y = like(x)
    prelu(_singles(x), THREADS, x, weight, y, weight.size, x.size)
    return y, (x, weight)


def prelu_backward(dy, saved, needs):
    x, weight = saved
    dx, parts = like(x), x.device.empty(x.shape, real_dtype(x.dtype))
    prelu_back(_singles(x), THREADS, dy, x, weight, dx, parts, weight.size, x.size)
    dweight = None
    if needs[1]:
        sums = column_sums(parts.reshape(x.size // weight.size, weight.size), weight.dtype)
        dweight = sums.reshape(weight.shape)
    return dx if needs[0] else None, dweight


@kernel("pppiii")
def glu(x, y, gates, half, inner, n):
    """x (outer, 2 half, inner), y and gates (outer, half, inner)."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        at = i // (half * inner) * 2 * half * inner + i % (half * inner)
        gate = sigmoid(x[at + half * inner])
        gates[i] = gate
        y[i] = x[at] * gate


@kernel("ppppiii")
def glu_back(dy, x, gates, dx, half, inner, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        at = i // (half * inner) * 2 * half * inner + i % (half * inner)
        gate = gates[i]
        dx[at] = dy[i] * gate
        dx[at + half * inner] = dy[i] * (x[at] * (gate * (real(1) - gate)))


def glu_forward(x, *, axis):
    axis %= x.ndim
    half, inner = x.shape[axis] // 2, math.prod(x.shape[axis + 1 :])
    y = x.device.empty((*x.shape[:axis], half, *x.shape[axis + 1 :]), x.dtype)
    gates = like(y)
    glu(_singles(y), THREADS, x, y, gates, half, inner, y.size)
    return y, (x, gates, half, inner)


def glu_backward(dy, saved, needs):
    x, gates, half, inner = saved
    if not needs[0]:
        return (None,)
    dx = like(x)
    glu_back(_singles(dy), THREADS, dy, x, gates, dx, half, inner, dy.size)
    return (dx,)
