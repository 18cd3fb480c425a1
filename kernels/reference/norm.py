"""Normalisation of rows x (M, C): over M for batch_norm, over C for layer_norm. weight and bias (C,) or None."""

import numpy as np

from .elementwise import like


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


def batch_norm_forward(x, weight, bias, mean, var, *, eps):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, along M: x (M, C), channels last, M = N H W for images.

    mean and var (C,) are used if given (evaluation), else those of the batch, var biased. Saved: the ones used.
    Source: Ioffe and Szegedy 2015, algorithm 1.
    """
    batch_statistics = mean is None
    if batch_statistics:
        mean, var = _statistics(x)
    y = like(_scale_shift((x - mean) / np.sqrt(var + eps), weight, bias), x)
    return y, (x, weight, mean, var, eps, batch_statistics)


def batch_norm_backward(dy, saved, needs):
    """With u = (x - mean) rstd and g = dy weight:

    dx = rstd (g - mean over M of g - u mean over M of g u), or rstd g where mean and var were given (constants)
    dweight = sum over M of dy u,  dbias = sum over M of dy
    """
    x, weight, mean, var, eps, batch_statistics = saved
    rstd = 1 / np.sqrt(var + eps)
    u = (x - mean) * rstd
    dbias = dy.sum(axis=0)
    dweight = (dy * u).sum(axis=0)
    dx = None
    if needs[0]:
        rows = max(len(x), 1)
        g = dy - dbias / rows - u * (dweight / rows) if batch_statistics else dy
        dx = like(g * (rstd if weight is None else rstd * weight), dy)
    return dx, dweight if needs[1] else None, dbias if needs[2] else None, None, None


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
