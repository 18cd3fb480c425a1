"""Joining and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _check as check
from ..kernels.memory import empty, pooled
from ..tensor import ArrayLike, Tensor, arrays_of, record, unwrap


def concatenate(tensors: Sequence[ArrayLike], axis: int = 0, *, dim: int | None = None) -> Tensor:
    """Tensors one after the other along an axis that they have; all other axes agree.

    Raises TypeError for mixed dtypes, ValueError for an empty list and shapes that do not fit.
    """
    axis = axis if dim is None else dim
    arrays = _one_dtype("concatenate", tensors)
    with pooled():
        y = np.concatenate(arrays, axis=axis)
    return record(y, _concatenate_backward, (np.cumsum([a.shape[axis] for a in arrays[:-1]]), axis), tensors)


def _concatenate_backward(dy, saved, needs):
    starts, axis = saved
    return np.split(dy, starts, axis=axis)


def stack(tensors: Sequence[ArrayLike], axis: int = 0, *, dim: int | None = None) -> Tensor:
    """Tensors of one shape side by side along a new axis. Raises as `concatenate`."""
    axis = axis if dim is None else dim
    with pooled():
        y = np.stack(_one_dtype("stack", tensors), axis=axis)
    return record(y, _stack_backward, (axis,), tensors)


def _stack_backward(dy, saved, needs):
    return list(np.moveaxis(dy, saved[0], 0))


def _one_dtype(op: str, tensors: Any) -> list[np.ndarray]:
    if isinstance(tensors, (Tensor, np.ndarray)) or len(tensors) == 0:
        raise ValueError(f"{op}: tensors must be a list of at least one, got {type(tensors).__name__}")
    check.given(op, [f"tensors[{i}]" for i in range(len(tensors))], tensors)
    arrays = arrays_of(tensors)
    dtypes = {a.dtype for a in arrays}
    if len(dtypes) > 1:
        raise TypeError(f"{op}: all must have one dtype, got {', '.join(sorted(map(str, dtypes)))}; cast with x.astype")
    return arrays


def pad(x: ArrayLike, pad_width: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """x with `value` around it: pad_width has (before, after) for each axis, first axis first, as in NumPy.

    PyTorch's order is another: flat numbers, the last axis first; they are refused.

    Raises TypeError for widths that are no integers, ValueError for negative ones and for a wrong number of pairs.
    """
    check.given("pad", ("x",), (x,))
    a = unwrap(x)
    if not isinstance(pad_width, (tuple, list)) or len(pad_width) != a.ndim:
        raise ValueError(f"pad: pad_width must have {a.ndim} pairs (before, after) for x {a.shape}, got {pad_width!r}")
    if not all(isinstance(width, (tuple, list)) for width in pad_width):
        raise ValueError(
            f"pad: pad_width must be pairs (before, after), first axis first, got {pad_width!r}; PyTorch's flat "
            "numbers, last axis first, would mean other axes here"
        )
    widths = [check.pair("pad", "pad_width", width, 0) for width in pad_width]
    inner = tuple(slice(before, before + n) for (before, _), n in zip(widths, a.shape))
    shape = tuple(before + n + after for (before, after), n in zip(widths, a.shape))
    check.room("pad", shape)
    y = empty(shape, a.dtype)
    y[...] = float(value)
    y[inner] = a
    return record(y, _pad_backward, (inner,), (x,))


def _pad_backward(dy, saved, needs):
    return (dy[saved[0]],)
