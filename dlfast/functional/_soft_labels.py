"""Cross-entropy against probabilities of the classes, instead of one label a row."""

from __future__ import annotations

import numpy as np

from .. import _check as check
from .._autocast import widened
from ..tensor import ArrayLike, Tensor, arrays_of, record
from ._softmax import log_softmax


def soft_cross_entropy(
    logits: ArrayLike, target: ArrayLike, weight: ArrayLike | None, reduction: str, label_smoothing: float
) -> Tensor:
    """-sum over c of q[c] log softmax(logits)[c], q = weight ((1 - s) target + s / C); "mean" divides by the rows.

    logits and target (..., C), weight (C,) or None. Arguments and errors as `cross_entropy`, which calls it.
    """
    x, t, w = arrays_of((logits, target, weight))
    check.floats("cross_entropy", ("logits", "target", "weight"), (x, t, w))
    x, t, w = widened(x), widened(t), widened(w)
    if x.shape[-1] == 0:
        raise ValueError(f"cross_entropy: logits must have shape (..., C) with at least one class, got {x.shape}")
    check.shape("cross_entropy", "weight", w, x.shape[-1:], f"to match logits {x.shape}")
    scale = np.asarray(1 - label_smoothing, x.dtype) * (1 if w is None else w)
    q = t * scale + (np.asarray(label_smoothing / x.shape[-1], x.dtype) * (1 if w is None else w))
    logs = log_softmax(x).data
    with np.errstate(invalid="ignore"):
        losses = -np.where(q == 0, q, q * logs).sum(axis=-1)  # a class that cannot be, and is not, costs nothing
    rows = x.size // x.shape[-1]
    share = x.dtype.type(1 / rows if rows else np.nan) if reduction == "mean" else x.dtype.type(1)
    y = losses if reduction == "none" else losses.sum() * share
    return record(y, _soft_cross_entropy_backward, (q, logs, scale, share, x.shape), (logits, target))


def _soft_cross_entropy_backward(dy, saved, needs):
    """dlogits = dy (softmax(logits) sum(q) - q);  dtarget = -dy (1 - s) weight log softmax(logits)."""
    q, logs, scale, share, shape = saved
    dlosses = np.broadcast_to(dy * share, shape[:-1])[..., None]
    dlogits = dlosses * (np.exp(logs) * q.sum(axis=-1, keepdims=True) - q) if needs[0] else None
    return dlogits, np.broadcast_to(-dlosses * scale * logs, shape) if needs[1] else None
