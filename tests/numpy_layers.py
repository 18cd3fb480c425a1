"""Layers in PyTorch's layouts, channels first, in plain NumPy: what weights from PyTorch compute there."""

import numpy as np


def conv2d(x, weight, bias=0, stride=1, padding=0, groups=1):
    """x (N, C, H, W), weight (O, C/groups, R, S)."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    parts = zip(np.split(windows, groups, 1), np.split(weight, groups, 0))
    y = np.concatenate([np.einsum("nchwrs,ocrs->nohw", part, kernel) for part, kernel in parts], 1)
    return y + np.reshape(bias, (-1, 1, 1))


def conv_transpose2d(x, weight, bias=0, stride=1):
    """x (N, I, H, W), weight (I, O, R, S)."""
    (n, _, h, w), (_, o, r, s) = x.shape, weight.shape
    y = np.zeros((n, o, (h - 1) * stride + r, (w - 1) * stride + s), x.dtype)
    for i, j in np.ndindex(h, w):
        y[:, :, i * stride : i * stride + r, j * stride : j * stride + s] += np.einsum(
            "ni,iors->nors", x[:, :, i, j], weight
        )
    return y + np.reshape(bias, (-1, 1, 1))


def conv1d(x, weight, bias=0):
    """x (N, C, L), weight (O, C, R)."""
    return conv2d(x[:, :, None], weight[:, :, None], bias)[:, :, 0]


def batch_norm(x, state, name):
    """x (N, C, ...) by running statistics."""
    shape = (-1, *(1,) * (x.ndim - 2))
    mean, var, weight, bias = (
        state[f"{name}.{part}"].reshape(shape) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def max_pool2d(x, size):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // size, size, w // size, size).max((3, 5))


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def relu(x):
    return np.maximum(x, 0)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def layer_norm(x, state, name):
    centred = x - x.mean(-1, keepdims=True)
    y = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return y * state[f"{name}.weight"] + state[f"{name}.bias"]


def encoder_layer(x, state, name, heads):
    """A TransformerEncoderLayer with norms behind the sums, x (B, T, E), ReLU, no dropout."""
    b, t, e = x.shape
    projected = x @ state[f"{name}.self_attn.in_proj_weight"].T + state[f"{name}.self_attn.in_proj_bias"]
    q, k, v = (part.reshape(b, t, heads, -1).transpose(0, 2, 1, 3) for part in np.split(projected, 3, -1))
    mixed = softmax(q @ k.swapaxes(-1, -2) / np.sqrt(e // heads)) @ v
    x = x + linear(mixed.transpose(0, 2, 1, 3).reshape(b, t, e), state, f"{name}.self_attn.out_proj")
    x = layer_norm(x, state, f"{name}.norm1")
    x = x + linear(relu(linear(x, state, f"{name}.linear1")), state, f"{name}.linear2")
    return layer_norm(x, state, f"{name}.norm2")
