"""NumPy's functions on arrays that lie on a device, found through `__array_function__` and `__array_ufunc__`.

What is not here raises TypeError: nothing is copied to the CPU unasked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..devices import DeviceArray
from . import array_indexing as indexing
from . import array_reductions as reductions
from . import array_ufuncs as ufuncs
from .array_moving import assign, filled
from .array_views import from_shadow, shadow, viewed

if TYPE_CHECKING:
    from .array import Array


def call_ufunc(ufunc: Any, method: str, inputs: tuple, options: dict) -> Any:
    """What NumPy calls for a ufunc with an Array among its arguments. TypeError for one that devices do not have."""
    if method == "at" and ufunc is np.add and isinstance(inputs[0], DeviceArray):
        return indexing.add_at(*inputs)
    if any(not isinstance(value, (DeviceArray, np.ndarray)) and not ufuncs.is_number(value) for value in inputs):
        return NotImplemented
    name = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    out = options.pop("out", (None,))[0]
    options.pop("casting", None)
    if method == "reduce" and ufunc in _REDUCTIONS:
        return _REDUCTIONS[ufunc](*inputs, out=out, **{"axis": 0, **options})
    if method != "__call__" or ufunc not in ufuncs.UFUNCS:
        raise _missing(name)
    where, dtype = options.pop("where", True), options.pop("dtype", None)
    if options:
        raise TypeError(f"{name}: {', '.join(options)}= is not supported for arrays on a GPU; use x.numpy()")
    for value in inputs:
        ufuncs.operand(name, value)
    if dtype is not None:
        inputs = tuple(x.astype(dtype, copy=False) if isinstance(x, DeviceArray) else x for x in inputs)
    if where is True:
        return ufuncs.UFUNCS[ufunc](*inputs, out=out)
    y = ufuncs.UFUNCS[ufunc](*inputs)
    if out is None:
        return y
    assign(out, ufuncs.where(where, y, out))
    return out


def call_function(function: Any, args: tuple, kwargs: dict) -> Any:
    """What NumPy calls for a function with an Array among its arguments. TypeError for one that devices do not have."""
    own = FUNCTIONS.get(function)
    if own is None:
        raise _missing(f"{function.__module__}.{function.__name__}".replace("numpy", "np", 1))
    return own(*args, **{name: value for name, value in kwargs.items() if value is not np._NoValue})


def _missing(name: str) -> TypeError:
    return TypeError(f"{name} is not there for arrays on a GPU; compute it on the CPU, with x.numpy()")


_REDUCTIONS: dict[Any, Callable] = {
    np.add: reductions.total("sum"),
    np.multiply: reductions.total("prod"),
    np.maximum: reductions.extreme("max"),
    np.minimum: reductions.extreme("min"),
    np.logical_or: reductions.logical("any"),
    np.logical_and: reductions.logical("all"),
}


def _view(function: Callable) -> Callable:
    """A function of NumPy that makes views."""
    return lambda x, *args, **kwargs: viewed(x, lambda shadow: function(shadow, *args, **kwargs))


def _views(function: Callable) -> Callable:
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
    parts = [ufuncs.operand("concatenate", x) for x in given]
    if axis is None:
        parts, axis = [x.reshape(-1) for x in parts], 0
    first, axis = parts[0], reductions.axes_of(parts[0], axis)[0]
    rest = [(x.ndim, x.shape[:axis], x.shape[axis + 1 :]) for x in parts]
    if any(each != rest[0] for each in rest):
        shapes = ", ".join(str(x.shape) for x in parts)
        raise ValueError(f"concatenate: all must have the same shape but for axis {axis}, got {shapes}")
    shape = (*first.shape[:axis], sum(x.shape[axis] for x in parts), *first.shape[axis + 1 :])
    y = first.device.empty(shape, dtype or ufuncs.promoted(*parts)) if out is None else out
    start = 0
    for x in parts:
        end = start + x.shape[axis]
        assign(y[(*(slice(None),) * axis, slice(start, end))], x)
        start = end
    return y


def stack(given: Sequence, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: Any = None) -> Array:
    """np.stack."""
    parts = [ufuncs.operand("stack", x) for x in given]
    shapes = {x.shape for x in parts}
    if len(shapes) > 1:
        raise ValueError(f"stack: all must have the same shape, got {', '.join(map(str, sorted(shapes)))}")
    return concatenate([_view(np.expand_dims)(x, axis) for x in parts], axis, out, dtype=dtype)


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
    if mode not in _PADDING or options or not ufuncs.is_number(constant_values):
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
    indexing.put(x, indexing.along_axis(x, indices, axis), ufuncs.operand("put_along_axis", values))


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


def _triangle(lower: bool) -> Callable:
    """np.tril or np.triu."""

    def run(x, k=0):
        mask = np.tri(*x.shape[-2:], k=k if lower else k - 1, dtype=bool)
        return ufuncs.where(x.device.constant(mask if lower else ~mask), x, x.dtype.type(0))

    return run


def copyto(target: Any, source: Any, casting: str = "same_kind", where: Any = True) -> None:
    """np.copyto."""
    if not isinstance(target, DeviceArray):
        raise TypeError("np.copyto: an array on a GPU does not become one of NumPy unasked; write x.numpy()")
    target[...] = source if where is True else ufuncs.where(where, ufuncs.operand("copyto", source), target)


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
        return ufuncs.finished("round", x.copy(), out)
    if not decimals:
        return ufuncs.function("rint", x, out)
    scale = 10.0**decimals
    return ufuncs.arithmetic("divide", ufuncs.function("rint", x * scale), scale, out)


def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Array:
    """np.isclose."""
    near = (abs(a - b) <= atol + rtol * abs(b)) & np.isfinite(b) | (a == b)
    return near | ((a != a) & (b != b)) if equal_nan else near


def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """np.allclose."""
    return bool(isclose(a, b, rtol, atol, equal_nan).all())


def array_equal(a: Any, b: Any, equal_nan: bool = False) -> bool:
    """np.array_equal."""
    same = np.shape(a) == np.shape(b)
    return same and bool(((a == b) | ((a != a) & (b != b)) if equal_nan else a == b).all())


def _infinite(sign: int) -> Callable:
    """np.isposinf or np.isneginf."""
    return lambda x, out=None: ufuncs.compared("equal", x, sign * math.inf, out)


def where(condition: Any, *values: Any) -> Any:
    """np.where."""
    return ufuncs.where(condition, *values) if values else indexing.nonzero(condition)


def nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Array:
    """np.nan_to_num."""
    if x.dtype.kind in "biu":
        return x.copy()
    most = float(np.finfo(x.dtype).max)
    low, high = -most if neginf is None else neginf, most if posinf is None else posinf
    y = where(x == math.inf, high, where(x == -math.inf, low, where(x != x, nan, x)))
    if copy:
        return y
    x[...] = y
    return x


def _dtype_of(*given: Any) -> np.dtype:
    """np.result_type."""
    return (
        ufuncs.promoted(*[x for x in given if not isinstance(x, (type, np.dtype, str))])
        if all(isinstance(x, (DeviceArray, int, float, np.generic)) for x in given)
        else np.result_type(*[x.dtype if isinstance(x, DeviceArray) else x for x in given])
    )


FUNCTIONS: dict[Any, Callable] = {
    np.all: reductions.logical("all"),
    np.allclose: allclose,
    np.amax: reductions.extreme("max"),
    np.amin: reductions.extreme("min"),
    np.any: reductions.logical("any"),
    np.argmax: reductions.position("argmax"),
    np.argmin: reductions.position("argmin"),
    np.argsort: argsort,
    np.around: rounded,
    np.array_equal: array_equal,
    np.atleast_1d: lambda x: x if x.ndim else x.reshape(1),
    np.broadcast_arrays: broadcast_arrays,
    np.broadcast_to: broadcast_to,
    np.clip: lambda x, a_min=None, a_max=None, out=None, *, min=None, max=None: ufuncs.clip(
        x, a_min if min is None else min, a_max if max is None else max, out
    ),
    np.concatenate: concatenate,
    np.copy: lambda x, order="K", subok=False: x.copy(),
    np.copyto: copyto,
    np.count_nonzero: reductions.count_nonzero,
    np.cumsum: reductions.cumsum,
    np.dot: lambda a, b, out=None: ufuncs.matmul(a, b, out),
    np.empty_like: like(None),
    np.expand_dims: _view(np.expand_dims),
    np.flatnonzero: lambda x: indexing.nonzero(x.reshape(-1))[0],
    np.flip: _view(np.flip),
    np.full_like: full_like,
    np.isclose: isclose,
    np.isneginf: _infinite(-1),
    np.isposinf: _infinite(1),
    np.max: reductions.extreme("max"),
    np.mean: reductions.mean,
    np.min: reductions.extreme("min"),
    np.moveaxis: _view(np.moveaxis),
    np.nan_to_num: nan_to_num,
    np.ndim: lambda x: x.ndim,
    np.nonzero: indexing.nonzero,
    np.ones_like: like(1),
    np.pad: pad,
    np.prod: reductions.total("prod"),
    np.put_along_axis: put_along_axis,
    np.ravel: lambda x, order="C": x.reshape(-1),
    np.repeat: repeat,
    np.reshape: lambda x, shape=None, order="C": x.reshape(shape),
    np.result_type: _dtype_of,
    np.roll: roll,
    np.round: rounded,
    np.shape: lambda x: x.shape,
    np.size: lambda x, axis=None: x.size if axis is None else x.shape[axis],
    np.sort: sort,
    np.split: _views(np.split),
    np.squeeze: _view(np.squeeze),
    np.stack: stack,
    np.std: reductions.std,
    np.sum: reductions.total("sum"),
    np.swapaxes: _view(np.swapaxes),
    np.take: take,
    np.take_along_axis: lambda x, indices, axis=-1: x[indexing.along_axis(x, indices, axis)],
    np.tile: tile,
    np.transpose: _view(np.transpose),
    np.tril: _triangle(True),
    np.triu: _triangle(False),
    np.var: reductions.var,
    np.where: where,
    np.zeros_like: like(0),
}
