"""Differentiable array operations, NumPy forward and gradient side by side; the methods of Tensor call them.

Each gradient is a function (dy, saved, needs) -> one gradient for each input, as `record` wants it.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np

import dlfast.tensor as tensor

from . import _check as check
from ._autocast import alike, in_dtype_of, summable, widened
from ._devices import beside, check_one_device, check_operands, on_device, zeros_beside
from .kernels import sums
from .kernels.halves import is_half, is_real
from .kernels.memory import pooled

if TYPE_CHECKING:
    from ._methods import Methods
    from .tensor import ArrayLike, Tensor

Axis = int | tuple[int, ...] | None


def unbroadcast(gradient: Any, shape: tuple[int, ...]) -> Any:
    """Sum a gradient over the axes along which an operand of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    lead = gradient.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1)
    return sums.total(gradient, axes).reshape(shape)


# Arithmetic


def _operands(op: str, a: ArrayLike, b: ArrayLike) -> tuple[Any, Any]:
    """Both operands as arrays or NumPy scalars of one dtype.

    A plain number, a NumPy scalar or a 0-d array takes the dtype of the other operand, and integers that of floats;
    float32 with float64 raises TypeError.
    """
    x = a.data if isinstance(a, tensor.Tensor) else a
    y = b.data if isinstance(b, tensor.Tensor) else b
    if type(x) is np.ndarray and type(y) is np.ndarray and x.dtype is y.dtype:
        return x, y
    if _is_number(b):
        return x, _number(y, x)
    if _is_number(a):
        return _number(x, y), y
    x, y = tensor.unwrap(x), tensor.unwrap(y)
    if type(x) is not np.ndarray or type(y) is not np.ndarray:
        x, y = _in_one_place(op, a, b, x, y)
    return same_dtype(op, x, y)


def _in_one_place(op: str, a: ArrayLike, b: ArrayLike, x: Any, y: Any) -> tuple[Any, Any]:
    """Both on one device: a Tensor without axes and without a gradient goes from the CPU where the other one lies."""
    if on_device(x) and np.ndim(y) == 0 and not tensor.wants_gradient((b,)):
        y = beside(y, x)
    elif on_device(y) and np.ndim(x) == 0 and not tensor.wants_gradient((a,)):
        x = beside(x, y)
    check_one_device(op, ("a", "b"), (x, y))
    return x, y


def _is_number(value: Any) -> bool:
    """Not for 0-d Tensors: those have a dtype of their own."""
    return isinstance(value, (int, float, np.generic)) or (type(value) is np.ndarray and value.ndim == 0)


def _number(value: Any, array: Any) -> Any:
    """`value` as a scalar, in the dtype of an array of floats, else in the one that NumPy takes beside integers."""
    if is_real(array.dtype):
        return array.dtype.type(value.item() if isinstance(value, (np.generic, np.ndarray)) else value)
    if isinstance(value, (np.generic, np.ndarray)):
        return value
    return (array.dtype if type(value) is int and array.dtype.kind in "iu" else np.asarray(value).dtype).type(value)


def same_dtype(op: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers cast to the other's float dtype, half to float32; TypeError for float32 with float64."""
    if x.dtype == y.dtype:
        return x, y
    if is_half(x.dtype) or is_half(y.dtype):
        if is_real(x.dtype) and is_real(y.dtype) and np.dtype(np.float64) not in (x.dtype, y.dtype):
            return alike(x, y)
        return (x, y.astype(x.dtype)) if is_half(x.dtype) else (x.astype(y.dtype), y)
    kinds = x.dtype.kind + y.dtype.kind
    if kinds == "ff":
        raise TypeError(
            f"{op}: operands must share one dtype, got {x.dtype} and {y.dtype}; "
            "cast one, for example with x.astype(np.float32)"
        )
    if kinds[0] == "f":
        return x, y.astype(x.dtype)
    return (x.astype(y.dtype), y) if kinds[1] == "f" else (x, y)


def add(a: ArrayLike, b: ArrayLike) -> Tensor:
    x, y = _operands("add", a, b)
    with pooled():
        z = x + y
    if x.shape == y.shape:
        return tensor.record(z, _hand_on, (), (a, b))
    return tensor.record(z, _add_backward, (x.shape, y.shape), (a, b))


def _hand_on(dy, saved, needs):
    return dy, dy


def _add_backward(dy, saved, needs):
    return unbroadcast(dy, saved[0]) if needs[0] else None, unbroadcast(dy, saved[1]) if needs[1] else None


def subtract(a: ArrayLike, b: ArrayLike) -> Tensor:
    x, y = _operands("subtract", a, b)
    with pooled():
        z = x - y
    return tensor.record(z, _subtract_backward, (x.shape, y.shape), (a, b))


def _subtract_backward(dy, saved, needs):
    return unbroadcast(dy, saved[0]) if needs[0] else None, unbroadcast(-dy, saved[1]) if needs[1] else None


def multiply(a: ArrayLike, b: ArrayLike) -> Tensor:
    x, y = _operands("multiply", a, b)
    with pooled():
        z = x * y
    return tensor.record(z, _multiply_backward, (x, y), (a, b))


def _multiply_backward(dy, saved, needs):
    x, y = saved
    return unbroadcast(dy * y, x.shape) if needs[0] else None, unbroadcast(dy * x, y.shape) if needs[1] else None


def divide(a: ArrayLike, b: ArrayLike) -> Tensor:
    x, y = _operands("divide", a, b)
    return tensor.record(x / y, _divide_backward, (x, y), (a, b))


def _divide_backward(dy, saved, needs):
    x, y = saved
    dx = dy / y
    return unbroadcast(dx, x.shape) if needs[0] else None, unbroadcast(-dx * x / y, y.shape) if needs[1] else None


def power(a: ArrayLike, b: ArrayLike) -> Tensor:
    x, y = map(widened, _operands("power", a, b))
    z = x**y
    return tensor.record(z, _power_backward, (x, y, z), (a, b))


def _power_backward(dy, saved, needs):
    """dx = dz y x^(y-1), 0 where y = 0;  dy = dz x^y log x, 0 where x = 0: the limits, where the formulas give NaN."""
    x, y, z = saved
    dbase = dexponent = None
    if needs[0]:
        some = on_device(y) or np.any(y == 0)  # to look on a device, the CPU would have to wait for it
        slope = y * x ** np.where(y == 0, y + 1, y - 1) if some else y * x ** (y - 1)
        dbase = unbroadcast(dy * slope, x.shape)
    if needs[1]:
        dexponent = unbroadcast(dy * z * np.log(np.where(x == 0, z.dtype.type(1), x)), y.shape)
    return dbase, dexponent


def negative(x: Methods) -> Tensor:
    return tensor.record(-x.data, _negative_backward, (), (x,))


def _negative_backward(dy, saved, needs):
    return (-dy,)


def matmul(a: ArrayLike, b: ArrayLike) -> Tensor:
    """a @ b with NumPy's rules: a 1-D operand is a row on the left, a column on the right; batch axes broadcast.

    Raises TypeError unless both are float32 or both float64, ValueError for shapes that do not fit.
    """
    x, y = tensor.arrays_of((a, b))
    check.floats("matmul", ("a", "b"), (x, y), 2)
    if not (x.ndim and y.ndim and x.shape[-1] == y.shape[-2 if y.ndim > 1 else 0]):
        raise ValueError(f"matmul: last axis of a {x.shape} must equal the last but one, or only, axis of b {y.shape}")
    if x.ndim < 2 or y.ndim < 2:
        return _matmul_vector(tensor.as_tensor(a), tensor.as_tensor(b))
    if x.ndim != 2 and y.ndim != 2 and x.shape[:-2] != y.shape[:-2]:
        try:
            np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        except ValueError:
            raise ValueError(f"matmul: batch axes of a {x.shape} and b {y.shape} do not broadcast") from None
    return tensor.run("matmul", (a, b), (x, y), {})


def _matmul_vector(a: Tensor, b: Tensor) -> Tensor:
    row, column = a.ndim == 1, b.ndim == 1
    y = matmul(reshape(a, (1, -1)) if row else a, reshape(b, (-1, 1)) if column else b)
    shape = list(y.shape)
    if column:
        del shape[-1]
    if row:
        del shape[-1 if column else -2]
    return reshape(y, shape)


# Element by element


def exp(x: Methods) -> Tensor:
    y = np.exp(widened(x.data))
    return tensor.record(y, _exp_backward, (y,), (x,))


def _exp_backward(dy, saved, needs):
    return (dy * saved[0],)


def log(x: Methods) -> Tensor:
    array = widened(x.data)
    return tensor.record(np.log(array), _log_backward, (array,), (x,))


def _log_backward(dy, saved, needs):
    return (dy / saved[0],)


def sqrt(x: Methods) -> Tensor:
    y = np.sqrt(x.data)
    return tensor.record(y, _sqrt_backward, (y,), (x,))


def _sqrt_backward(dy, saved, needs):
    return (dy / (2 * saved[0]),)


def tanh(x: Methods) -> Tensor:
    check.is_float("tanh", "x", x.data)
    return tensor.apply("tanh", x)


def absolute(x: Methods) -> Tensor:
    return tensor.record(np.abs(x.data), _absolute_backward, (x.data,), (x,))


def _absolute_backward(dy, saved, needs):
    return (dy * np.sign(saved[0]),)


def clip(x: Methods, minimum: float | None, maximum: float | None) -> Tensor:
    low, high = (bound if bound is None else _number(bound, x.data) for bound in (minimum, maximum))
    return tensor.record(np.clip(x.data, low, high), _clip_backward, (x.data, low, high), (x,))


def _clip_backward(dy, saved, needs):
    x, low, high = saved
    inside = np.ones_like(x, bool) if low is None else x >= low
    return (dy * (inside if high is None else inside & (x <= high)),)


def astype(x: Methods, dtype: Any) -> Tensor:
    data = x.data.astype(dtype, copy=False)
    if not is_real(data.dtype):  # nothing flows back through integers
        return tensor.Tensor(data)
    return tensor.record(data, _astype_backward, (x.data.dtype,), (x,))


def _astype_backward(dy, saved, needs):
    return (dy.astype(saved[0]),)


# Reductions


def sum(x: Methods, axis: Axis, keepdims: bool) -> Tensor:
    y = in_dtype_of(sums.total(summable(x.data), axis, keepdims), x.data)
    return tensor.record(y, _sum_backward, (x.data.shape, axis, keepdims), (x,))


def _sum_backward(dy, saved, needs):
    shape, axis, keepdims = saved
    return (np.broadcast_to(_with_axes(dy, shape, axis, keepdims), shape),)


def _with_axes(array: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    """A reduced array with the axes of `shape` that it has lost put back as length 1."""
    if keepdims:
        return array
    return array.reshape((1,) * len(shape)) if axis is None else np.expand_dims(array, axis)


def mean(x: Methods, axis: Axis, keepdims: bool) -> Tensor:
    check.is_float("mean", "x", x.data)
    total = sums.total(summable(x.data), axis, keepdims)
    count = total.dtype.type(x.data.size // (total.size or 1))
    return tensor.record(
        in_dtype_of(total / count, x.data), _mean_backward, (x.data.shape, axis, keepdims, count), (x,)
    )


def _mean_backward(dy, saved, needs):
    shape, axis, keepdims, count = saved
    return _sum_backward(dy / count, (shape, axis, keepdims), needs)


def var(x: Methods, axis: Axis, keepdims: bool, ddof: int) -> Tensor:
    check.is_float("var", "x", x.data)
    array = summable(x.data)
    total = sums.total(array, axis, True)
    count = array.size // (total.size or 1)
    if count <= ddof:
        raise ValueError(f"var: needs more than ddof={ddof} elements along axis {axis}, got {count}")
    dtype = array.dtype.type
    centred = array - total / dtype(count)
    centred -= sums.total(centred, axis, True) / dtype(count)  # the mean of what is left: the first is rounded
    share = dtype(1 / (count - ddof))
    y = in_dtype_of(sums.total(centred * centred, axis, keepdims) * share, x.data)
    return tensor.record(y, _var_backward, (centred, axis, keepdims, share), (x,))


def _var_backward(dy, saved, needs):
    """dx = 2 dy (x - mean) / (count - ddof)."""
    centred, axis, keepdims, share = saved
    return (_with_axes(dy * (2 * share), centred.shape, axis, keepdims) * centred,)


def max(x: Methods, axis: Axis, keepdims: bool) -> Tensor:
    return _extreme(np.max(x.data, axis=axis, keepdims=True), x, axis, keepdims)


def min(x: Methods, axis: Axis, keepdims: bool) -> Tensor:
    return _extreme(np.min(x.data, axis=axis, keepdims=True), x, axis, keepdims)


def _extreme(y: np.ndarray, x: Methods, axis: Axis, keepdims: bool) -> Tensor:
    result = y if keepdims else np.squeeze(y, tuple(range(y.ndim)) if axis is None else axis)
    return tensor.record(result, _extreme_backward, (x.data, y, axis, keepdims), (x,))


def _extreme_backward(dy, saved, needs):
    """dy shared evenly by the elements equal to the result (NaN counts as equal to NaN), as torch.amax does."""
    x, y, axis, keepdims = saved
    chosen = (x == y) | ((x != x) & (y != y))
    share = _with_axes(dy, x.shape, axis, keepdims) / chosen.sum(axis=axis, keepdims=True).astype(dy.dtype)
    return (chosen * share,)


# Shape


def reshape(x: Methods, shape: Any) -> Tensor:
    return tensor.record(x.data.reshape(shape), _reshape_backward, (x.data.shape,), (x,))


def _reshape_backward(dy, saved, needs):
    return (dy.reshape(saved[0]),)


def permute(x: Methods, axes: Any) -> Tensor:
    y = np.transpose(x.data, axes)
    return tensor.record(y, _permute_backward, (tuple(np.argsort([axis % y.ndim for axis in axes])),), (x,))


def transpose(x: Methods, axis0: int | None = None, axis1: int | None = None) -> Tensor:
    if axis0 is None and axis1 is None:
        return tensor.record(x.data.T, _permute_backward, (None,), (x,))
    if not (isinstance(axis0, int) and isinstance(axis1, int)):
        raise TypeError("transpose: give the two axes to exchange, or none to reverse all; permute takes a whole order")
    return tensor.record(np.swapaxes(x.data, axis0, axis1), _swap_backward, (axis0, axis1), (x,))


def _permute_backward(dy, saved, needs):
    return (np.transpose(dy, saved[0]),)


def _swap_backward(dy, saved, needs):
    return (np.swapaxes(dy, *saved),)


def index_of(index: Any) -> tuple:
    """An index as a tuple, with arrays in place of Tensors."""
    parts = index if isinstance(index, tuple) else (index,)
    return tuple([part.data if isinstance(part, tensor.Tensor) else part for part in parts])


def getitem(x: Methods, index: Any) -> Tensor:
    """x[index] for every index NumPy knows; the gradient of an element taken twice is added twice."""
    parts = index_of(index)
    if type(x.data) is not np.ndarray:
        check_index("getitem", x.data, parts)
    try:
        y = x.data[parts]
    except TypeError:
        check_index("getitem", x.data, parts)
        raise
    return tensor.record(y, _getitem_backward, (x.data.shape, parts), (x,))


def check_index(op: str, x: np.ndarray, parts: tuple) -> None:
    """Raise TypeError where an array and those in its index lie on several devices."""
    arrays = [part for part in parts if on_device(part) or isinstance(part, np.ndarray)]
    names = ["index"] if len(arrays) == 1 else [f"index[{i}]" for i in range(len(arrays))]
    check_operands(op, x=x, **dict(zip(names, arrays)))


def _getitem_backward(dy, saved, needs):
    shape, index = saved
    if builtins.all(part is None or part is Ellipsis or isinstance(part, (int, slice, np.integer)) for part in index):
        dx = zeros_beside(dy, shape, dy.dtype)
        dx[index] = dy
        return (dx,)
    return (sums.scattered(shape, index, dy),)
