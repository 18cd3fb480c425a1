"""Activations, softmax and dropout as layers; equations in `functional`. They have no parameters."""

from __future__ import annotations

import math

from .. import _check as check
from .. import functional as F
from ..tensor import ArrayLike, Tensor
from .module import Module


class _InPlace(Module):
    """inplace: a Tensor x takes the values of y over, as in PyTorch; that saves no memory here."""

    inplace = False

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_InPlace):
    """y = max(x, 0)."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = bool(inplace)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.relu(x, self.inplace)


class LeakyReLU(_InPlace):
    """y = x for x > 0, else negative_slope x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.inplace = bool(inplace)
        self.negative_slope = check.number("LeakyReLU", "negative_slope", negative_slope, -math.inf, math.inf)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.leaky_relu(x, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class ELU(_InPlace):
    """y = x for x > 0, else alpha (exp(x) - 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.inplace = bool(inplace)
        self.alpha = check.number("ELU", "alpha", alpha, -math.inf, math.inf)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.elu(x, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class GELU(Module):
    """y = x Phi(x); approximate: "none" (by erf) or "tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = check.choice("GELU", "approximate", approximate, ("none", "tanh"))

    def forward(self, x: ArrayLike) -> Tensor:
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(_InPlace):
    """y = x sigmoid(x), also called Swish."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = bool(inplace)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.silu(x, self.inplace)


Swish = SiLU


class Sigmoid(Module):
    """y = 1 / (1 + exp(-x))."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.sigmoid(x)


class Tanh(Module):
    """y = tanh(x)."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.tanh(x)


class Softplus(Module):
    """y = log(1 + exp(beta x)) / beta, and x itself where beta x > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = check.number("Softplus", "beta", beta, 0, math.inf, low_open=True)
        self.threshold = check.number("Softplus", "threshold", threshold, -math.inf, math.inf)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardswish(_InPlace):
    """y = x min(max(x + 3, 0), 6) / 6."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = bool(inplace)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.hardswish(x, self.inplace)


class Softmax(Module):
    """y = exp(x) / sum of exp(x) along axis, which may be called dim."""

    def __init__(self, axis: int = -1, *, dim: int | None = None) -> None:
        axis = axis if dim is None else dim
        self.axis = check.integer(type(self).__name__, "axis", axis, -64)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.softmax(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Softmax):
    """y = x - log(sum of exp(x) along axis)."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.log_softmax(x, self.axis)


class Dropout(_InPlace):
    """Zero each element with probability p while training.

    mode "inverted" scales the rest by 1 / (1 - p), so that testing needs no factor; "notes" scales by 1 - p in testing.
    """

    def __init__(self, p: float = 0.5, mode: str | bool = "inverted", *, inplace: bool = False) -> None:
        if isinstance(mode, bool):  # PyTorch's second argument
            inplace, mode = mode, "inverted"
        self.inplace = bool(inplace)
        self.p = check.number("Dropout", "p", p, 0, 1, high_closed=True)
        self.mode = check.choice("Dropout", "mode", mode, ("inverted", "notes"))

    def forward(self, x: ArrayLike) -> Tensor:
        return F.dropout(x, self.p, self.training, self.mode, inplace=self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}" + (", mode='notes'" if self.mode == "notes" else "")


class Dropout1d(Module):
    """Zero each channel of each sequence (N, L, C) with probability p while training; the rest times 1 / (1 - p)."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        self.p, self.inplace = Dropout(p).p, bool(inplace)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.dropout1d(x, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}" + (", inplace=True" if self.inplace else "")


class Dropout2d(Dropout1d):
    """Zero each channel of each image (N, H, W, C) with probability p while training; the rest times 1 / (1 - p)."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.dropout2d(x, self.p, self.training, self.inplace)
