"""Activations and dropout: one value in, one value out. x, y, dx and dy have one shape, any shape.

Where x is infinite each function takes its limit, and NaN passes through. Backward needs x or y, except that gelu, silu
and mish keep their derivative (slope) in place of x: forward has most of it at hand, and to make it anew costs more.
"""

import math

import numpy as np

from ..sums import total

_erfc = np.vectorize(math.erfc, otypes=[float])
_WORD = 0xFFFFFFFF
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def like(values, x):
    """`values` as a C-contiguous array of x's dtype (arithmetic on 0-d arrays returns scalars, perhaps wider)."""
    return np.asarray(values, dtype=x.dtype, order="C")


def sigmoid(x):
    """1 / (1 + exp(-x)), written with exp(-|x|) so that nothing overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def softplus(x):
    """log(1 + exp(x)) for any finite or infinite x."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def gated(x, gate):
    """x * gate, and 0 where the gate is 0: the limit at infinity of every gate that closes faster than x grows."""
    with np.errstate(invalid="ignore"):
        return np.where(gate == 0, 0, x * gate)


def activate(y, activation):
    """act(y) for the activations that linear and conv2d can apply: None, "relu", "sigmoid" or "tanh"."""
    if activation == "relu":
        return np.maximum(y, 0)
    if activation == "sigmoid":
        return sigmoid(y)
    return np.tanh(y) if activation == "tanh" else y


def activation_gradient(dy, y, activation):
    """dy * act'(.), where the derivative is a function of the output y alone; y is None for activation None."""
    if activation == "relu":
        return np.where(y <= 0, 0, dy)
    if activation == "sigmoid":
        return dy * (y * (1 - y))
    return dy * (1 - y * y) if activation == "tanh" else dy


def relu_forward(x):
    """y = max(x, 0)."""
    y = like(activate(x, "relu"), x)
    return y, (y,)


def relu_backward(dy, saved, needs):
    """dx = dy where y > 0, else 0; the derivative at 0 is 0, and dy passes where y is NaN."""
    (y,) = saved
    return (like(activation_gradient(dy, y, "relu"), dy) if needs[0] else None,)


def sigmoid_forward(x):
    """y = 1 / (1 + exp(-x))."""
    y = like(activate(x, "sigmoid"), x)
    return y, (y,)


def sigmoid_backward(dy, saved, needs):
    """dx = dy y (1 - y)."""
    (y,) = saved
    return (like(activation_gradient(dy, y, "sigmoid"), dy) if needs[0] else None,)


def tanh_forward(x):
    """y = tanh(x)."""
    y = like(activate(x, "tanh"), x)
    return y, (y,)


def tanh_backward(dy, saved, needs):
    """dx = dy (1 - y^2)."""
    (y,) = saved
    return (like(activation_gradient(dy, y, "tanh"), dy) if needs[0] else None,)


def leaky_relu_forward(x, *, negative_slope):
    """y = x where x > 0, else negative_slope x (with a slope of 0, -inf gives NaN, as in PyTorch)."""
    with np.errstate(invalid="ignore"):
        return like(np.where(x > 0, x, negative_slope * x), x), (x, negative_slope)


def leaky_relu_backward(dy, saved, needs):
    """dx = dy where x > 0, else negative_slope dy."""
    x, negative_slope = saved
    return (like(np.where(x > 0, dy, negative_slope * dy), dy) if needs[0] else None,)


def elu_forward(x, *, alpha):
    """y = x where x > 0, else alpha (exp(x) - 1). Source: Clevert et al. 2016, equation 15."""
    return like(np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))), x), (x, alpha)


def elu_backward(dy, saved, needs):
    """dx = dy where x > 0, else dy alpha exp(x)."""
    x, alpha = saved
    return (like(np.where(x > 0, dy, dy * (alpha * np.exp(np.minimum(x, 0)))), dy) if needs[0] else None,)


def _gelu_gate(x, approximate):
    """The gate G of gelu(x) = x G(x), and its derivative g; both stay accurate in the far tails.

    "none": G = Phi(x) = erfc(-x / sqrt 2) / 2,  g = exp(-x^2 / 2) / sqrt(2 pi)
    "tanh": G = (1 + tanh u) / 2 = sigmoid(2 u), g = 2 u' G (1 - G),  u = sqrt(2 / pi) (x + 0.044715 x^3)
    Source: Hendrycks and Gimpel 2016, section 2.
    """
    with np.errstate(over="ignore"):
        if approximate == "none":
            gate = like(0.5 * _erfc(x * -math.sqrt(0.5)), x)
            return gate, np.exp(-0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi))
        double_u = (2 * math.sqrt(2 / math.pi)) * (x + 0.044715 * (x * x * x))
        gate, slope = sigmoid(double_u), (2 * math.sqrt(2 / math.pi)) * (1 + 3 * 0.044715 * (x * x))
        return gate, gated(slope, gate * sigmoid(-double_u))


def gelu_forward(x, *, approximate):
    """y = x G(x), slope = G(x) + x g(x), G and g as in `_gelu_gate`."""
    gate, density = _gelu_gate(x, approximate)
    return like(gated(x, gate), x), (like(gate + gated(x, density), x),)


def gelu_backward(dy, saved, needs):
    """dx = dy slope."""
    return (like(dy * saved[0], dy) if needs[0] else None,)


def silu_forward(x):
    """y = x s, slope = s (1 + x (1 - s)); s = sigmoid(x) and 1 - s = sigmoid(-x)."""
    gate = sigmoid(x)
    return like(gated(x, gate), x), (like(gated(1 + gated(x, sigmoid(-x)), gate), x),)


def silu_backward(dy, saved, needs):
    """dx = dy slope."""
    return (like(dy * saved[0], dy) if needs[0] else None,)


def softplus_forward(x, *, beta, threshold):
    """y = log(1 + exp(beta x)) / beta, and simply x where beta x > threshold."""
    return like(np.where(beta * x > threshold, x, softplus(beta * x) / beta), x), (x, beta, threshold)


def softplus_backward(dy, saved, needs):
    """dx = dy sigmoid(beta x), and dy where beta x > threshold."""
    x, beta, threshold = saved
    return (like(np.where(beta * x > threshold, dy, dy * sigmoid(beta * x)), dy) if needs[0] else None,)


def hardswish_forward(x):
    """y = x min(max(x + 3, 0), 6) / 6. Source: Howard et al. 2019 (MobileNetV3), section 5.2."""
    return like(gated(x, np.clip(x + 3, 0, 6) / 6), x), (x,)


def hardswish_backward(dy, saved, needs):
    """dx = dy (x / 3 + 1/2) for -3 < x < 3; 0 for x <= -3; dy for x >= 3."""
    (x,) = saved
    slope = np.where(x >= 3, 1, np.where(x <= -3, 0, x / 3 + 0.5))
    return (like(dy * slope, dy) if needs[0] else None,)


def hardtanh_forward(x, *, min_val, max_val):
    """y = min(max(x, min_val), max_val); with 0 and 6 the relu6 of Howard et al. 2017 (MobileNets)."""
    return like(np.clip(x, min_val, max_val), x), (x, min_val, max_val)


def hardtanh_backward(dy, saved, needs):
    """dx = dy where min_val < x < max_val, else 0."""
    x, min_val, max_val = saved
    return (like(np.where((x <= min_val) | (x >= max_val), 0, dy), dy) if needs[0] else None,)


def hardsigmoid_forward(x):
    """y = min(max(x + 3, 0), 6) / 6. Source: Howard et al. 2019 (MobileNetV3), section 5.2."""
    return like(np.clip(x + 3, 0, 6) / 6, x), (x,)


def hardsigmoid_backward(dy, saved, needs):
    """dx = dy / 6 where -3 < x < 3, else 0."""
    (x,) = saved
    return (like(np.where((x <= -3) | (x >= 3), 0, dy / 6), dy) if needs[0] else None,)


def selu_forward(x):
    """y = scale x where x > 0, else scale alpha (exp(x) - 1). Source: Klambauer et al. 2017, equation 2."""
    return like(SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0))), x), (x,)


def selu_backward(dy, saved, needs):
    """dx = scale dy where x > 0, else dy scale alpha exp(x)."""
    (x,) = saved
    slope = SELU_SCALE * np.where(x > 0, 1, SELU_ALPHA * np.exp(np.minimum(x, 0)))
    return (like(dy * slope, dy) if needs[0] else None,)


def celu_forward(x, *, alpha):
    """y = x where x > 0, else alpha (exp(x / alpha) - 1). Source: Barron 2017, equation 2."""
    return like(np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha)), x), (x, alpha)


def celu_backward(dy, saved, needs):
    """dx = dy where x > 0, else dy exp(x / alpha)."""
    x, alpha = saved
    return (like(np.where(x > 0, dy, dy * np.exp(np.minimum(x, 0) / alpha)), dy) if needs[0] else None,)


def mish_forward(x):
    """y = x t, slope = t + x (1 - t^2) sigmoid(x); t = tanh(softplus(x)). Source: Misra 2019, equation 1.

    With e = exp(x): t = (e^2 + 2 e) / (e^2 + 2 e + 2).
    """
    t = np.tanh(softplus(x))
    return like(gated(x, t), x), (like(t + gated(x, (1 - t * t) * sigmoid(x)), x),)


def mish_backward(dy, saved, needs):
    """dx = dy slope."""
    return (like(dy * saved[0], dy) if needs[0] else None,)


def softsign_forward(x):
    """y = x / (1 + |x|). Source: Glorot and Bengio 2010, section 2.3."""
    near = np.clip(x, -1e30, 1e30)
    return like(near / (1 + np.abs(near)), x), (x,)


def softsign_backward(dy, saved, needs):
    """dx = dy / (1 + |x|)^2."""
    (x,) = saved
    with np.errstate(over="ignore"):
        return (like(dy / np.square(1 + np.abs(x)), dy) if needs[0] else None,)


def logsigmoid_forward(x):
    """y = log(sigmoid(x)) = -softplus(-x)."""
    return like(-softplus(-x), x), (x,)


def logsigmoid_backward(dy, saved, needs):
    """dx = dy sigmoid(-x)."""
    (x,) = saved
    return (like(dy * sigmoid(-x), dy) if needs[0] else None,)


def threshold_forward(x, *, threshold, value):
    """y = value where x <= threshold, else x."""
    return like(np.where(x <= threshold, value, x), x), (x, threshold)


def threshold_backward(dy, saved, needs):
    """dx = 0 where x <= threshold, else dy."""
    x, threshold = saved
    return (like(np.where(x <= threshold, 0, dy), dy) if needs[0] else None,)


def hardshrink_forward(x, *, lambd):
    """y = 0 where |x| <= lambd, else x."""
    return like(np.where(np.abs(x) <= lambd, 0, x), x), (x, lambd)


def hardshrink_backward(dy, saved, needs):
    """dx = 0 where |x| <= lambd, else dy."""
    x, lambd = saved
    return (like(np.where(np.abs(x) <= lambd, 0, dy), dy) if needs[0] else None,)


def softshrink_forward(x, *, lambd):
    """y = x - lambd where x > lambd, x + lambd where x < -lambd, else 0: the minimum of (y - x)^2 / 2 + lambd |y|."""
    with np.errstate(invalid="ignore"):
        return like(np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, x * 0)), x), (x, lambd)


softshrink_backward = hardshrink_backward


def prelu_forward(x, weight):
    """y = x where x > 0, else weight x; weight (1,), or (C,) for the last axis of x. Source: He et al. 2015."""
    with np.errstate(invalid="ignore"):
        return like(np.where(x > 0, x, weight * x).reshape(x.shape), x), (x, weight)


def prelu_backward(dy, saved, needs):
    """dx = dy where x > 0, else weight dy;  dweight = sum of dy x over x <= 0."""
    x, weight = saved
    dx = like(np.where(x > 0, dy, weight * dy).reshape(x.shape), dy) if needs[0] else None
    if not needs[1]:
        return dx, None
    parts = np.where(x > 0, 0, dy * x).reshape(-1, weight.size if x.ndim else 1)
    return dx, like(np.asarray(total(parts, 0)).reshape(weight.shape), weight)


def glu_forward(x, *, axis):
    """y = a sigmoid(b), a and b the halves of x along axis. Source: Dauphin et al. 2017, equation 1."""
    a, b = np.split(x, 2, axis)
    return like(a * sigmoid(b), x), (x, axis)


def glu_backward(dy, saved, needs):
    """da = dy gate,  db = dy a gate (1 - gate);  gate = sigmoid(b)."""
    x, axis = saved
    if not needs[0]:
        return (None,)
    a, b = np.split(x, 2, axis)
    gate = sigmoid(b)
    return (like(np.concatenate([dy * gate, dy * (a * (gate * (1 - gate)))], axis), dy),)


def _triple32(x):
    """A bijection of 32-bit words that looks random; x is a uint32 array, and products wrap modulo 2^32.

    Source: C. Wellons, "Prospecting for hash functions" (2018), triple32.
    """
    x = (x ^ (x >> 17)) * 0xED5AD4BB
    x = (x ^ (x >> 11)) * 0xAC4C1B51
    x = (x ^ (x >> 15)) * 0x31848BAB
    return x ^ (x >> 14)


def _hash(seed, index):
    """One random 32-bit word for each 64-bit element of `index` (uint64 array); 0 <= seed < 2^64.

    The keys depend on the seed and on the high word of the index alone, so a loop computes them once; inside it
    each element costs one triple32 and one exclusive or. `key_b` goes in after the first product: with `key_a`
    alone, two seeds would give the same sequence shifted. The map from seed to (key_a, key_b) is one to one.
    """
    low, high = (index & _WORD).astype(np.uint32), (index >> 32).astype(np.uint32)
    seed_low, seed_high = np.array([[seed & _WORD], [seed >> 32 & _WORD]], dtype=np.uint32)
    a = _triple32(seed_low)
    b = _triple32(seed_high + a)
    key_a = _triple32(high + b)
    key_b = _triple32(key_a + a)
    x = low + key_a
    x = (x ^ (x >> 17)) * 0xED5AD4BB
    x = x ^ key_b
    x = (x ^ (x >> 11)) * 0xAC4C1B51
    x = (x ^ (x >> 15)) * 0x31848BAB
    return x ^ (x >> 14)


def _keep(seed, size, p):
    """Which of `size` elements dropout keeps: (size,) bool, the same in every backend for the same seed.

    keep[i] = hash(seed, i) >= round(p 2^32), where i is the flat index of the element in C order. The threshold
    is computed once (p 2^32 is exact; ties go to even) and may reach 2^32, one more than any hash: nothing is kept.
    """
    threshold = round(p * 2**32)
    if threshold > _WORD:
        return np.zeros(size, dtype=bool)
    return _hash(seed, np.arange(size, dtype=np.uint64)) >= threshold


def _dropped(x, p, seed, scale):
    """x * scale where kept, else 0 (even where x is NaN or infinite)."""
    with np.errstate(invalid="ignore"):
        return like(np.where(_keep(seed, x.size, p).reshape(x.shape), x * scale, 0), x)


def dropout_forward(x, *, p, seed, scale):
    """y = x keep scale, each element kept with probability 1 - p. Source: Srivastava et al. 2014, section 4."""
    return _dropped(x, p, seed, scale), (p, seed, scale)


def dropout_backward(dy, saved, needs):
    """dx = dy keep scale, with the mask made again from the seed."""
    p, seed, scale = saved
    return (_dropped(dy, p, seed, scale) if needs[0] else None,)
