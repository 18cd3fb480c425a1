"""Elements chosen from several Tensors, put into one or repeated; forward and gradient as in _operators.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import dlfast.tensor as tensor

from . import _operators as ops
from ._devices import as_array, check_operands, on_device

if TYPE_CHECKING:
    from ._methods import Methods
    from .tensor import ArrayLike, Tensor


def where(condition: ArrayLike, a: ArrayLike, b: ArrayLike) -> Tensor:
    """a where the condition is true (not 0), else b; all three broadcast."""
    given = tensor.unwrap(condition)
    x, y = ops._operands("where", a, b)
    if on_device(given) or on_device(x) or on_device(y):
        check_operands("where", condition=given, a=x, b=y)
    chosen = given != 0
    return tensor.record(np.where(chosen, x, y), _where_backward, (chosen, np.shape(x), np.shape(y)), (a, b))


def _where_backward(dy, saved, needs):
    chosen, shape_a, shape_b = saved
    zero = dy.dtype.type(0)
    da = ops.unbroadcast(np.where(chosen, dy, zero), shape_a) if needs[0] else None
    return da, ops.unbroadcast(np.where(chosen, zero, dy), shape_b) if needs[1] else None


def maximum(a: ArrayLike, b: ArrayLike) -> Tensor:
    """The larger of two, element by element; equal ones share the gradient evenly. NaN where one is NaN."""
    return _extreme("maximum", np.maximum, a, b)


def minimum(a: ArrayLike, b: ArrayLike) -> Tensor:
    """The smaller of two, element by element; equal ones share the gradient evenly. NaN where one is NaN."""
    return _extreme("minimum", np.minimum, a, b)


def _extreme(op: str, choose: Any, a: ArrayLike, b: ArrayLike) -> Tensor:
    x, y = ops._operands(op, a, b)
    z = choose(x, y)
    return tensor.record(z, _extreme_backward, (x, y, z), (a, b))


def _extreme_backward(dy, saved, needs):
    x, y, z = saved
    first, second = (((part == z) | (part != part)).astype(dy.dtype) for part in (x, y))
    dy = dy / (first + second)
    return tuple(
        ops.unbroadcast(dy * share, np.shape(part)) if need else None
        for share, part, need in zip((first, second), (x, y), needs, strict=True)
    )


def replaced(x: Methods, parts: tuple, value: ArrayLike) -> Tensor:
    """A copy of x with x[parts] = value; gradients flow to the rest of x, and to the value."""
    _, array = ops._operands("item assignment", x, value)
    array = array if isinstance(array, np.ndarray) or on_device(array) else np.asarray(array, x.data.dtype)
    y = x.data.copy()
    y[parts] = array
    return tensor.record(y, _replaced_backward, (parts, array.shape), (x, value))


def _replaced_backward(dy, saved, needs):
    parts, shape = saved
    dx = dy.copy()
    dx[parts] = 0
    if not needs[1]:
        return dx, None
    taken = dy[parts]
    added = len(shape) - np.ndim(taken)  # leading axes of length 1 that assignment drops
    return dx, ops.unbroadcast(as_array(taken), shape[max(added, 0) :]).reshape(shape)


def expand(x: Methods, shape: tuple[int, ...]) -> Tensor:
    """x repeated along axes of length 1 and new leading ones, without a copy; -1 keeps the length of an axis."""
    lead = len(shape) - x.data.ndim
    if lead < 0:
        raise ValueError(f"expand: needs at least the {x.data.ndim} axes of x {x.data.shape}, got {shape}")
    sizes = tuple(x.data.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(shape))
    return tensor.record(np.broadcast_to(x.data, sizes), _expand_backward, (x.data.shape,), (x,))


def _expand_backward(dy, saved, needs):
    return (ops.unbroadcast(dy, saved[0]),)
