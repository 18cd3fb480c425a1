"""NumPy's reductions for arrays on a device: axes, dtypes and launches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import array_operands as operands
from . import array_reducing as kernels
from . import array_ufuncs as ufuncs
from .array_axes import THREADS, singles
from .array_moving import assign, filled, plain

if TYPE_CHECKING:
    from .array import Array

Axis = int | tuple[int, ...] | None

FEW = 64  # numbers that one thread adds
LINE = 32  # numbers that a thread of a block adds, at least
MOST_SHARES = 512
_NAMES = {"max": "maximum", "min": "minimum"}


def axes_of(x: Array, axis: Axis) -> tuple[int, ...]:
    """The axes from 0 on, in order. Raises as NumPy where they are not x's."""
    if axis is None:
        return tuple(range(x.ndim))
    given = axis if isinstance(axis, tuple) else (axis,)
    found = []
    for each in given:
        if not -x.ndim <= each < x.ndim:
            raise np.exceptions.AxisError(each, x.ndim)
        found.append(each % x.ndim)
    if len(set(found)) < len(found):
        raise ValueError("duplicate value in 'axis'")
    return tuple(sorted(found))


def _grouped(x: Array, axes: tuple[int, ...]) -> tuple[Array, int, int, int]:
    """x contiguous with the reduced axes side by side, and the sizes A, N, C before, of and behind these."""
    wide = [axis for axis in axes if x.shape[axis] != 1]  # others may lie anywhere
    first, end = (wide[0], wide[-1] + 1) if wide else (0, 0)
    if any(axis not in wide and x.shape[axis] != 1 for axis in range(first, end)):
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        x = x.transpose((*kept, *axes))
        first, end = len(kept), x.ndim
    return x.contiguous(), math.prod(x.shape[:first]), math.prod(x.shape[first:end]), math.prod(x.shape[end:])


def _shape(x: Array, axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return tuple(n for i, n in enumerate(x.shape) if i not in axes)


def reduced(name: str, x: Array, axis: Axis, keepdims: bool, dtype: np.dtype, divisor: int = 1) -> Array:
    """The sum, prod, max or min over some axes, divided, as an array of a dtype that holds it."""
    axes = axes_of(x, axis)
    grouped, outer, n, inner = _grouped(x, axes)
    if not n and name in _NAMES:
        raise ValueError(f"{name}: an array of shape {x.shape} has no elements along axis {axis} to choose from")
    shape, source = _shape(x, axes, keepdims), plain(grouped)
    y = x.device.empty(shape, dtype)
    if not y.size:
        return y
    if not n:
        return filled(x.device, shape, np.dtype(dtype), 0 if name == "sum" else 1)
    code = kernels.OPERATIONS[name]
    _, each, last = _kernels(source)
    if n <= FEW and plain(y).dtype == source.dtype:
        each(singles(y.size), THREADS, source, plain(y), code, n, inner, divisor, y.size)
        return y
    lines = THREADS // _width(inner)
    shares = min(MOST_SHARES, -(-n // (lines * LINE)))
    share = -(-n // (shares * lines)) * lines
    parts = _parts(name, source, outer, n, inner, share)
    shares = parts.shape[1]
    last(singles(y.size), THREADS, parts, plain(y), code, shares, inner, divisor, y.size)
    return y


def _kernels(x: Array) -> tuple:
    return kernels.REAL if operands.is_real(x.dtype) else kernels.WHOLE


def _width(inner: int) -> int:
    """How many threads of a block lie along C."""
    return min(32, 1 << (inner - 1).bit_length())


def _parts(name: str, x: Array, outer: int, n: int, inner: int, share: int) -> Array:
    """The results of shares of N: (A, S, C), in float64 or int64."""
    shares, width = -(-n // share), _width(inner)
    columns = -(-inner // width)
    parts = x.device.empty((outer, shares, inner), np.float64 if operands.is_real(x.dtype) else np.int64)
    _kernels(x)[0]((outer * shares * columns, 1, 1), THREADS, x, parts, kernels.OPERATIONS[name], n, inner, width,
                   share, shares, columns)  # fmt: skip
    return parts


def total(name: str) -> Callable:
    """np.sum or np.prod: integers as int64, floats in their own dtype or the one asked for."""

    def run(x, axis=None, dtype=None, out=None, keepdims=False, initial=None, where=True):
        _unsupported(name, initial=(initial, None), where=(where, True))
        if dtype is not None and np.dtype(dtype) != x.dtype:
            x = x.astype(dtype)
        own = np.dtype(np.int64) if x.dtype.kind in "biu" and dtype is None else x.dtype
        return _into(name, reduced(name, x, axis, bool(keepdims), own), out)

    return run


def extreme(name: str) -> Callable:
    """np.max or np.min."""

    def run(x, axis=None, out=None, keepdims=False, initial=None, where=True):
        _unsupported(name, initial=(initial, None), where=(where, True))
        return _into(name, reduced(name, x, axis, bool(keepdims), x.dtype), out)

    return run


def logical(name: str) -> Callable:
    """np.any or np.all."""

    def run(x, axis=None, out=None, keepdims=False, *, where=True):
        _unsupported(name, where=(where, True))
        truth = x if x.dtype.kind == "b" else ufuncs.compared("not_equal", x, 0)
        axes = axes_of(x, axis)
        if not math.prod(x.shape[i] for i in axes):
            shape = _shape(x, axes, bool(keepdims))
            return _into(name, filled(x.device, shape, np.dtype(bool), name == "all"), out)
        return _into(name, reduced("max" if name == "any" else "min", truth, axis, bool(keepdims), truth.dtype), out)

    return run


def mean(x, axis=None, dtype=None, out=None, keepdims=False, *, where=True):
    """np.mean: float64 of integers."""
    _unsupported("mean", where=(where, True))
    if dtype is not None or x.dtype.kind in "biu":
        x = x.astype(dtype or np.float64)
    count = math.prod(x.shape[i] for i in axes_of(x, axis))
    if not count:
        return _into("mean", reduced("sum", x, axis, bool(keepdims), x.dtype) / 0.0, out)
    return _into("mean", reduced("sum", x, axis, bool(keepdims), x.dtype, count), out)


def var(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
    """np.var: the mean square of what the mean leaves."""
    x = x.astype(dtype or np.float64) if dtype is not None or x.dtype.kind in "biu" else x
    centred = x - mean(x, axis, keepdims=True)
    count = math.prod(x.shape[i] for i in axes_of(x, axis))
    return _into("var", reduced("sum", centred * centred, axis, bool(keepdims), x.dtype) / (count - ddof), out)


def std(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
    """np.std."""
    return ufuncs.function("sqrt", var(x, axis, dtype, None, ddof, keepdims), out)


def count_nonzero(x, axis=None, *, keepdims=False):
    """np.count_nonzero."""
    return total("sum")(ufuncs.compared("not_equal", x, 0), axis, keepdims=keepdims)


def position(name: str) -> Callable:
    """np.argmax or np.argmin: the first of equal ones, the first NaN where there is one."""

    def run(x, axis=None, out=None, *, keepdims=False):
        whole = (1,) * x.ndim if keepdims else ()
        shape = whole if axis is None else _shape(x, axes_of(x, axis), bool(keepdims))
        x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
        grouped, outer, n, inner = _grouped(x, axes_of(x, axis))
        if not n:
            raise ValueError(f"{name}: an array of shape {x.shape} has no elements to choose from")
        return _into(name, _places(plain(grouped), name == "argmax", outer, n, inner).reshape(shape), out)

    return run


def _places(x: Array, is_largest: bool, outer: int, n: int, inner: int) -> Array:
    """Where the best number lies, from those of shares of N, until one share is left."""
    places = None
    while True:
        share = n if n <= FEW else -(-n // -(-n // FEW))
        shares = -(-n // share)
        y = x.device.empty((outer, shares, inner), x.dtype)
        found = x.device.empty(y.shape, np.int64)
        if y.size:
            kernels.best(singles(y.size), THREADS, x, places, y, found, is_largest, places is not None, n, inner, share,
                         shares, y.size)  # fmt: skip
        if shares == 1:
            return found
        x, places, n = y, found, shares


def cumsum(x, axis=None, dtype=None, out=None):
    """np.cumsum; sums of floats are kept in float64, and rounded where they are written."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    if dtype is None and x.dtype.kind in "biu":
        dtype = np.int64
    x = x if dtype is None else x.astype(dtype, copy=False)
    (axis,) = axes_of(x, axis)
    source = x.contiguous()
    sizes = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    y = x.device.empty(x.shape, x.dtype)
    if y.size:
        _run(source, y, *sizes)
    return _into("cumsum", y, out)


def _run(x: Array, y: Array, outer: int, n: int, inner: int) -> None:
    """y = the running sums: those of shares of N, from the running sums of the shares' sums on."""
    launch = kernels.RUNNING if operands.is_real(x.dtype) else kernels.WHOLE_RUNNING
    share = n if n <= FEW * 4 or outer * inner >= 4096 else max(FEW, math.isqrt(n))
    shares = -(-n // share)
    before = None
    if shares > 1:
        sums = _parts("sum", x, outer, n, inner, share)
        running = x.device.empty(sums.shape, sums.dtype)
        _run(sums, running, outer, shares, inner)
        before = filled(x.device, sums.shape, sums.dtype, 0)
        assign(before[:, 1:], running[:, :-1])
    launch(singles(outer * shares * inner), THREADS, x, before, y, before is not None, n, inner, share, shares,
           outer * shares * inner)  # fmt: skip


def _into(name: str, y: Array, out: Array | None) -> Array:
    return operands.finished(name, y, out)


def _unsupported(name: str, **options: tuple[Any, Any]) -> None:
    """Raise TypeError for an option of NumPy that devices do not know."""
    for option, (value, default) in options.items():
        if value is not default and value is not np._NoValue:
            raise TypeError(f"{name}: {option}= is not supported for arrays on a GPU; use x.numpy()")
