"""NumPy's functions on arrays that lie on a device, found through `__array_function__` and `__array_ufunc__`.

What is not here raises TypeError: nothing is copied to the CPU unasked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..devices import DeviceArray
from . import array_indexing as indexing
from . import array_operands as operands
from . import array_reductions as reductions
from . import array_shaping as shaping
from . import array_ufuncs as ufuncs
from .array_moving import assign

if TYPE_CHECKING:
    from .array import Array


def call_ufunc(ufunc: Any, method: str, inputs: tuple, options: dict) -> Any:
    """What NumPy calls for a ufunc with an Array among its arguments. TypeError for one that devices do not have."""
    if method == "at" and ufunc is np.add and isinstance(inputs[0], DeviceArray):
        return indexing.add_at(*inputs)
    if any(not isinstance(value, (DeviceArray, np.ndarray)) and not operands.is_number(value) for value in inputs):
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
        operands.operand(name, value)
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
        operands.promoted(*[x for x in given if not isinstance(x, (type, np.dtype, str))])
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
    np.argsort: shaping.argsort,
    np.around: shaping.rounded,
    np.array_equal: array_equal,
    np.atleast_1d: lambda x: x if x.ndim else x.reshape(1),
    np.broadcast_arrays: shaping.broadcast_arrays,
    np.broadcast_to: shaping.broadcast_to,
    np.clip: lambda x, a_min=None, a_max=None, out=None, *, min=None, max=None: ufuncs.clip(
        x, a_min if min is None else min, a_max if max is None else max, out
    ),
    np.concatenate: shaping.concatenate,
    np.copy: lambda x, order="K", subok=False: x.copy(),
    np.copyto: shaping.copyto,
    np.count_nonzero: reductions.count_nonzero,
    np.cumsum: reductions.cumsum,
    np.dot: lambda a, b, out=None: ufuncs.matmul(a, b, out),
    np.empty_like: shaping.like(None),
    np.expand_dims: shaping.view(np.expand_dims),
    np.flatnonzero: lambda x: indexing.nonzero(x.reshape(-1))[0],
    np.flip: shaping.view(np.flip),
    np.full_like: shaping.full_like,
    np.isclose: isclose,
    np.isneginf: _infinite(-1),
    np.isposinf: _infinite(1),
    np.max: reductions.extreme("max"),
    np.mean: reductions.mean,
    np.min: reductions.extreme("min"),
    np.moveaxis: shaping.view(np.moveaxis),
    np.nan_to_num: nan_to_num,
    np.ndim: lambda x: x.ndim,
    np.nonzero: indexing.nonzero,
    np.ones_like: shaping.like(1),
    np.pad: shaping.pad,
    np.prod: reductions.total("prod"),
    np.put_along_axis: shaping.put_along_axis,
    np.ravel: lambda x, order="C": x.reshape(-1),
    np.repeat: shaping.repeat,
    np.reshape: lambda x, shape=None, order="C": x.reshape(shape),
    np.result_type: _dtype_of,
    np.roll: shaping.roll,
    np.round: shaping.rounded,
    np.shape: lambda x: x.shape,
    np.size: lambda x, axis=None: x.size if axis is None else x.shape[axis],
    np.sort: shaping.sort,
    np.split: shaping.views(np.split),
    np.squeeze: shaping.view(np.squeeze),
    np.stack: shaping.stack,
    np.std: reductions.std,
    np.sum: reductions.total("sum"),
    np.swapaxes: shaping.view(np.swapaxes),
    np.take: shaping.take,
    np.take_along_axis: lambda x, indices, axis=-1: x[indexing.along_axis(x, indices, axis)],
    np.tile: shaping.tile,
    np.transpose: shaping.view(np.transpose),
    np.tril: shaping.triangle(True),
    np.triu: shaping.triangle(False),
    np.var: reductions.var,
    np.where: where,
    np.zeros_like: shaping.like(0),
}
