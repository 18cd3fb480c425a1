"""Losses. reduction: "mean", "sum", or "none" for one loss an element (or row).

Each raises TypeError for dtypes other than float32 and float64 or mixed ones, ValueError for shapes that differ and
for an unknown reduction. The mean of nothing is NaN.
"""

from __future__ import annotations

import math

import numpy as np

from .. import _check as check
from .._autocast import widened
from .._counting import listeners, tell
from .._devices import on_device
from ..kernels.halves import is_real
from ..kernels.sums import total
from ..tensor import ArrayLike, Tensor, arrays_of, as_tensor, record, run, unwrap
from ._soft_labels import soft_cross_entropy

REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(logits)[target], the loss of a classifier; about ln(C) before training.

    logits (..., C), target (...) integer labels in 0..C-1 or ignore_index (those rows do not count), weight (C,) of the
    classes or None. With label_smoothing s in [0, 1] the target is (1 - s) one-hot + s / C. "mean" divides by the
    summed weight of the rows that count. target may also be (..., C) probabilities of the classes, of the dtype of
    logits; "mean" divides by the number of rows then, as in PyTorch.
    Raises besides TypeError for labels that are no integers, ValueError for labels out of range.
    Source: Szegedy et al. 2016, section 7, for the smoothing.
    """
    x, labels, w = arrays_of((logits, target, weight))
    check.floats("cross_entropy", ("logits", "weight"), (x, w))
    _reduction("cross_entropy", reduction)
    if label_smoothing != 0:
        check.number("cross_entropy", "label_smoothing", label_smoothing, 0, 1, high_closed=True)
    if labels is not None and is_real(labels.dtype) and labels.shape == x.shape and x.ndim:
        return soft_cross_entropy(logits, target, weight, reduction, label_smoothing)
    labels = check.labels("cross_entropy", "logits", x, labels, w, ignore_index)
    if listeners and reduction == "mean":
        tell(labels, w, ignore_index)
    options = {"label_smoothing": float(label_smoothing), "ignore_index": ignore_index, "reduction": reduction}
    if x.ndim == 2:
        return run("cross_entropy", (logits, None, None), (x, labels, w), options)
    rows = as_tensor(logits).reshape(-1, x.shape[-1])
    y = run("cross_entropy", (rows, None, None), (rows.data, labels.reshape(-1), w), options)
    return y.reshape(x.shape[:-1]) if reduction == "none" else y


def _reduction(op: str, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        check.choice(op, "reduction", reduction, REDUCTIONS)


def nll_loss(
    log_probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-log_probs[target]: `cross_entropy` of what is already a log_softmax. Arguments and errors as there."""
    x, labels, w = arrays_of((log_probs, target, weight))
    check.floats("nll_loss", ("log_probs", "weight"), (x, w))
    x, w = widened(x), widened(w)
    labels = check.labels("nll_loss", "log_probs", x, labels, w, ignore_index)
    _reduction("nll_loss", reduction)
    if listeners and reduction == "mean":
        tell(labels, w, ignore_index)
    counted = labels != ignore_index
    safe = np.where(counted, labels, 0)
    scale = counted.astype(x.dtype) if w is None else np.where(counted, w[safe], x.dtype.type(0))
    chosen = np.take_along_axis(x, safe[..., None], axis=-1)[..., 0]
    losses = -scale * np.where(scale == 0, x.dtype.type(0), chosen)  # whatever an ignored row holds
    y = losses if reduction == "none" else total(losses)
    weights = total(scale) if reduction == "mean" else x.dtype.type(1)
    with np.errstate(invalid="ignore"):
        return record(y / weights, _nll_backward, (x.shape, safe, counted, scale, weights), (log_probs,))


def _nll_backward(dy, saved, needs):
    """dlog_probs[..., target] = -dy scale, scale being weight[target], over their sum for "mean"; 0 where ignored."""
    shape, labels, counted, scale, weights = saved
    dx = np.zeros_like(scale, shape=shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        picked = np.where(counted, -scale * (dy / weights), scale.dtype.type(0))
    np.put_along_axis(dx, labels[..., None], picked[..., None], axis=-1)
    return (dx,)


def mse_loss(x: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Tensor:
    """(x - target)^2; x and target of one shape."""
    return _difference("mse", x, target, reduction)


def l1_loss(x: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Tensor:
    """|x - target|; x and target of one shape."""
    return _difference("l1", x, target, reduction)


def huber_loss(x: ArrayLike, target: ArrayLike, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """With d = |x - target|: d^2 / 2 for d <= delta, else delta (d - delta / 2). delta > 0. Source: Huber 1964."""
    delta = check.number("huber_loss", "delta", delta, 0, math.inf, low_open=True)
    return _difference("huber", x, target, reduction, delta=delta)


def smooth_l1_loss(x: ArrayLike, target: ArrayLike, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """With d = |x - target|: d^2 / (2 beta) for d < beta, else d - beta / 2; that is huber_loss with delta = beta, over
    beta, and l1_loss for beta = 0. beta >= 0. Source: Girshick 2015, equation 3.
    """
    beta = check.number("smooth_l1_loss", "beta", beta, 0, math.inf)
    a, _ = arrays = _alike("smooth_l1_loss", x, target)
    _reduction("smooth_l1_loss", reduction)
    if beta < np.finfo(a.dtype).tiny:
        return run("l1", (x, target), arrays, {"reduction": reduction})
    return run("huber", (x, target), arrays, {"delta": beta, "reduction": reduction}) / beta


def kl_div(x: ArrayLike, target: ArrayLike, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target (log target - x), the divergence of exp(x) from the distribution target, element by element.

    x: logarithms of probabilities, such as a log_softmax; target: probabilities (0 log 0 = 0), or with log_target their
    logarithms. x and target of one shape. reduction besides: "batchmean", the sum over the length of the first axis,
    which is the mean divergence of a batch; "mean" divides by the number of elements.
    Source: Kullback and Leibler 1951.
    """
    a, t = _alike("kl_div", x, target)
    check.choice("kl_div", "reduction", reduction, (*REDUCTIONS, "batchmean"))
    log_target = bool(log_target)
    with np.errstate(divide="ignore", invalid="ignore"):
        share, log_share = (np.exp(t), t) if log_target else (t, np.log(t))
        losses = np.where(share == 0, a.dtype.type(0), share * (log_share - a))
    count = {"mean": a.size, "batchmean": a.shape[0] if a.ndim else 1}.get(reduction, 1)
    with np.errstate(invalid="ignore"):
        y = losses if reduction == "none" else losses.sum() / a.dtype.type(count)
    return record(y, _kl_div_backward, (a, share, log_share, log_target, max(count, 1)), (x, target))


def _kl_div_backward(dy, saved, needs):
    """dx = -dy target;  dtarget = dy (log target + 1 - x), and times target for its logarithm, where that is given."""
    x, share, log_share, log_target, count = saved
    dlosses = dy / x.dtype.type(count)
    dx = -dlosses * share if needs[0] else None
    if not needs[1]:
        return dx, None
    with np.errstate(invalid="ignore"):
        slope = log_share + 1 - x
        return dx, dlosses * (np.where(share == 0, x.dtype.type(0), share * slope) if log_target else slope)


def _difference(op: str, x: ArrayLike, target: ArrayLike, reduction: str, **options: float) -> Tensor:
    name = f"{op}_loss"
    arrays = _alike(name, x, target)
    _reduction(name, reduction)
    return run(op, (x, target), arrays, {**options, "reduction": reduction})


def _alike(op: str, x: ArrayLike, target: ArrayLike) -> list[np.ndarray]:
    """The arrays of x and target, which have one dtype and one shape."""
    a, t = arrays = arrays_of((x, target))
    check.floats(op, ("x", "target"), (a, t), 2)
    if a.shape != t.shape:
        check.shape(op, "target", t, a.shape, "like x")
    return [widened(each) for each in arrays]


def binary_cross_entropy(
    x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, reduction: str = "mean"
) -> Tensor:
    """-weight (target log x + (1 - target) log(1 - x)) for probabilities x; logarithms are cut off at -100.

    x and target of one shape, both in [0, 1], else ValueError; weight broadcasts to it. Where x comes from a sigmoid,
    `binary_cross_entropy_with_logits` of its argument is exact.
    """
    a, t = _alike("binary_cross_entropy", x, target)
    w = _broadcast("binary_cross_entropy", "weight", weight, a)
    _reduction("binary_cross_entropy", reduction)
    for name, array in (("x", a), ("target", t)):
        if not on_device(array) and not ((array >= 0) & (array <= 1)).all():
            raise ValueError(f"binary_cross_entropy: {name} must hold probabilities in [0, 1], got {_outside(array)}")
    with np.errstate(divide="ignore"):
        log_x, log_not_x = (np.maximum(np.log(a), -100), np.maximum(np.log1p(-a), -100))
    scale = np.ones_like(a) if w is None else w
    if reduction == "mean":
        scale = scale / max(a.size, 1)
    losses = -scale * (t * log_x + (1 - t) * log_not_x)
    y = losses if reduction == "none" else total(losses) if a.size or reduction == "sum" else _nan_beside(a)
    return record(y, _binary_cross_entropy_backward, (a, t, scale, log_x, log_not_x), (x, target))


def _nan_beside(array: np.ndarray) -> np.ndarray:
    return np.full_like(array, np.nan, shape=())


def _outside(array: np.ndarray) -> float:
    return array[~((array >= 0) & (array <= 1))][0].item()


def _binary_cross_entropy_backward(dy, saved, needs):
    """dx = dy scale (x - target) / (x (1 - x)), the divisor at least 1e-12;  dtarget = dy scale (log(1-x) - log x)."""
    x, target, scale, log_x, log_not_x = saved
    dlosses = dy * scale
    dx = dlosses * (x - target) / np.maximum(x * (1 - x), x.dtype.type(1e-12)) if needs[0] else None
    return dx, dlosses * (log_not_x - log_x) if needs[1] else None


def _broadcast(op: str, name: str, value: ArrayLike | None, x: np.ndarray) -> np.ndarray | None:
    """A weight, without a gradient of its own, repeated to the shape of x."""
    if value is None:
        return None
    array = unwrap(value)
    check.floats(op, ("x", name), (x, array))
    try:
        return np.broadcast_to(array, x.shape)
    except ValueError:
        raise ValueError(f"{op}: {name} must broadcast to x {x.shape}, got shape {array.shape}") from None


def binary_cross_entropy_with_logits(
    x: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Tensor:
    """-weight (pos_weight target log p + (1 - target) log(1 - p)), p = sigmoid(x), without overflow for any x.

    x and target of one shape; weight and pos_weight broadcast to it.
    """
    op = "binary_cross_entropy_with_logits"
    a, t = _alike(op, x, target)
    w, positive = _broadcast(op, "weight", weight, a), _broadcast(op, "pos_weight", pos_weight, a)
    _reduction(op, reduction)
    return run("bce_with_logits", (x, target, None, None), (a, t, w, positive), {"reduction": reduction})
