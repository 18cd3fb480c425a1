"""Activations beyond the usual ones of `elementwise`, as layers; equations in `functional`."""

from __future__ import annotations

import numpy as np

from .. import _check as check
from .. import functional as F
from ..tensor import ArrayLike, Parameter, Tensor
from .elementwise import Softmax, _InPlace
from .module import Module


class Hardtanh(_InPlace):
    """y = min(max(x, min_val), max_val)."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        self.min_val, self.max_val, self.inplace = min_val, max_val, bool(inplace)
        F.hardtanh(np.zeros(0), min_val, max_val)  # for its errors

    def forward(self, x: ArrayLike) -> Tensor:
        return F.hardtanh(x, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}" + (", inplace=True" if self.inplace else "")


class _Plain(_InPlace):
    """An activation without options."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = bool(inplace)


class ReLU6(_Plain):
    """y = min(max(x, 0), 6)."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.relu6(x, self.inplace)


class Hardsigmoid(_Plain):
    """y = min(max(x + 3, 0), 6) / 6."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.hardsigmoid(x, self.inplace)


class SELU(_Plain):
    """y = scale x for x > 0, else scale alpha (exp(x) - 1)."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.selu(x, self.inplace)


class Mish(_Plain):
    """y = x tanh(log(1 + exp(x)))."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.mish(x, self.inplace)


class CELU(_InPlace):
    """y = x for x > 0, else alpha (exp(x / alpha) - 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = check.number("CELU", "alpha", alpha, 0, float("inf"), low_open=True)
        self.inplace = bool(inplace)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.celu(x, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class Softsign(Module):
    """y = x / (1 + |x|)."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.softsign(x)


class LogSigmoid(Module):
    """y = log(sigmoid(x))."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.logsigmoid(x)


class Tanhshrink(Module):
    """y = x - tanh(x)."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.tanhshrink(x)


class Threshold(_InPlace):
    """y = x for x > threshold, else value."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        F.threshold(np.zeros(0), threshold, value)  # for its errors
        self.threshold, self.value, self.inplace = threshold, value, bool(inplace)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.threshold(x, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}" + (", inplace=True" if self.inplace else "")


class Hardshrink(Module):
    """y = x for |x| > lambd, else 0."""

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = check.number(type(self).__name__, "lambd", lambd, 0, float("inf"))

    def forward(self, x: ArrayLike) -> Tensor:
        return F.hardshrink(x, self.lambd)

    def extra_repr(self) -> str:
        return f"lambd={self.lambd}"


class Softshrink(Hardshrink):
    """y = sign(x) max(|x| - lambd, 0)."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.softshrink(x, self.lambd)


class PReLU(Module):
    """y = x for x > 0, else weight x; weight (num_parameters,) is learned and starts at init.

    num_parameters: 1, or the length of the last axis of x, the channels.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.num_parameters = check.integer("PReLU", "num_parameters", num_parameters, 1)
        self.weight = Parameter(np.full(self.num_parameters, init, np.float32))

    def forward(self, x: ArrayLike) -> Tensor:
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class GLU(Module):
    """y = a sigmoid(b), a and b the halves of x along axis, which may be called dim."""

    def __init__(self, axis: int = -1, *, dim: int | None = None) -> None:
        self.axis = check.integer("GLU", "axis", axis if dim is None else dim, -64)

    def forward(self, x: ArrayLike) -> Tensor:
        return F.glu(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Softmin(Softmax):
    """softmax(-x) along axis."""

    def forward(self, x: ArrayLike) -> Tensor:
        return F.softmin(x, self.axis)
