"""Losses. reduction "none" keeps one loss for each element (or row), "sum" adds them, "mean" divides the sum.

y is a 0-d array for "sum" and "mean", and so is dy. The mean of nothing is NaN, as in PyTorch.
"""

import numpy as np

from ..sums import total
from .elementwise import gated, like, sigmoid, softplus


def _reduced(losses, reduction, x):
    """The elementwise losses, their sum, or their mean, in x's dtype."""
    if reduction == "none":
        return like(losses, x)
    sum_of_all = total(losses)
    with np.errstate(invalid="ignore"):
        return like(sum_of_all / losses.dtype.type(losses.size) if reduction == "mean" else sum_of_all, x)


def _dlosses(dy, size, reduction):
    """The gradient of each elementwise loss: dy itself, or its equal share of the mean."""
    return dy / max(size, 1) if reduction == "mean" else dy


def _difference_gradients(dlosses, slope, x, needs):
    """dx = dlosses slope and dtarget = -dx, for losses of x - target alone."""
    dx = dlosses * slope
    return like(dx, x) if needs[0] else None, like(-dx, x) if needs[1] else None


def mse_forward(x, target, *, reduction):
    """loss = (x - target)^2; x and target of one shape."""
    return _reduced(np.square(x - target), reduction, x), (x, target, reduction)


def mse_backward(dy, saved, needs):
    """dx = 2 dy (x - target)."""
    x, target, reduction = saved
    return _difference_gradients(_dlosses(dy, x.size, reduction), 2 * (x - target), x, needs)


def l1_forward(x, target, *, reduction):
    """loss = |x - target|; x and target of one shape."""
    return _reduced(np.abs(x - target), reduction, x), (x, target, reduction)


def l1_backward(dy, saved, needs):
    """dx = dy sign(x - target), 0 where they are equal."""
    x, target, reduction = saved
    return _difference_gradients(_dlosses(dy, x.size, reduction), np.sign(x - target), x, needs)


def huber_forward(x, target, *, delta, reduction):
    """With d = |x - target|: loss = d^2 / 2 where d <= delta, else delta (d - delta / 2). Source: Huber 1964."""
    d = np.abs(x - target)
    near = np.minimum(d, delta)
    return _reduced(near * (d - 0.5 * near), reduction, x), (x, target, delta, reduction)


def huber_backward(dy, saved, needs):
    """dx = dy clip(x - target, -delta, delta)."""
    x, target, delta, reduction = saved
    slope = np.clip(x - target, -delta, delta)
    return _difference_gradients(_dlosses(dy, x.size, reduction), slope, x, needs)


def bce_with_logits_forward(x, target, weight, pos_weight, *, reduction):
    """loss = weight (pos_weight target softplus(-x) + (1 - target) softplus(x)), softplus(x) = log(1 + exp(x)).

    That is -target log sigmoid(x) - (1 - target) log(1 - sigmoid(x)), without overflow. All of one shape; weight
    and pos_weight may be None.
    """
    positive = target if pos_weight is None else pos_weight * target
    losses = gated(softplus(-x), positive) + gated(softplus(x), 1 - target)
    losses = losses if weight is None else weight * losses
    return _reduced(losses, reduction, x), (x, target, weight, pos_weight, reduction)


def bce_with_logits_backward(dy, saved, needs):
    """dx = dy weight ((1 - target) sigmoid(x) - pos_weight target sigmoid(-x))
    dtarget = dy weight (pos_weight softplus(-x) - softplus(x))
    """
    x, target, weight, pos_weight, reduction = saved
    dlosses = _dlosses(dy, x.size, reduction)
    dlosses = dlosses if weight is None else dlosses * weight
    pos_weight = np.ones_like(x) if pos_weight is None else pos_weight
    dx = dtarget = None
    if needs[0]:
        dx = like(dlosses * ((1 - target) * sigmoid(x) - pos_weight * target * sigmoid(-x)), x)
    if needs[1]:
        dtarget = like(dlosses * (pos_weight * softplus(-x) - softplus(x)), x)
    return dx, dtarget, None, None


def _row_weights(target, weight, ignore_index, dtype):
    """(rows counted (M,) bool, their labels with 0 for the ignored, weight of each row's label or 0 if ignored)."""
    counted = target != ignore_index
    labels = np.where(counted, target, 0)
    row_weight = counted.astype(dtype) if weight is None else np.where(counted, weight[labels], 0)
    return counted, labels, row_weight


def _row_logs(logits):
    """(2, M): the maximum of each row of logits (M, C), and the logarithm of the sum of exp(logits - maximum)."""
    most = logits.max(axis=1)
    with np.errstate(invalid="ignore"):
        return np.stack([most, np.log(total(np.exp(logits - most[:, None]), 1))])


def _log_probs(logits, logs):
    with np.errstate(invalid="ignore"):
        return (logits - logs[0][:, None]) - logs[1][:, None]


def cross_entropy_forward(logits, target, weight, *, label_smoothing, ignore_index, reduction):
    """Cross-entropy of softmax(logits) with smoothed labels; logits (M, C), target (M,) int64, weight (C,) or None.

    loss[m] = -sum over c of q[m, c] log_probs[m, c], and 0 where target[m] == ignore_index
    q[m, c] = weight[c] ((1 - label_smoothing) [c == target[m]] + label_smoothing / C)
    log_probs[m] = (logits[m] - logs[0, m]) - logs[1, m],  logs = (max, log(sum of exp(logits - max))) of the rows
    "mean" divides by the sum of weight[target] over the rows not ignored, so it is NaN if all are.
    Source: Szegedy et al. 2016, section 7; PyTorch's cross_entropy for weight and ignore_index.
    """
    logs = _row_logs(logits)
    log_probs = _log_probs(logits, logs)
    counted, labels, row_weight = _row_weights(target, weight, ignore_index, logits.dtype)
    nll = -np.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0]
    losses = gated(nll, row_weight)
    if label_smoothing > 0:
        weighted = log_probs if weight is None else log_probs * weight
        spread = np.where(counted, -total(weighted, 1), 0) / logits.shape[1]
        losses = (1 - label_smoothing) * losses + label_smoothing * spread
    saved = (logits, logs, target, weight, label_smoothing, ignore_index, reduction)
    if reduction == "mean":
        with np.errstate(invalid="ignore", divide="ignore"):
            return like(total(losses) / total(row_weight), logits), saved
    return _reduced(losses, reduction, logits), saved


def cross_entropy_backward(dy, saved, needs):
    """dlogits[m] = dy[m] (softmax(logits)[m] sum of q[m] - q[m]), q as in the forward; 0 for ignored rows.

    With reduction "mean" dy is divided by the summed weight first.
    """
    logits, logs, target, weight, label_smoothing, ignore_index, reduction = saved
    if not needs[0]:
        return None, None, None
    log_probs = _log_probs(logits, logs)
    rows, classes = log_probs.shape
    counted, labels, row_weight = _row_weights(target, weight, ignore_index, log_probs.dtype)
    spread = np.ones(classes, dtype=log_probs.dtype) if weight is None else weight
    q = np.tile(label_smoothing / classes * spread, (rows, 1))
    q[np.arange(rows), labels] += (1 - label_smoothing) * row_weight
    if reduction == "mean":
        with np.errstate(invalid="ignore", divide="ignore"):
            dy = dy / total(row_weight)
    # Twice, so that an ignored row gets 0 though dy is infinite (no weight at all) or its logits are NaN.
    dlogits = np.where(counted, dy, 0)[:, None] * (np.exp(log_probs) * total(q, 1, keepdims=True) - q)
    return like(np.where(counted[:, None], dlogits, 0), log_probs), None, None
