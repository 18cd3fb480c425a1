"""NumPy's functions that put arrays on a device together, apart or into another order, and those that make new ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..devices import DeviceArray
from . import array_indexing as indexing
from . import array_operands as operands
from . import array_reductions as reductions
from . import array_ufuncs as ufuncs
from .array_moving import assign, filled
from .array_views import from_shadow, shadow, viewed

if TYPE_CHECKING:
    from .array import Array


def view(function: Callable) -> Callable:
    """A function of NumPy that makes views."""
    return lambda x, *args, **kwargs: viewed(x, lambda shadow: function(shadow, *args, **kwargs))


def views(function: Callable) -> Callable:
    """One that makes several."""

    def run(x, *args, **kwargs):
        parts = function(shadow(x), *args, **kwargs)
        return [from_shadow(x, part) for part in parts]

    return run


def fitted(x: Array, shape: tuple[int, ...]) -> Array:
    """x for the assignment to an array of `shape`: leading axes of length 1 may be too many. ValueError where it
    does not fit."""
    while x.ndim > len(shape) and x.shape[0] == 1:
        x = x[0]
    try:
        return x if x.shape == shape else broadcast_to(x, shape)
    except ValueError:
        raise ValueError(f"could not broadcast an array of shape {x.shape} into shape {tuple(shape)}") from None


def broadcast_to(x: Any, shape: Any, subok: bool = False) -> Array:
    """np.broadcast_to."""
    return viewed(x, lambda shadow: np.broadcast_to(shadow, shape))


def broadcast_arrays(*given: Any, subok: bool = False) -> tuple:
    """np.broadcast_arrays."""
    shape = np.broadcast_shapes(*[x.shape for x in given])
    return tuple(broadcast_to(x, shape) for x in given)


def concatenate(given: Sequence, axis: int | None = 0, out: Any = None, *, dtype: Any = None, casting: Any = None):
    """np.concatenate."""
    parts = [operands.operand("concatenate", x) for x in given]
    if axis is None:
        parts, axis = [x.reshape(-1) for x in parts], 0
    first, axis = parts[0], reductions.axes_of(parts[0], axis)[0]
    rest = [(x.ndim, x.shape[:axis], x.shape[axis + 1 :]) for x in parts]
    if any(each != rest[0] for each in rest):
        shapes = ", ".join(str(x.shape) for x in parts)
        raise ValueError(f"concatenate: all must have the same shape but for axis {axis}, got {shapes}")
    shape = (*first.shape[:axis], sum(x.shape[axis] for x in parts), *first.shape[axis + 1 :])
    y = first.device.empty(shape, dtype or operands.promoted(*parts)) if out is None else out
    start = 0
    for x in parts:
        end = start + x.shape[axis]
        assign(y[(*(slice(None),) * axis, slice(start, end))], x)
        start = end
    return y


def stack(given: Sequence, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: Any = None) -> Array:
    """np.stack."""
    parts = [operands.operand("stack", x) for x in given]
    shapes = {x.shape for x in parts}
    if len(shapes) > 1:
        raise ValueError(f"stack: all must have the same shape, got {', '.join(map(str, sorted(shapes)))}")
    return concatenate([view(np.expand_dims)(x, axis) for x in parts], axis, out, dtype=dtype)


def like(value: Any) -> Callable:
    """np.zeros_like, np.ones_like, and with None np.empty_like."""

    def run(x, dtype=None, order="K", subok=True, shape=None, *, device=None):
        shape = x.shape if shape is None else (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        dtype = np.dtype(x.dtype if dtype is None else dtype)
        return x.device.empty(shape, dtype) if value is None else filled(x.device, shape, dtype, value)

    return run


def full_like(x: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *,
              device: Any = None) -> Array:  # fmt: skip
    """np.full_like."""
    y = like(None)(x, dtype, shape=shape)
    y[...] = fill_value
    return y


_PADDING = ("constant", "edge", "reflect", "symmetric", "wrap")


def pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0, **options: Any) -> Array:
    """np.pad with one number around, or with elements of x."""
    if mode not in _PADDING or options or not operands.is_number(constant_values):
        raise TypeError(f"np.pad: arrays on a GPU are padded by one number or by {', '.join(_PADDING[1:])}")
    widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist()
    if mode == "constant":
        shape = tuple(before + n + after for (before, after), n in zip(widths, x.shape))
        y = filled(x.device, shape, x.dtype, constant_values)
        assign(y[tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape))], x)
        return y
    for axis, (width, n) in enumerate(zip(widths, x.shape)):
        if any(width):
            x = _rearranged(x, np.pad(np.arange(n), width, mode), axis)
    return x


def take(x: Any, indices: Any, axis: int | None = None) -> Array:
    """np.take."""
    if axis is None:
        return x.reshape(-1)[indices]
    return x[(*(slice(None),) * reductions.axes_of(x, axis)[0], indices)]


def _rearranged(x: Array, order: np.ndarray, axis: int) -> Array:
    """x with the elements along an axis that a table names, which follows from shapes alone."""
    return indexing.taken(x, (*(slice(None),) * axis, order), is_table=True)


def put_along_axis(x: Any, indices: Any, values: Any, axis: int) -> None:
    """np.put_along_axis."""
    indexing.put(x, indexing.along_axis(x, indices, axis), operands.operand("put_along_axis", values))


def repeat(x: Any, repeats: Any, axis: int | None = None) -> Array:
    """np.repeat."""
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    if isinstance(repeats, DeviceArray):
        repeats = repeats.numpy()
    (axis,) = reductions.axes_of(x, axis)
    return _rearranged(x, np.repeat(np.arange(x.shape[axis]), repeats), axis)


def tile(x: Any, reps: Any) -> Array:
    """np.tile."""
    reps = (reps,) if isinstance(reps, (int, np.integer)) else tuple(reps)
    reps = (1,) * (x.ndim - len(reps)) + reps
    x = x.reshape((1,) * (len(reps) - x.ndim) + x.shape)
    spread = x.reshape([length for n in x.shape for length in (1, n)])
    whole = broadcast_to(spread, [length for r, n in zip(reps, x.shape) for length in (r, n)])
    return whole.reshape([r * n for r, n in zip(reps, x.shape)])


def roll(x: Any, shift: int, axis: int | None = None) -> Array:
    """np.roll along one axis, or of the flattened array."""
    if axis is None:
        return roll(x.reshape(-1), shift, 0).reshape(x.shape)
    (axis,) = reductions.axes_of(x, axis)
    return _rearranged(x, np.roll(np.arange(x.shape[axis]), shift), axis)


def triangle(lower: bool) -> Callable:
    """np.tril or np.triu."""

    def run(x, k=0):
        mask = np.tri(*x.shape[-2:], k=k if lower else k - 1, dtype=bool)
        return ufuncs.where(x.device.constant(mask if lower else ~mask), x, x.dtype.type(0))

    return run


def copyto(target: Any, source: Any, casting: str = "same_kind", where: Any = True) -> None:
    """np.copyto."""
    if not isinstance(target, DeviceArray):
        raise TypeError("np.copyto: an array on a GPU does not become one of NumPy unasked; write x.numpy()")
    target[...] = source if where is True else ufuncs.where(where, operands.operand("copyto", source), target)


def argsort(x: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Array:
    """np.argsort, stably."""
    return _sorted(x, axis, 1)


def sort(x: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Array:
    """np.sort."""
    return _sorted(x, axis, 0)


def _sorted(x: Array, axis: int | None, which: int) -> Array:
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    (axis,) = reductions.axes_of(x, axis)
    y = indexing.ordered(x.swapaxes(axis, -1))[which]
    return (y if which else y.view(x.dtype)).swapaxes(axis, -1)


def rounded(x: Any, decimals: int = 0, out: Any = None) -> Array:
    """np.round."""
    if x.dtype.kind in "biu" and decimals >= 0:
        return operands.finished("round", x.copy(), out)
    if not decimals:
        return ufuncs.function("rint", x, out)
    scale = 10.0**decimals
    return ufuncs.arithmetic("divide", ufuncs.function("rint", x * scale), scale, out)
