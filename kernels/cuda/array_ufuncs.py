"""NumPy's ufuncs for arrays on a device, each an operation of a kernel; exp and its like give float64 of integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..devices import DeviceArray
from . import array_elementwise as kernels
from .array_axes import THREADS, blocks, is_wide, walks
from .array_moving import bits, check_dtype, converted, number_bits, overlap, plain
from .array_operands import (
    check_out,
    common_shape,
    copied_or_into,
    finished,
    is_number,
    is_real,
    operand,
    prepared,
    promoted,
    target,
    written_out,
)
from .array_views import ALIGNMENT

if TYPE_CHECKING:
    from .array import Array

_OF_BOOLEANS = {"add": "bitwise_or", "multiply": "bitwise_and", "maximum": "bitwise_or", "minimum": "bitwise_and"}


def arithmetic(name: str, a: Any, b: Any, out: Array | None = None) -> Array:
    """a op b, for an operation of `array_elementwise.ARITHMETIC`."""
    if (quick := _quick(name, a, b, out)) is not None:
        return quick
    operands = [operand(name, a), operand(name, b)]
    dtype = promoted(*operands)
    if name == "divide" and not is_real(dtype):
        dtype = np.dtype(np.float64)
    code = kernels.ARITHMETIC[_checked_operation(name, dtype, operands)]
    shape = common_shape(name, operands)
    check_out(name, out, shape, dtype)
    y = target(operands, shape, dtype, out)
    if y.size and not _arithmetic_wide(code, operands, y):
        found = prepared(operands, dtype, shape, y)
        if found is None:
            return arithmetic(name, *written_out(operands, shape), out)
        (first, second), numbers, axes = found
        launch = kernels.whole_pairs if dtype.kind in "biu" else kernels.real_pairs
        mode = 1 if first is None else 2 if second is None else 0
        launch(blocks(y.size), THREADS, first, second, plain(y), *numbers, code, mode, y.size, *axes)
    return finished(name, y, out)


def _quick(name: str, a: Any, b: Any, out: Array | None) -> Array | None:
    """The usual case at little cost: floats of one shape and dtype, or one array and a number of Python, contiguous."""
    code = kernels.ARITHMETIC[name]
    is_first = isinstance(a, DeviceArray)
    x = a if is_first else b
    if code >= kernels.SIMPLE or (out is not None and out is not x) or not is_wide(x) or not is_real(x.dtype):
        return None
    if not is_first:
        if type(a) is not float and type(a) is not int:
            return None
        given = None, b, float(a), 0.0, 1
    elif isinstance(b, DeviceArray):
        if b.shape != x.shape or b.dtype != x.dtype or b.device is not x.device or not is_wide(b):
            return None
        if out is not None and b.pointer != x.pointer and overlap(b, x):
            return None
        given = a, b, 0.0, 0.0, 0
    elif type(b) is float or type(b) is int:
        given = a, None, 0.0, float(b), 2
    else:
        return None
    y = x.device.empty(x.shape, x.dtype) if out is None else out
    if count := x.size:
        first, second, one, other, mode = given
        kernels.arithmetic_wide(blocks(count), THREADS, first, second, y, one, other, code, mode, count)
    return y


def _checked_operation(name: str, dtype: np.dtype, operands: list[Any]) -> str:
    """The operation for a dtype. Raises TypeError for one that it does not have, ValueError for a negative power."""
    is_bitwise = kernels.ARITHMETIC[name] >= kernels.BITWISE
    if dtype.kind == "b":
        if name not in _OF_BOOLEANS and not (is_bitwise and "shift" not in name):
            raise TypeError(f"{name}: not for booleans; cast them, x.astype(np.int64), or use ^ and ~")
        return _OF_BOOLEANS.get(name, name)
    if is_bitwise and dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers or booleans, got {dtype}")
    if name == "power" and dtype.kind in "iu" and is_number(operands[1]) and operands[1] < 0:
        raise ValueError("power: integers to negative integer powers are not integers; cast x to a float dtype")
    return name


def _arithmetic_wide(code: int, operands: list[Any], y: Array) -> bool:
    """y = a op b by wide accesses, where both allow it."""
    if code >= kernels.SIMPLE or y.dtype.kind in "biu" or not is_wide(y):
        return False
    given = [value if isinstance(value, DeviceArray) else None for value in operands]
    if any(x is not None and (x.shape != y.shape or x.dtype != y.dtype or not is_wide(x)) for x in given):
        return False
    numbers = [0.0 if isinstance(value, DeviceArray) else float(value) for value in operands]
    mode = 1 if given[0] is None else 2 if given[1] is None else 0
    kernels.arithmetic_wide(blocks(y.size), THREADS, *given, y, *numbers, code, mode, y.size)
    return True


def compared(name: str, a: Any, b: Any, out: Array | None = None) -> Array:
    """Booleans, for an operation of `array_elementwise.COMPARISONS`."""
    operands = [operand(name, a), operand(name, b)]
    shape, dtype = common_shape(name, operands), _comparable(operands)
    check_out(name, out, shape, np.dtype(bool))
    first = next(value for value in operands if isinstance(value, DeviceArray))
    y = first.device.empty(shape, bool)
    if y.size:
        found = prepared(operands, dtype, shape)
        if found is None:
            return compared(name, *written_out(operands, shape), out)
        (x, z), numbers, axes = found
        mode = 1 if x is None else 2 if z is None else 0
        code = kernels.COMPARISONS[name]
        kernels.compare(blocks(y.size), THREADS, x, z, plain(y), *numbers, code, mode, y.size, *axes)
    return finished(name, y, out)


def _comparable(operands: list[Any]) -> np.dtype:
    """The dtype in which two are compared: one that holds both, a number that the array's does not hold too."""
    dtype = promoted(*operands)
    for value in operands:
        if dtype.kind in "iu" and isinstance(value, int) and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            return np.dtype(np.float64)
    return dtype


def function(name: str, x: Array, out: Array | None = None) -> Array:
    """A function of one number, of `array_elementwise.FUNCTIONS`."""
    code, dtype = kernels.FUNCTIONS[name], x.dtype
    if dtype.kind == "b" and name in ("negative", "sign"):
        raise TypeError(f"{name}: not for booleans; use ~x, or cast them first")
    if dtype.kind == "b" and name in ("absolute", "square") or dtype.kind in "biu" and 5 <= code <= 7:
        return finished(name, copied_or_into(x, out), out)
    if dtype.kind in "biu" and code >= kernels.WHOLE and name != "reciprocal":
        dtype = np.dtype(np.float64)
    check_out(name, out, x.shape, dtype)
    source = x if x.dtype == dtype else converted(x, dtype)
    y = target([source], x.shape, dtype, out)
    if y.size:
        axes = walks(x.shape, source, y)
        if axes is None:
            return function(name, source.copy(), out)
        launch = kernels.whole_single if dtype.kind in "iu" else kernels.real_single
        launch(blocks(y.size), THREADS, source, y, code, y.size, *axes)
    return finished(name, y, out)


def checked(name: str, x: Array, out: Array | None = None) -> Array:
    """Booleans, for a test of `array_elementwise.TESTS`."""
    check_out(name, out, x.shape, np.dtype(bool))
    axes = walks(x.shape, x)
    if axes is None:
        return checked(name, x.copy(), out)
    y = x.device.empty(x.shape, bool)
    if y.size:
        kernels.test(blocks(y.size), THREADS, plain(x), plain(y), kernels.TESTS[name], y.size, *axes)
    return finished(name, y, out)


def inverted(x: Array, out: Array | None = None) -> Array:
    """~x."""
    return (
        checked("logical_not", x, out)
        if x.dtype.kind == "b"
        else arithmetic("bitwise_xor", x, -1 if x.dtype.kind == "i" else int(np.iinfo(x.dtype).max), out)
    )


def where(condition: Any, a: Any, b: Any) -> Array:
    """a where the condition is true (not 0), else b."""
    operands = [operand("where", value) for value in (condition, a, b)]
    device = next(value.device for value in operands if isinstance(value, DeviceArray))
    if not isinstance(condition, DeviceArray):
        condition = device.constant(np.array(bool(condition)))
    elif condition.dtype.kind != "b":
        condition = compared("not_equal", condition, 0)
    dtype = promoted(a, b) if hasattr(a, "dtype") or hasattr(b, "dtype") else np.result_type(a, b)
    check_dtype(dtype)
    return _chosen(condition, [a, b], common_shape("where", [condition, a, b]), dtype)


def _chosen(condition: Array, values: list[Any], shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """The choice by the bits of numbers, whatever their dtype."""
    y = condition.device.empty(shape, dtype)
    if not y.size:
        return y
    if condition.pointer % ALIGNMENT:
        condition = condition.copy()
    given = [value if isinstance(value, DeviceArray) else None for value in values]
    given = [x if x is None or x.dtype == dtype else converted(x, dtype) for x in given]
    numbers = [0 if isinstance(value, DeviceArray) else number_bits(value, dtype) for value in values]
    axes = walks(shape, condition, *given)
    if axes is None:
        return _chosen(*written_out([condition], shape), written_out(values, shape), shape, dtype)
    mode = sum(bit for bit, x in zip((1, 2), given) if x is None)
    given = [x if x is None else bits(x) for x in given]
    kernels.choose(blocks(y.size), THREADS, plain(condition), *given, bits(y), *numbers, mode, y.size, *axes)
    return y


def clip(x: Array, low: Any = None, high: Any = None, out: Array | None = None) -> Array:
    """x with what is below `low` or above `high` replaced by these."""
    y = x if low is None else arithmetic("maximum", x, low)
    y = y if high is None else arithmetic("minimum", y, high)
    return finished("clip", copied_or_into(y, out) if y is x else y, out)


def matmul(a: Any, b: Any, out: Array | None = None) -> Array:
    """a b over the last two axes, by the kernels of `linear`; NumPy's rules for 1-D operands."""
    for value in (operand("matmul", a), operand("matmul", b)):
        if not isinstance(value, DeviceArray) or not value.ndim:
            raise ValueError("matmul: both operands need at least one axis; multiply by a number with *")
    dtype = promoted(a, b)
    if dtype.kind in "biu":
        raise TypeError(f"matmul: GPUs multiply matrices of floats alone, got {dtype}; cast them first")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"matmul: last axis of a {a.shape} must equal the last but one, or only, axis of b {b.shape}")
    from .linear import matmul_forward

    left = a.reshape(1, -1) if a.ndim == 1 else a
    right = b.reshape(-1, 1) if b.ndim == 1 else b
    y, _ = matmul_forward(*(x.astype(dtype, copy=False).contiguous() for x in (left, right)))
    shape = [*y.shape[:-2], *([y.shape[-2]] if a.ndim > 1 else []), *([y.shape[-1]] if b.ndim > 1 else [])]
    return finished("matmul", y.reshape(shape), out)


def _named(call: Callable, name: str) -> Callable:
    return lambda *operands, out=None: call(name, *operands, out=out)


UFUNCS: dict[Any, Callable] = {
    **{getattr(np, name): _named(arithmetic, name) for name in kernels.ARITHMETIC},
    **{getattr(np, name): _named(compared, name) for name in kernels.COMPARISONS},
    **{getattr(np, name): _named(function, name) for name in kernels.FUNCTIONS},
    **{getattr(np, name): _named(checked, name) for name in kernels.TESTS},
    np.invert: inverted,
    np.fabs: _named(function, "absolute"),
    np.float_power: _named(arithmetic, "power"),
    np.positive: copied_or_into,
    np.matmul: matmul,
}
