"""Activations beyond the usual ones of `_elementwise`; errors and inplace as there."""

from __future__ import annotations

import math

from .. import _check as check
from ..tensor import ArrayLike, Tensor, arrays_of, as_tensor, run, unwrap
from ._elementwise import _activation, tanh
from ._softmax import softmax


def hardtanh(x: ArrayLike, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """y = min(max(x, min_val), max_val); the gradient at and beyond the bounds is 0. min_val < max_val."""
    low, high = (_real("hardtanh", name, value) for name, value in (("min_val", min_val), ("max_val", max_val)))
    if low >= high:
        raise ValueError(f"hardtanh: min_val must be below max_val, got {min_val} and {max_val}")
    return _activation("hardtanh", x, {"min_val": low, "max_val": high}, inplace)


def relu6(x: ArrayLike, inplace: bool = False) -> Tensor:
    """y = min(max(x, 0), 6). Source: Howard et al. 2017 (MobileNets)."""
    return _activation("hardtanh", x, {"min_val": 0.0, "max_val": 6.0}, inplace)


def hardsigmoid(x: ArrayLike, inplace: bool = False) -> Tensor:
    """y = min(max(x + 3, 0), 6) / 6. Source: Howard et al. 2019, section 5.2."""
    return _activation("hardsigmoid", x, inplace=inplace)


def selu(x: ArrayLike, inplace: bool = False) -> Tensor:
    """y = scale x for x > 0, else scale alpha (exp(x) - 1); alpha = 1.67326..., scale = 1.05070...

    With weights of variance 1 / fan_in activations keep mean 0 and variance 1 from layer to layer.
    Source: Klambauer et al. 2017, equation 2.
    """
    return _activation("selu", x, inplace=inplace)


def celu(x: ArrayLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """y = x for x > 0, else alpha (exp(x / alpha) - 1): the slope at 0 is 1 for any alpha > 0. Source: Barron 2017."""
    alpha = check.number("celu", "alpha", alpha, 0, math.inf, low_open=True)
    return _activation("celu", x, {"alpha": alpha}, inplace)


def mish(x: ArrayLike, inplace: bool = False) -> Tensor:
    """y = x tanh(log(1 + exp(x))). Source: Misra 2019, equation 1."""
    return _activation("mish", x, inplace=inplace)


def softsign(x: ArrayLike) -> Tensor:
    """y = x / (1 + |x|), and +-1 where x is infinite (PyTorch: NaN). Source: Glorot and Bengio 2010, section 2.3."""
    return _activation("softsign", x)


def logsigmoid(x: ArrayLike) -> Tensor:
    """y = log(sigmoid(x)) = -log(1 + exp(-x)), without overflow."""
    return _activation("logsigmoid", x)


def threshold(x: ArrayLike, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """y = x for x > threshold, else value."""
    options = {"threshold": _real("threshold", "threshold", threshold), "value": _real("threshold", "value", value)}
    return _activation("threshold", x, options, inplace)


def hardshrink(x: ArrayLike, lambd: float = 0.5) -> Tensor:
    """y = x for |x| > lambd, else 0. lambd >= 0."""
    return _activation("hardshrink", x, {"lambd": check.number("hardshrink", "lambd", lambd, 0, math.inf)})


def softshrink(x: ArrayLike, lambd: float = 0.5) -> Tensor:
    """y = sign(x) max(|x| - lambd, 0): a step of descent on an L1 penalty. lambd >= 0. Source: Donoho 1995."""
    return _activation("softshrink", x, {"lambd": check.number("softshrink", "lambd", lambd, 0, math.inf)})


def tanhshrink(x: ArrayLike) -> Tensor:
    """y = x - tanh(x)."""
    return as_tensor(x) - tanh(x)


def prelu(x: ArrayLike, weight: ArrayLike) -> Tensor:
    """y = x for x > 0, else weight x, and weight is learned: (1,), or (C,) for the last axis of x (..., C).

    PyTorch has the channels in the second axis. Raises ValueError for other shapes.
    Source: He et al. 2015, section 2.1.
    """
    a, w = arrays_of((x, weight))
    check.floats("prelu", ("x", "weight"), (a, w), 2)
    if w.shape != (1,) and w.shape != a.shape[-1:]:
        raise ValueError(f"prelu: weight must have shape (1,) or that of the last axis of x {a.shape}, got {w.shape}")
    return run("prelu", (x, weight), (a, w), {})


def glu(x: ArrayLike, axis: int = -1, *, dim: int | None = None) -> Tensor:
    """y = a sigmoid(b), a and b the halves of x along axis, which may be called dim: a gated linear unit.

    Raises ValueError where the axis has an odd length. Source: Dauphin et al. 2017, equation 1.
    """
    a = unwrap(x)
    check.is_float("glu", "x", a)
    axis = check.integer("glu", "axis", axis if dim is None else dim, -a.ndim, a.ndim - 1)
    if a.shape[axis] % 2:
        raise ValueError(f"glu: axis {axis} of x {a.shape} must have an even length, to be halved")
    return run("glu", (x,), (a,), {"axis": axis})


def softmin(x: ArrayLike, axis: int = -1, *, dim: int | None = None) -> Tensor:
    """softmax(-x) along axis, which may be called dim."""
    return softmax(-as_tensor(x), axis if dim is None else dim)


def _real(op: str, name: str, value: float) -> float:
    return check.number(op, name, value, -math.inf, math.inf)
