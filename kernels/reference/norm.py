"""Normalisation: of each channel of x (..., C) for batch_norm, of the rows of x (M, C) for layer_norm and rms_norm, of
groups of channels of each image for group_norm.

weight and bias are (C,) or None.
"""

import math

import numpy as np

from .elementwise import activate, activation_gradient, like


def _scale_shift(normalised, weight, bias):
    """normalised * weight + bias, where given."""
    y = normalised if weight is None else normalised * weight
    return y if bias is None else y + bias


def _statistics(x):
    """Mean and biased variance of each column, (C,), 0 for no rows.

    Sums down a column run over very many rows (N H W for images), so they are kept in float64 at least.
    """
    rows = max(len(x), 1)
    mean = x.sum(axis=0, dtype=np.result_type(x, np.float64)) / rows
    var = np.square(x - mean).sum(axis=0) / rows
    return like(mean, x), like(var, x)


def _rows(x):
    """(M, C) from (..., C)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # -1 cannot tell where a size is 0


def batch_norm_forward(x, weight, bias, residual, mean, var, *, eps, activation):
    """y = act((x - mean) / sqrt(var + eps) * weight + bias + residual) for each channel of x (..., C).

    residual has the shape of x, or is None. mean and var (C,) are used if given (evaluation), else those of all the
    rows of the batch, N H W of them for images, var biased. Saved: the ones used; and y where backward needs it: not
    for ReLU without a residual, whose mask can be told from x. Source: Ioffe and Szegedy 2015, algorithm 1.
    """
    batch_statistics = mean is None
    if batch_statistics:
        mean, var = _statistics(_rows(x))
    z = _scale_shift((x - mean) / np.sqrt(var + eps), weight, bias)
    y = like(activate(z if residual is None else z + residual, activation), x)
    kept = None if activation is None or (activation == "relu" and residual is None) else y
    return y, (x, weight, bias, mean, var, kept, eps, batch_statistics, activation)


def batch_norm_backward(dy, saved, needs):
    """With u = (x - mean) rstd, g = dy act'(y) and h = g weight:

    dx = rstd (h - mean over M of h - u mean over M of h u), or rstd h where mean and var were given (constants)
    dweight = sum over M of g u,  dbias = sum over M of g,  dresidual = g
    """
    x, weight, bias, mean, var, y, eps, batch_statistics, activation = saved
    rstd = 1 / np.sqrt(var + eps)
    u = (x - mean) * rstd
    if activation == "relu" and y is None:
        y = _scale_shift((x - mean) / np.sqrt(var + eps), weight, bias)
    g = activation_gradient(dy, y, activation)
    dbias = _rows(g).sum(axis=0)
    dweight = _rows(g * u).sum(axis=0)
    dx = None
    if needs[0]:
        rows = max(len(_rows(x)), 1)
        centred = g - dbias / rows - u * (dweight / rows) if batch_statistics else g
        dx = like(centred * (rstd if weight is None else rstd * weight), dy)
    dresidual = np.array(g, order="C") if needs[3] else None
    return dx, dweight if needs[1] else None, dbias if needs[2] else None, dresidual, None, None


def layer_norm_forward(x, weight, bias, *, eps):
    """y = (x - mean) rstd weight + bias along C, rstd = 1 / sqrt(var + eps), var biased: x (M, C).

    Saved: mean and rstd (M,). Source: Ba et al. 2016, equation 4.
    """
    mean = x.mean(axis=1)
    centred = x - mean[:, None]
    rstd = 1 / np.sqrt(np.square(centred).mean(axis=1) + eps)
    return like(_scale_shift(centred * rstd[:, None], weight, bias), x), (x, weight, mean, rstd)


def layer_norm_backward(dy, saved, needs):
    """With u = (x - mean) rstd and g = dy weight:

    dx = rstd (g - mean over C of g - u mean over C of g u)
    dweight = sum over M of dy u,  dbias = sum over M of dy
    """
    x, weight, mean, rstd = saved
    u = (x - mean[:, None]) * rstd[:, None]
    dx = None
    if needs[0]:
        g = dy if weight is None else dy * weight
        centred = g - g.mean(axis=1, keepdims=True) - u * (g * u).mean(axis=1, keepdims=True)
        dx = like(centred * rstd[:, None], dy)
    return dx, (dy * u).sum(axis=0) if needs[1] else None, dy.sum(axis=0) if needs[2] else None


def rms_norm_forward(x, weight, *, eps):
    """y = x rstd weight along C, rstd = 1 / sqrt(mean of x^2 + eps): x (M, C), weight (C,) or None.

    Saved: rstd (M,). Source: Zhang and Sennrich 2019, equation 4.
    """
    rstd = 1 / np.sqrt(np.square(x).sum(axis=1) / max(x.shape[1], 1) + eps)
    return like(_scale_shift(x * rstd[:, None], weight, None), x), (x, weight, like(rstd, x))


def rms_norm_backward(dy, saved, needs):
    """With u = x rstd and g = dy weight:

    dx = rstd (g - u mean over C of g u),  dweight = sum over M of dy u
    """
    x, weight, rstd = saved
    u = x * rstd[:, None]
    dx = None
    if needs[0]:
        g = dy if weight is None else dy * weight
        mean = (g * u).sum(axis=1, keepdims=True) / max(x.shape[1], 1)
        dx = like((g - u * mean) * rstd[:, None], dy)
    dweight = like((dy * u).sum(axis=0, dtype=_wide(x)), dy) if needs[1] else None
    return dx, dweight


def _wide(x):
    """float64, or x's dtype where that is wider: for sums over very many numbers."""
    return np.result_type(x, np.float64)


def _grouped(x, groups):
    """(N, L, G, C / G) from (N, ..., C)."""
    n, c = x.shape[0], x.shape[-1]
    return x.reshape(n, math.prod(x.shape[1:-1]), groups, c // groups)


def group_norm_forward(x, weight, bias, *, groups, eps):
    """y = (x - mean) rstd weight + bias, with the statistics of each image and group, over all pixels and C / groups
    channels: x (N, ..., C), weight and bias (C,) or None, rstd = 1 / sqrt(var + eps), var biased.

    Saved: mean (N, G) in float64, for an offset of all numbers may have more digits than they, and rstd (N, G).
    Source: Wu and He 2018, equations 1 and 2.
    """
    a = _grouped(x, groups)
    count = max(a.shape[1] * a.shape[3], 1)
    mean = a.sum(axis=(1, 3), dtype=_wide(x)) / count
    centred = a - mean[:, None, :, None]
    rstd = 1 / np.sqrt(np.square(centred).sum(axis=(1, 3)) / count + eps)
    u = (centred * rstd[:, None, :, None]).reshape(x.shape)
    return like(_scale_shift(u, weight, bias), x), (x, weight, mean, like(rstd, x), groups)


def group_norm_backward(dy, saved, needs):
    """With u = (x - mean) rstd, g = dy weight and means over the pixels and channels of a group:

    dx = rstd (g - mean of g - u mean of g u)
    dweight = sum over N and pixels of dy u,  dbias = sum over N and pixels of dy
    """
    x, weight, mean, rstd, groups = saved
    scale = rstd[:, None, :, None]
    u = (_grouped(x, groups) - mean[:, None, :, None]) * scale
    dx = None
    if needs[0]:
        g = _grouped(dy if weight is None else dy * weight, groups)
        count = max(g.shape[1] * g.shape[3], 1)
        means = [each.sum(axis=(1, 3), keepdims=True, dtype=_wide(x)) / count for each in (g, g * u)]
        dx = like(((g - means[0] - u * means[1]) * scale).reshape(x.shape), dy)
    dweight = like(_rows(dy * u.reshape(x.shape)).sum(axis=0, dtype=_wide(x)), dy) if needs[1] else None
    return dx, dweight, like(_rows(dy).sum(axis=0, dtype=_wide(x)), dy) if needs[2] else None
