"""What changes a Tensor in place: `x += y`, `x[index] = y` and the methods whose names end in an underscore.

Where nothing is recorded, the array itself is written into, and the change is noted for graphs that saved it. What is
recorded leaves all arrays as they are: x takes a new one, with the operation that made it. A leaf that requires a
gradient may only be changed where nothing is recorded, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import dlfast.tensor as tensor

from . import _operators as ops
from . import _selecting as selecting
from ._changes import note
from ._devices import assign, beside

if TYPE_CHECKING:
    from ._methods import Methods
    from .tensor import ArrayLike


def update(name: str, x: Any, other: ArrayLike, recorded: Callable, direct: Callable) -> Any:
    """x = recorded(x, other) as a step of a graph, or direct(x, other, out=x) on the arrays. Returns x."""
    if tensor.wants_gradient((x, other)):
        check_no_leaf(name, x)
        return become(name, x, recorded(x, other))
    a, b = ops._operands(name, x, other)
    direct(a, b, out=a)
    note(a)
    return x


def set_item(x: Any, index: Any, value: ArrayLike) -> None:
    """x[index] = value."""
    parts = ops.index_of(index)
    if tensor.wants_gradient((x, value)):
        check_no_leaf("item assignment", x)
        become("item assignment", x, selecting.replaced(x, parts, value))
        return
    array = tensor.unwrap(value)
    if array.dtype.kind == "f" and x.data.dtype.kind != "f":
        raise TypeError(
            f"item assignment: {array.dtype} values do not fit into a Tensor of {x.data.dtype}; cast x first"
        )
    if type(x.data) is not np.ndarray:
        ops.check_index("item assignment", x.data, parts)
    try:
        x.data[parts] = array if type(x.data) is type(array) else beside(array, x.data)
    except TypeError:
        ops.check_index("item assignment", x.data, parts)
        raise
    note(x.data)


def fill(name: str, x: Any, values: Any) -> Any:
    """Write numbers into all of x. Returns x."""
    if tensor.wants_gradient((x,)):
        check_no_leaf(name, x)
        return become(name, x, selecting.replaced(x, (Ellipsis,), values))
    assign(x.data, values)
    note(x.data)
    return x


def become(name: str, x: Any, y: Any) -> Any:
    """Let x stand for the result y. Returns x."""
    if y.data.shape != x.data.shape or y.data.dtype != x.data.dtype:
        raise ValueError(
            f"{name}: in place the result must be as x, {x.data.dtype} of shape {x.data.shape}, "
            f"got {y.data.dtype} of shape {y.data.shape}"
        )
    if isinstance(x, tensor.Parameter):
        raise RuntimeError(f"{name}: a Parameter keeps its own values, got a result that is part of a graph; detach it")
    x._become(y)
    return x


def take_over(name: str, x: Any, y: Any) -> Any:
    """Let a Tensor x have the values of y, computed from it, and return it; for an array y alone."""
    if not isinstance(x, tensor.Tensor) or y is x:
        return y
    if tensor.wants_gradient((x,)):
        check_no_leaf(name, x)
        return become(name, x, y)
    if x._node is not None or x.requires_grad or isinstance(x, tensor.Parameter):
        return fill(name, x, y.data)
    x._become(y)
    return x


def check_no_leaf(name: str, x: Methods) -> None:
    """Raise RuntimeError for a leaf that requires a gradient."""
    if x.requires_grad and x._node is None:  # type: ignore[attr-defined]
        called = f"{x._name}, a " if x._name else "a "  # type: ignore[attr-defined]
        raise RuntimeError(
            f"{name}: {called}leaf {type(x).__name__} of shape {x.data.shape} that requires a gradient cannot be "
            "changed in place while operations are recorded; write `with no_grad(): ...` around it"
        )


def divide(a: np.ndarray, b: Any, out: np.ndarray) -> None:
    """a / b into `out`, which must hold floats."""
    if out.dtype.kind != "f":
        raise TypeError(f"/=: integers cannot hold the quotient, got a Tensor of {out.dtype}; cast it with .float()")
    np.true_divide(a, b, out=out)
