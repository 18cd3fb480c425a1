"""Losses: formulas for one element, mapped or summed; cross-entropy, a row at a time.

The operations are defined in `kernels/reference/loss.py`.
"""

from __future__ import annotations

import math

import numpy as np

from .elementwise import gated
from .jit import contiguous, helper, jit, parallel_for
from .loops import SERIAL, get, mapped, pointer, put, summed
from .softmax import log_softmax_row, rows_per_job
from .vmath import clip, exp, inlined, log1p_exp, real, where


class _Loss:
    """loss = f(x, target, *weights, *options) with one of the three reductions."""

    def __init__(self, formula):
        formula = inlined(formula)
        self.each, self.total = mapped(formula), summed(formula)

    def __call__(self, *arrays, options=(), reduction):
        if reduction == "none":
            return self.each(*arrays, options=options)
        size = arrays[0].size
        total = self.total(*arrays, options=options)
        return np.array(total if reduction == "sum" else total / size if size else math.nan, arrays[0].dtype)


def _gradient(formula, dy, arrays, reduction, options=()):
    """formula(*arrays, dy, *options), or with a number for dy where the loss was reduced to one number."""
    if reduction == "none":
        return formula(*arrays, dy, options=options)
    share = float(dy) / max(arrays[0].size, 1) if reduction == "mean" else float(dy)
    return formula(*arrays, options=(share, *options))


def _difference_gradients(formula, dy, arrays, reduction, needs, options=()):
    """dx and dtarget = -dx, for losses of x - target alone."""
    if not any(needs[:2]):
        return None, None
    dx = _gradient(formula, dy, arrays, reduction, options)
    return dx if needs[0] else None, np.negative(dx, out=None if needs[0] else dx) if needs[1] else None


@_Loss
def _mse(x, target):
    d = x - target
    return d * d


@mapped
def _mse_gradient(x, target, dy):
    return dy * (real(x, 2) * (x - target))


def mse_forward(x, target, *, reduction):
    return _mse(x, target, reduction=reduction), (x, target, reduction)


def mse_backward(dy, saved, needs):
    x, target, reduction = saved
    return _difference_gradients(_mse_gradient, dy, (x, target), reduction, needs)


@_Loss
def _l1(x, target):
    return abs(x - target)


@mapped
def _l1_gradient(x, target, dy):
    d = x - target
    return dy * where(d > 0, real(x, 1), where(d < 0, real(x, -1), d))


def l1_forward(x, target, *, reduction):
    return _l1(x, target, reduction=reduction), (x, target, reduction)


def l1_backward(dy, saved, needs):
    x, target, reduction = saved
    return _difference_gradients(_l1_gradient, dy, (x, target), reduction, needs)


@_Loss
def _huber(x, target, delta):
    d = abs(x - target)
    near = where(d > delta, delta, d)
    return near * (d - real(x, 0.5) * near)


@mapped
def _huber_gradient(x, target, dy, delta):
    return dy * clip(x - target, -delta, delta)


def huber_forward(x, target, *, delta, reduction):
    return _huber(x, target, options=(delta,), reduction=reduction), (x, target, delta, reduction)


def huber_backward(dy, saved, needs):
    x, target, delta, reduction = saved
    return _difference_gradients(_huber_gradient, dy, (x, target), reduction, needs, (delta,))


@_Loss
def _bce(x, target, weight, pos_weight):
    zero, tail = real(x, 0), log1p_exp(x)
    against, for_ = where(x < 0, zero, x) + tail, where(x > 0, zero, -x) + tail
    return weight * (gated(for_, pos_weight * target) + gated(against, real(x, 1) - target))


@mapped
def _bce_gradient(x, target, dy, weight, pos_weight):
    """sigmoid(x) and sigmoid(-x) come from one exponential."""
    one, e = real(x, 1), exp(-abs(x))
    small, large = e / (one + e), one / (one + e)
    rise, fall = where(x < 0, small, large), where(x < 0, large, small)
    return dy * weight * ((one - target) * rise - pos_weight * target * fall)


@mapped
def _bce_target_gradient(x, dy, weight, pos_weight):
    zero, tail = real(x, 0), log1p_exp(x)
    against, for_ = where(x < 0, zero, x) + tail, where(x > 0, zero, -x) + tail
    return dy * weight * (pos_weight * for_ - against)
