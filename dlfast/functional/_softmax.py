"""Softmax and its logarithm."""

from __future__ import annotations

from .. import _check as check
from ..tensor import ArrayLike, Tensor, arrays_of, run


def softmax(x: ArrayLike, axis: int = -1, *, dim: int | None = None) -> Tensor:
    """y = exp(x) / sum of exp(x) along axis, computed with the maximum taken off, so that nothing overflows.

    axis may be called dim. x and y have one shape, any.
    Raises TypeError for dtypes other than float32 and float64, ValueError for an axis that x does not have.
    """
    return _along("softmax", x, axis if dim is None else dim)


def log_softmax(x: ArrayLike, axis: int = -1, *, dim: int | None = None) -> Tensor:
    """y = x - log(sum of exp(x) along axis), stable for large x. Shapes and errors as for `softmax`."""
    return _along("log_softmax", x, axis if dim is None else dim)


def _along(op: str, x: ArrayLike, axis: int) -> Tensor:
    (a,) = arrays_of((x,))
    check.is_float(op, "x", a)
    axis = check.integer(op, "axis", axis, -a.ndim)
    if axis >= a.ndim:
        raise ValueError(f"{op}: axis must be in {-a.ndim}..{a.ndim - 1} for x {a.shape}, got {axis}")
    return run(op, (x,), (a,), {"axis": axis})
