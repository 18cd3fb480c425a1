"""Functions of Tensors at the top of the package, as PyTorch has them: dlfast.cat, dlfast.where, dlfast.argmax, ...

Those that are methods of Tensor are made from the methods: dlfast.sum(x, ...) is x.sum(...), for arrays too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _selecting as selecting
from . import functional as F
from .tensor import ArrayLike, Tensor, as_tensor


def _method(name: str) -> Any:
    """The method of that name as a function of a Tensor or array."""
    own = getattr(Tensor, name)

    def function(x: ArrayLike, *args: Any, **kwargs: Any) -> Any:
        return own(as_tensor(x), *args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = own.__doc__
    return function


abs = _method("abs")
all = _method("all")
any = _method("any")
argmax = _method("argmax")
argmin = _method("argmin")
chunk = _method("chunk")
clamp = _method("clamp")
clip = _method("clip")
clone = _method("clone")
cumsum = _method("cumsum")
exp = _method("exp")
flatten = _method("flatten")
log = _method("log")
matmul = _method("matmul")
max = _method("max")
mean = _method("mean")
min = _method("min")
mm = _method("mm")
norm = _method("norm")
numel = _method("numel")
permute = _method("permute")
pow = _method("pow")
relu = _method("relu")
reshape = _method("reshape")
sigmoid = _method("sigmoid")
softmax = _method("softmax")
split = _method("split")
sqrt = _method("sqrt")
square = _method("square")
squeeze = _method("squeeze")
std = _method("std")
sum = _method("sum")
t = _method("t")
tanh = _method("tanh")
transpose = _method("transpose")
unsqueeze = _method("unsqueeze")
var = _method("var")


def cat(tensors: Sequence[ArrayLike], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """`functional.concatenate` under PyTorch's name: Tensors one after the other along an axis that they have."""
    return F.concatenate(tensors, dim if axis is None else axis)


def stack(tensors: Sequence[ArrayLike], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors of one shape side by side along a new axis."""
    return F.stack(tensors, dim if axis is None else axis)


def where(condition: ArrayLike, a: ArrayLike, b: ArrayLike) -> Tensor:
    """a where the condition is true (not 0), else b; all three broadcast."""
    return selecting.where(condition, a, b)


def maximum(a: ArrayLike, b: ArrayLike) -> Tensor:
    """The larger of two, element by element; equal ones share the gradient evenly."""
    return selecting.maximum(a, b)


def minimum(a: ArrayLike, b: ArrayLike) -> Tensor:
    """The smaller of two, element by element; equal ones share the gradient evenly."""
    return selecting.minimum(a, b)


def is_tensor(value: Any) -> bool:
    """Whether it is a Tensor."""
    return isinstance(value, Tensor)


def equal(a: ArrayLike, b: ArrayLike) -> bool:
    """Whether both have one shape and the same elements."""
    return bool(np.array_equal(as_tensor(a).data, as_tensor(b).data))


def allclose(a: ArrayLike, b: ArrayLike, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether |a - b| <= atol + rtol |b| everywhere."""
    return bool(np.allclose(as_tensor(a).data, as_tensor(b).data, rtol, atol, equal_nan))
