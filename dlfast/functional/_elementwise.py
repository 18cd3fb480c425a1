"""Activations and dropout: one value in, one value out; x and y have the same shape, any shape.

Each raises TypeError for dtypes other than float32 and float64. inplace: a Tensor x takes the values of y over and is
returned, as in PyTorch; an array stays as it is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _check as check
from .. import _inplace, random
from ..tensor import ArrayLike, Tensor, arrays_of, as_tensor, run

_NO_OPTIONS: dict[str, Any] = {}


def _activation(op: str, x: ArrayLike, options: dict[str, Any] = _NO_OPTIONS, inplace: bool = False) -> Tensor:
    (a,) = arrays_of((x,))
    check.is_float(op, "x", a)
    y = run(op, (x,), (a,), options)
    return _inplace.take_over(op, x, y) if inplace else y


def relu(x: ArrayLike, inplace: bool = False) -> Tensor:
    """y = max(x, 0); the gradient at 0 is 0. The usual choice for hidden layers. Source: Nair and Hinton 2010."""
    return _activation("relu", x, _NO_OPTIONS, inplace)


def leaky_relu(x: ArrayLike, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """y = x for x > 0, else negative_slope x: no unit dies. Source: Maas et al. 2013."""
    slope = check.number("leaky_relu", "negative_slope", negative_slope, -math.inf, math.inf)
    return _activation("leaky_relu", x, {"negative_slope": slope}, inplace)


def elu(x: ArrayLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """y = x for x > 0, else alpha (exp(x) - 1), with derivative y + alpha there. Source: Clevert et al. 2016."""
    return _activation("elu", x, {"alpha": check.number("elu", "alpha", alpha, -math.inf, math.inf)}, inplace)


def gelu(x: ArrayLike, approximate: str = "none") -> Tensor:
    """y = x Phi(x), Phi the normal distribution function, exact by erf, or approximated:

        "none"   y = x (1 + erf(x / sqrt(2))) / 2
        "tanh"   y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2

    The usual choice in Transformers. Raises ValueError for another `approximate`. Source: Hendrycks and Gimpel 2016.
    """
    return _activation("gelu", x, {"approximate": check.choice("gelu", "approximate", approximate, ("none", "tanh"))})


def silu(x: ArrayLike, inplace: bool = False) -> Tensor:
    """y = x sigmoid(x), also called swish. Source: Ramachandran et al. 2017."""
    return _activation("silu", x, inplace=inplace)


swish = silu


def sigmoid(x: ArrayLike) -> Tensor:
    """y = 1 / (1 + exp(-x)): gates, and probabilities of yes or no."""
    return _activation("sigmoid", x)


def tanh(x: ArrayLike) -> Tensor:
    """y = tanh(x): recurrent layers; zero-centred, in (-1, 1)."""
    return _activation("tanh", x)


def softplus(x: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """y = log(1 + exp(beta x)) / beta, and x itself where beta x > threshold. beta > 0. Source: Dugas et al. 2001."""
    beta = check.number("softplus", "beta", beta, 0, math.inf, low_open=True)
    threshold = check.number("softplus", "threshold", threshold, -math.inf, math.inf)
    return _activation("softplus", x, {"beta": beta, "threshold": threshold})


def hardswish(x: ArrayLike, inplace: bool = False) -> Tensor:
    """y = x min(max(x + 3, 0), 6) / 6. Source: Howard et al. 2019, section 5.2."""
    return _activation("hardswish", x, inplace=inplace)


def dropout(
    x: ArrayLike, p: float = 0.5, training: bool = True, mode: str | bool = "inverted", *, inplace: bool = False
) -> Tensor:
    """Zero each element with probability p while training, drawing from dlfast's generator (`manual_seed`).

        "inverted"   training: y = x keep / (1 - p)     testing: y = x
        "notes"      training: y = x keep               testing: y = x (1 - p)

    Both have the same expectation. p in [0, 1], else ValueError; with 1 nothing is left. A boolean in the place of mode
    is PyTorch's inplace. Source: Srivastava et al. 2014, section 4.
    """
    if isinstance(mode, bool):
        inplace, mode = mode, "inverted"
    p = check.number("dropout", "p", p, 0, 1, high_closed=True)
    check.choice("dropout", "mode", mode, ("inverted", "notes"))
    (a,) = arrays_of((x,))
    check.is_float("dropout", "x", a)
    if training and p > 0:
        scale = 1.0 if mode == "notes" else 1 / (1 - p) if p < 1 else 0.0
        y = run("dropout", (x,), (a,), {"p": p, "seed": random.seed64(), "scale": scale})
    else:
        y = as_tensor(x) * (1 - p) if mode == "notes" and p > 0 else as_tensor(x)
    return _inplace.take_over("dropout", x, y) if inplace else y


def dropout1d(x: ArrayLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each channel of each sequence with probability p while training, channels last: x (N, L, C)."""
    return _dropped_channels("dropout1d", "N, L, C", x, p, training, inplace)


def dropout2d(x: ArrayLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each channel of each image with probability p while training, channels last: x (N, H, W, C).

    The other channels are divided by 1 - p. Neighbouring pixels of a channel are so alike that dropping some of them,
    as `dropout` does, would hide little. Raises ValueError for other than four axes.
    Source: Tompson et al. 2015, section 3.
    """
    return _dropped_channels("dropout2d", "N, H, W, C", x, p, training, inplace)


def _dropped_channels(op: str, letters: str, x: ArrayLike, p: float, training: bool, inplace: bool) -> Tensor:
    check.given(op, ("x",), (x,))
    given = as_tensor(x)
    check.is_float(op, "x", given.data)
    check.rank(op, "x", given, letters)
    channels = np.ones_like(given.data, shape=(given.shape[0], *(1,) * (given.ndim - 2), given.shape[-1]))
    kept = dropout(channels, p, training)
    y = given * kept if training else given
    return _inplace.take_over(op, x, y) if inplace else y
