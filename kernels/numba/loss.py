"""Losses: formulas for one element, mapped or summed; cross-entropy, a row at a time.

The operations are defined in `kernels/reference/loss.py`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from ..memory import empty
from .jit import contiguous, helper, jit, parallel_for
from .loops import SERIAL, get, mapped, pointer, put, summed
from .softmax import row_logs, rows_per_job
from .vmath import clip, exp_negative, gated, inlined, log1p_exp, real, where


def _ordered(values):
    """(arrays, options) from arrays mixed with numbers: a number that stands before an array becomes one."""
    count = max(k for k, value in enumerate(values) if np.ndim(value)) + 1 if any(map(np.ndim, values)) else 2
    x = values[0]
    return [value if np.ndim(value) else np.full(x.shape, value, x.dtype) for value in values[:count]], values[count:]


class _Loss:
    """loss = f(x, target, *weights or options) with one of the three reductions."""

    def __init__(self, formula):
        formula = inlined(formula)
        self.each, self.total = mapped(formula), summed(formula)

    def __call__(self, x, *values, reduction):
        arrays, options = _ordered((x, *values))
        if reduction == "none":
            return self.each(*arrays, options=options)
        total = self.total(*arrays, options=options)
        return np.array(total if reduction == "sum" else total / x.size if x.size else math.nan, x.dtype)


def _gradient(formula, x, target, dy, *values, reduction):
    """formula(x, target, dy, *values), with the gradient of each element's loss for dy."""
    if reduction != "none":
        dy = float(dy) / max(x.size, 1) if reduction == "mean" else float(dy)
    arrays, options = _ordered((x, target, dy, *values))
    return formula(*arrays, options=options)


def _difference_gradients(formula, saved, dy, needs):
    """dx and dtarget = -dx, for losses of x - target alone; saved = (x, target, *options, reduction)."""
    if not any(needs[:2]):
        return None, None
    x, target, *options, reduction = saved
    dx = _gradient(formula, x, target, dy, *options, reduction=reduction)
    return dx if needs[0] else None, -dx if needs[1] else None


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
    return _difference_gradients(_mse_gradient, saved, dy, needs)


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
    return _difference_gradients(_l1_gradient, saved, dy, needs)


@_Loss
def _huber(x, target, delta):
    d = abs(x - target)
    near = where(d > delta, delta, d)
    return near * (d - real(x, 0.5) * near)


@mapped
def _huber_gradient(x, target, dy, delta):
    return dy * clip(x - target, -delta, delta)


def huber_forward(x, target, *, delta, reduction):
    return _huber(x, target, delta, reduction=reduction), (x, target, delta, reduction)


def huber_backward(dy, saved, needs):
    return _difference_gradients(_huber_gradient, saved, dy, needs)


@inlined
def _bce_terms(x):
    """softplus(-x) and softplus(x), from one logarithm."""
    zero, tail = real(x, 0), log1p_exp(x)
    return where(x > 0, zero, -x) + tail, where(x < 0, zero, x) + tail


@_Loss
def _bce(x, target, weight, pos_weight):
    positive, negative = _bce_terms(x)
    return weight * (gated(positive, pos_weight * target) + gated(negative, real(x, 1) - target))


@mapped
def _bce_gradient(x, target, dy, weight, pos_weight):
    """sigmoid(x) and sigmoid(-x) come from one exponential."""
    one, e = real(x, 1), exp_negative(-abs(x))
    large = one / (one + e)
    small = e * large
    rise, fall = where(x < 0, small, large), where(x < 0, large, small)
    return dy * weight * ((one - target) * rise - pos_weight * target * fall)


@mapped
def _bce_target_gradient(x, target, dy, weight, pos_weight):
    positive, negative = _bce_terms(x)
    return dy * weight * (pos_weight * positive - negative)


def bce_with_logits_forward(x, target, weight, pos_weight, *, reduction):
    weights = [1.0 if w is None else w for w in (weight, pos_weight)]
    return _bce(x, target, *weights, reduction=reduction), (x, target, weight, pos_weight, reduction)


def bce_with_logits_backward(dy, saved, needs):
    x, target, weight, pos_weight, reduction = saved
    weights = [1.0 if w is None else w for w in (weight, pos_weight)]
    formulas = (_bce_gradient, _bce_target_gradient)
    gradients = [
        _gradient(formula, x, target, dy, *weights, reduction=reduction) if need else None
        for formula, need in zip(formulas, needs, strict=False)
    ]
    return *gradients, None, None


@inlined
def _log_prob(x, most, log_total):
    return (x - most) - log_total


@helper
def _cross_entropy_job(job, worker, logits, logs, target, weight, spread, keep, ignore_index, losses, per_job):
    """losses[m] = -keep weight[t] log_probs[m, t] - sum of spread log_probs[m], t = target[m]; spread may be empty."""
    rows, size = logits.shape
    for row in range(job * per_job, min((job + 1) * per_job, rows)):
        at = row * size
        most, log_total = row_logs(pointer(logits, at), size)
        put(logs, row, most)
        put(logs, rows + row, log_total)
        loss, label = 0.0, target[row]
        if label != ignore_index:
            row_weight = weight[label] if weight.size else logits.dtype.type(1)
            if row_weight != 0:
                loss = -keep * (row_weight * _log_prob(get(logits, at + label), most, log_total))
            for c in range(spread.size):
                loss -= get(spread, c) * _log_prob(get(logits, at + c), most, log_total)
        losses[row] = loss


@jit
def _cross_entropy(logits, logs, target, weight, spread, keep, ignore_index, losses, per_job):
    """Fills logs and losses; returns the sum of the losses, and that over the weights of the rows that count."""
    arguments = (logits, logs, target, weight, spread, keep, ignore_index, losses, per_job)
    parallel_for(_cross_entropy_job, -(-logits.shape[0] // per_job), arguments, logits.size < SERIAL)
    total = 0.0
    for row in range(logits.shape[0]):
        total += losses[row]
    return total, total / _total_weight(target, weight, ignore_index)


@helper
def _total_weight(target, weight, ignore_index):
    total = 0.0
    for row in range(target.size):
        if target[row] != ignore_index:
            total += weight[target[row]] if weight.size else 1
    return total


def _smoothing(label_smoothing, weight, classes, dtype):
    """label_smoothing / C weight: what smoothing adds to the label's weight, class by class."""
    share = label_smoothing / max(classes, 1)
    return _constant(share, classes, dtype) if weight is None else contiguous(weight) * dtype.type(share)


@lru_cache(maxsize=64)
def _constant(value, count, dtype):
    """An array that only kernels read: making it anew would cost as much as the loss of a small batch."""
    return np.full(count, value, dtype)


def _none(dtype):
    """An empty array, for weights that are not given."""
    return _constant(0, 0, dtype)


def cross_entropy_forward(logits, target, weight, *, label_smoothing, ignore_index, reduction):
    (rows, classes), dtype, logits = logits.shape, logits.dtype, contiguous(logits)
    logs, losses = empty((2, rows), dtype), empty(rows)
    spread = _smoothing(label_smoothing, weight, classes, dtype) if label_smoothing > 0 else _none(dtype)
    weights = _none(dtype) if weight is None else contiguous(weight)
    total, mean = _cross_entropy(logits, logs, contiguous(target), weights, spread, 1.0 - label_smoothing,
                                  ignore_index, losses, rows_per_job(classes))  # fmt: skip
    saved = (logits, logs, target, weight, label_smoothing, ignore_index, reduction)
    if reduction == "none":
        return losses.astype(dtype), saved
    return np.array(total if reduction == "sum" else mean, dtype), saved


@helper(noalias=True)
def _cross_entropy_back_row(logits, logs, spread, label, shares, dy, dlogits, size):
    """dlogits = dy (exp(log_probs) sum of q - q), q = spread, and more at the label.

    logs = (max, log of the sum); shares = (how much more, sum of q).
    """
    most, log_total = logs
    label_share, total_share = shares
    for c in range(size):
        share = exp_negative(_log_prob(get(logits, c), most, log_total))
        put(dlogits, c, dy * (share * total_share - get(spread, c)))
    share = exp_negative(_log_prob(get(logits, label), most, log_total))
    put(dlogits, label, dy * (share * total_share - (get(spread, label) + label_share)))


@helper
def _cross_entropy_back_job(job, worker, dy, logits, logs, target, weight, spread, keep, ignore_index, scale, dlogits,
                            per_job):  # fmt: skip
    rows, size = logits.shape
    smooth = 0.0
    for c in range(size):
        smooth += get(spread, c)
    for row in range(job * per_job, min((job + 1) * per_job, rows)):
        at, label = row * size, target[row]
        if label == ignore_index:
            for c in range(size):
                put(dlogits, at + c, 0)
            continue
        share = keep * (weight[label] if weight.size else 1.0)
        gradient = get(dy, row if dy.size > 1 else 0) * scale
        like = get(spread, 0)
        shares = real(like, share), real(like, share + smooth)
        _cross_entropy_back_row(pointer(logits, at), (get(logs, row), get(logs, rows + row)), pointer(spread, 0), label,
                                shares, real(like, gradient), pointer(dlogits, at), size)  # fmt: skip


@jit
def _cross_entropy_back(dy, logits, logs, target, weight, spread, keep, ignore_index, mean, dlogits, per_job):
    scale = 1 / _total_weight(target, weight, ignore_index) if mean else 1.0
    arguments = (dy, logits, logs, target, weight, spread, keep, ignore_index, scale, dlogits, per_job)
    parallel_for(_cross_entropy_back_job, -(-logits.shape[0] // per_job), arguments, logits.size < SERIAL)


def cross_entropy_backward(dy, saved, needs):
    logits, logs, target, weight, label_smoothing, ignore_index, reduction = saved
    if not needs[0]:
        return None, None, None
    (_, classes), dtype = logits.shape, logits.dtype
    dlogits = empty(logits.shape, dtype)
    weights = _none(dtype) if weight is None else contiguous(weight)
    if dlogits.size:
        _cross_entropy_back(contiguous(dy).reshape(-1), contiguous(logits), contiguous(logs), contiguous(target),
                            weights, _smoothing(label_smoothing, weight, classes, dtype), 1.0 - label_smoothing,
                            ignore_index, reduction == "mean", dlogits, rows_per_job(classes))  # fmt: skip
    return dlogits, None, None
