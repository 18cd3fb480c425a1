"""Normalisation: of each channel of x (..., C) for batch_norm, of the rows of x (M, C) for layer_norm.

weight and bias are (C,) or None.
"""

import math

import numpy as np

from ..sums import total, wide_total
from .elementwise import activate, activation_gradient, like


def _scale_shift(normalised, weight, bias):
    """normalised * weight + bias, where given."""
    y = normalised if weight is None else normalised * weight
    return y if bias is None else y + bias


def _statistics(x):
    """Mean and biased variance of each column, (C,), 0 for no rows; in float64 at least until they are rounded."""
    rows = max(len(x), 1)
    mean = wide_total(x, 0) / rows
    mean += wide_total(x - mean, 0) / rows  # of what is left: the first is off by roundings of the sum
    var = wide_total(np.square(x - mean), 0) / rows
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
    dbias = total(_rows(g), 0)
    dweight = total(_rows(g * u), 0)
    dx = None
    if needs[0]:
        rows = max(len(_rows(x)), 1)
        centred = g - dbias / rows - u * (dweight / rows) if batch_statistics else g
        dx = like(centred * (rstd if weight is None else rstd * weight), dy)
    dresidual = np.array(g, order="C") if needs[3] else None
    return dx, dweight if needs[1] else None, dbias if needs[2] else None, dresidual, None, None


def _centred(x, mean):
    """x less the mean of each row, and less the mean of what is left: that of rows far from 0 is rounded."""
    left = x - mean[:, None]
    return left - like(wide_total(left, 1, keepdims=True) / max(x.shape[1], 1), x)


def layer_norm_forward(x, weight, bias, *, eps):
    """y = (x - mean) rstd weight + bias along C, rstd = 1 / sqrt(var + eps), var biased: x (M, C).

    Saved: mean and rstd (M,). Source: Ba et al. 2016, equation 4.
    """
    columns = max(x.shape[1], 1)
    mean = like(wide_total(x, 1) / columns, x)
    centred = _centred(x, mean)
    rstd = 1 / np.sqrt(total(np.square(centred), 1) / columns + x.dtype.type(eps))
    return like(_scale_shift(centred * rstd[:, None], weight, bias), x), (x, weight, mean, rstd)


def layer_norm_backward(dy, saved, needs):
    """With u = (x - mean) rstd and g = dy weight:

    dx = rstd (g - mean over C of g - u mean over C of g u)
    dweight = sum over M of dy u,  dbias = sum over M of dy
    """
    x, weight, mean, rstd = saved
    u = _centred(x, mean) * rstd[:, None]
    columns = max(x.shape[1], 1)
    dx = None
    if needs[0]:
        g = dy if weight is None else dy * weight
        centred = g - total(g, 1, True) / columns - u * (total(g * u, 1, True) / columns)
        dx = like(centred * rstd[:, None], dy)
    return dx, total(dy * u, 0) if needs[1] else None, total(dy, 0) if needs[2] else None
