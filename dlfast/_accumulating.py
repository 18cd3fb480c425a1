"""Norms, roots, running sums and positions along axes; forward and gradient side by side as in _operators.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import dlfast.tensor as tensor

from . import _check as check
from . import _operators as ops
from ._devices import as_array, on_device

if TYPE_CHECKING:
    from ._methods import Methods
    from ._operators import Axis
    from .tensor import Tensor


def root(x: Methods) -> Tensor:
    """Square root whose gradient at 0 is 0."""
    y = np.sqrt(x.data)
    return tensor.record(y, _root_backward, (y,), (x,))


def _root_backward(dy, saved, needs):
    return (_quotient(dy, 2 * saved[0]),)


def _quotient(a: Any, b: Any) -> np.ndarray:
    """a / b, and 0 where b is 0."""
    if on_device(b):
        return np.where(b != 0, a / np.where(b != 0, b, b.dtype.type(1)), b.dtype.type(0))
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape), b.dtype), where=np.asarray(b != 0))


def norm(x: Methods, p: Any, axis: Axis, keepdims: bool) -> Tensor:
    check.is_float("norm", "x", x.data)
    if p == "fro":
        p = 2
    if isinstance(p, str) or not p > 0:
        raise ValueError(f"norm: p must be above 0, or inf, or 'fro', got {p!r}")
    size = ops.absolute(x)
    if p == np.inf:
        return ops.max(size, axis, keepdims)
    if p == 1:
        return ops.sum(size, axis, keepdims)
    if p == 2:
        return root(ops.sum(ops.multiply(x, x), axis, keepdims))
    return _power_norm(size, float(p), axis, keepdims)


def _power_norm(size: Tensor, p: float, axis: Axis, keepdims: bool) -> Tensor:
    a = size.data
    y = np.sum(a**p, axis=axis, keepdims=True) ** (1 / p)
    result = y if keepdims else np.squeeze(y, tuple(range(y.ndim)) if axis is None else axis)
    return tensor.record(result.astype(a.dtype), _power_norm_backward, (a, y, p, axis, keepdims), (size,))


def _power_norm_backward(dy, saved, needs):
    """dx = dy (x / y)^(p - 1), 0 where y = 0."""
    a, y, p, axis, keepdims = saved
    slope = _quotient(a, y) ** (p - 1) if p >= 1 else np.where(a == 0, 0, _quotient(y, a) ** (1 - p))
    return ((ops._with_axes(dy, a.shape, axis, keepdims) * slope).astype(a.dtype),)


def cumsum(x: Methods, axis: int | None) -> Tensor:
    """Running sums; along no axis: of the flattened Tensor."""
    if axis is None:
        x, axis = ops.reshape(x, -1), 0
    return tensor.record(np.cumsum(x.data, axis=axis), _cumsum_backward, (axis,), (x,))


def _cumsum_backward(dy, saved, needs):
    """dx[i] = sum of dy[j] over j >= i."""
    (axis,) = saved
    return (np.flip(np.cumsum(np.flip(dy, axis), axis=axis), axis),)


def position(find: Callable, x: Methods, axis: int | None, keepdims: bool) -> Tensor:
    """What np.argmax or np.argmin finds. Raises ValueError where there is nothing to choose from."""
    return tensor.Tensor(as_array(find(x.data, axis=axis, keepdims=keepdims)))
