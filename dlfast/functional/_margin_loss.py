"""Losses of similarity and of margins, and likelihoods of counts and of normal variables; reduction as in `_loss`.

Targets of +-1 and labels have no gradient. Errors as in `_loss`, besides ValueError for targets that are not +-1.
"""

from __future__ import annotations

import math

import numpy as np

from .. import _check as check
from .._devices import beside, check_one_device, on_device
from ..tensor import ArrayLike, Tensor, as_tensor, unwrap
from ._elementwise import relu, softplus
from ._loss import _alike, _broadcast, _reduction

_NO_LABEL = -(2**63)  # none is ignored


def cosine_similarity(
    x1: ArrayLike, x2: ArrayLike, axis: int = -1, eps: float = 1e-8, *, dim: int | None = None
) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along axis, which may be called dim; in [-1, 1].

    axis is the last one by default, where channels are; in PyTorch it is the second. The shapes broadcast.
    """
    axis, eps = axis if dim is None else dim, check.number("cosine_similarity", "eps", eps, 0, math.inf, low_open=True)
    a, b = _floats("cosine_similarity", x1=x1, x2=x2)
    product = (a * b).sum(axis)
    return product / (_length(a, axis, eps) * _length(b, axis, eps))


def normalize(x: ArrayLike, p: float = 2.0, axis: int = -1, eps: float = 1e-12, *, dim: int | None = None) -> Tensor:
    """x / max(|x|_p, eps) along axis, which may be called dim; the last by default, in PyTorch the second. p >= 1."""
    axis, p = axis if dim is None else dim, check.number("normalize", "p", p, 1, math.inf)
    (a,) = _floats("normalize", x=x)
    length = _length(a, axis, eps, True) if p == 2 else ((a.abs() ** p).sum(axis, keepdims=True) ** (1 / p)).clip(eps)
    return a / length


def _length(x: Tensor, axis: int, eps: float, keepdims: bool = False) -> Tensor:
    """max(|x|, eps), whose gradient at 0 is 0."""
    least = max(eps**2, float(np.finfo(x.dtype).tiny))
    return (x * x).sum(axis, keepdims=keepdims).clip(least).sqrt()


def cosine_embedding_loss(
    x1: ArrayLike, x2: ArrayLike, target: ArrayLike, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - cos(x1, x2) where target is 1, max(0, cos(x1, x2) - margin) where it is -1; x1, x2 (..., C), target (...)."""
    _reduction("cosine_embedding_loss", reduction)
    cosine = cosine_similarity(x1, x2)
    y = _signs("cosine_embedding_loss", target, cosine)
    return _reduced((1 - cosine) * (y > 0) + relu(cosine - margin) * (y < 0), reduction)


def margin_ranking_loss(
    x1: ArrayLike, x2: ArrayLike, target: ArrayLike, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """max(0, margin - target (x1 - x2)): x1 is to be larger where target is 1, x2 where it is -1; all of one shape."""
    _alike("margin_ranking_loss", x1, x2)
    _reduction("margin_ranking_loss", reduction)
    difference = as_tensor(x1) - as_tensor(x2)
    return _reduced(relu(margin - difference * _signs("margin_ranking_loss", target, difference)), reduction)


def hinge_embedding_loss(x: ArrayLike, target: ArrayLike, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """x where target is 1, max(0, margin - x) where it is -1, x being a distance."""
    _reduction("hinge_embedding_loss", reduction)
    (a,) = _floats("hinge_embedding_loss", x=x)
    y = _signs("hinge_embedding_loss", target, a)
    return _reduced(a * (y > 0) + relu(margin - a) * (y < 0), reduction)


def soft_margin_loss(x: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target x)), target +-1, without overflow."""
    _reduction("soft_margin_loss", reduction)
    (a,) = _floats("soft_margin_loss", x=x)
    return _reduced(softplus(-a * _signs("soft_margin_loss", target, a), threshold=1e9), reduction)


def multi_margin_loss(
    x: ArrayLike,
    target: ArrayLike,
    p: int = 1,
    margin: float = 1.0,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum over c != target of max(0, margin - x[target] + x[c])^p / C, the hinge loss of C classes (a linear SVM's).

    x (N, C), target (N,) labels; p 1 or 2; weight (C,) multiplies the terms of the rows with that label.
    Source: Crammer and Singer 2001.
    """
    (a,) = _floats("multi_margin_loss", x=x)
    check.rank("multi_margin_loss", "x", a, "N, C")
    check.choice("multi_margin_loss", "p", p, (1, 2))
    _reduction("multi_margin_loss", reduction)
    w = None if weight is None else unwrap(weight)
    labels = check.labels("multi_margin_loss", "x", a.data, unwrap(target), w, _NO_LABEL)
    rows = beside(np.arange(len(labels)), labels)
    right = a[rows, labels].reshape(-1, 1)
    others = np.ones_like(a.data)
    others[rows, labels] = 0
    terms = relu(margin - right + a) ** p * others
    terms = terms if w is None else terms * w[labels][:, None]
    return _reduced(terms.sum(1) / a.shape[1], reduction)


def triplet_margin_loss(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d(a, b) = (sum |a - b + eps|^p)^(1/p) over the last
    axis; swap takes the smaller of d(anchor, negative) and d(positive, negative).

    Source: Schroff et al. 2015, equation 2; Balntas et al. 2016 for swap.
    """
    _reduction("triplet_margin_loss", reduction)
    p = check.number("triplet_margin_loss", "p", p, 1, math.inf)
    a, near, far = _floats("triplet_margin_loss", anchor=anchor, positive=positive, negative=negative)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return ((x - y + eps).abs() ** p).sum(-1) ** (1 / p)

    apart = distance(a, far)
    if swap:
        other = distance(near, far)
        closer = unwrap(other) < unwrap(apart)
        apart = other * closer + apart * ~closer
    return _reduced(relu(distance(a, near) - apart + margin), reduction)


def poisson_nll_loss(
    x: ArrayLike,
    target: ArrayLike,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """The negative log likelihood of counts under a Poisson distribution, without log(target!)::

        exp(x) - target x              log_input, x being the logarithm of the rate
        x - target log(x + eps)        else

    full adds Stirling's approximation target log target - target + log(2 pi target) / 2 where target > 1.
    """
    _, t = _alike("poisson_nll_loss", x, target)
    _reduction("poisson_nll_loss", reduction)
    a, y = as_tensor(x), as_tensor(target)
    losses = a.exp() - y * a if log_input else a - y * (a + eps).log()
    if full:
        large = np.where(t > 1, t, t.dtype.type(1))
        losses = losses + np.where(t > 1, t * np.log(large) - t + np.log(2 * math.pi * large) / 2, t.dtype.type(0))
    return _reduced(losses, reduction)


def gaussian_nll_loss(
    x: ArrayLike, target: ArrayLike, var: ArrayLike, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log v + (x - target)^2 / v) / 2, v = max(var, eps): a mean x and a variance var that are both learned.

    var broadcasts to x; full adds log(2 pi) / 2. Raises ValueError for a negative variance.
    Source: Nix and Weigend 1994. PyTorch lets the gradient of var through where it is below eps, here it is 0.
    """
    a, _ = _alike("gaussian_nll_loss", x, target)
    _reduction("gaussian_nll_loss", reduction)
    _broadcast("gaussian_nll_loss", "var", var, a)
    if not on_device(unwrap(var)) and (unwrap(var) < 0).any():
        raise ValueError(f"gaussian_nll_loss: var must be at least 0, got {unwrap(var).min()}")
    v = as_tensor(var).clip(eps)
    difference = as_tensor(x) - as_tensor(target)
    losses = (v.log() + difference * difference / v) * 0.5
    return _reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


def _floats(op: str, **values: ArrayLike) -> list[Tensor]:
    check.given(op, tuple(values), tuple(values.values()))
    tensors = [as_tensor(value) for value in values.values()]
    check.floats(op, tuple(values), [tensor.data for tensor in tensors], len(tensors))
    return tensors


def _signs(op: str, target: ArrayLike, x: Tensor) -> np.ndarray:
    """The target in the dtype of x, when it has the shape of x and all its numbers are 1 or -1."""
    check.given(op, ("target",), (target,))
    signs = unwrap(target)
    check_one_device(op, ("x", "target"), (x.data, signs))
    if signs.shape != x.shape:
        raise ValueError(f"{op}: target must have shape {x.shape}, got {signs.shape}")
    if not on_device(signs) and not (np.abs(signs) == 1).all():
        raise ValueError(f"{op}: target must be 1 or -1, got {signs[np.abs(signs) != 1][0]}")
    return signs.astype(x.dtype)


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()
