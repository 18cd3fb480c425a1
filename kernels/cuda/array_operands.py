"""What operations on arrays take and give: which operands, the dtype and shape they have in common, and where to.

Dtypes follow NumPy 2: Python's numbers take the dtype of the array beside them, unless that is of a lower kind.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from ..devices import DeviceArray
from .array_axes import broadcast, walks
from .array_moving import assign, check_dtype, converted, overlap, plain

if TYPE_CHECKING:
    from .array import Array


def is_real(dtype: np.dtype) -> bool:
    """Whether it is a dtype of floats, bfloat16 among them, which is none of NumPy's own."""
    return dtype.kind not in "biu"


def is_number(value: Any) -> bool:
    """Whether it is a number of Python or NumPy, a 0-d array of NumPy among them."""
    return isinstance(value, (bool, int, float, np.generic)) or (type(value) is np.ndarray and value.ndim == 0)


def operand(name: str, value: Any) -> Any:
    """An Array or a number. Raises TypeError for an array of NumPy: it would have to be copied to the device."""
    if isinstance(value, DeviceArray) or is_number(value):
        return value
    if isinstance(value, np.ndarray):
        raise TypeError(
            f"{name}: an array of NumPy, of shape {value.shape}, does not mix with one on a GPU; move it there first, "
            "dlfast.cuda.array(x), or the other one to the CPU, x.numpy()"
        )
    raise TypeError(f"{name}: expected arrays on one device and numbers, got {type(value).__name__}")


def promoted(*values: Any) -> np.dtype:
    """The dtype that arrays and numbers have in common. Raises TypeError where devices have no such dtype."""
    return _promoted(tuple([value.dtype if hasattr(value, "dtype") else type(value) for value in values]))


@lru_cache(1024)
def _promoted(kinds: tuple[np.dtype | type, ...]) -> np.dtype:
    """The dtype of arrays of these dtypes and numbers of these types of Python."""
    dtypes = [kind for kind in kinds if isinstance(kind, np.dtype)]
    dtype = reduce(np.promote_types, dtypes)
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, float) and dtype.kind in "biu":
            dtype = np.dtype(np.float64)
        elif kind is int and dtype.kind == "b":
            dtype = np.dtype(np.int64)
    check_dtype(dtype)
    return dtype


def common_shape(name: str, operands: list[Any]) -> tuple[int, ...]:
    """The common shape. Raises ValueError where there is none, and for arrays of several devices."""
    found = [value for value in operands if isinstance(value, DeviceArray)]
    first = found[0]
    for value in found:
        if value.device is not first.device:
            where = ", ".join(str(value.device) for value in found)
            raise ValueError(f"{name}: all arrays must lie on one device, got {where}")
    return first.shape if len(found) == 1 else broadcast(*[value.shape for value in found])


def prepared(operands: list[Any], dtype: np.dtype, shape: tuple[int, ...], *out: Array) -> tuple | None:
    """Operands of one dtype, the numbers among them, and their axes; None where the axes are too many."""
    given = [value if isinstance(value, DeviceArray) else None for value in operands]
    given = [x if x is None or x.dtype == dtype else converted(x, dtype) for x in given]
    numbers = [0 if isinstance(v, DeviceArray) else as_number(v, dtype) for v in operands]
    axes = walks(shape, *given, *out)
    return None if axes is None else ([x if x is None else plain(x) for x in given], numbers, axes)


def as_number(value: Any, dtype: np.dtype) -> Any:
    """A number as kernels take it."""
    if dtype.kind == "b":
        return int(bool(value))
    if dtype.kind not in "iu":
        return float(value)
    limits = np.iinfo(dtype)
    if not limits.min <= value <= limits.max:
        raise OverflowError(f"{value} is beyond the range of {dtype}, from {limits.min} to {limits.max}; cast x first")
    return int(value)


def written_out(operands: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """The operands written out in full, whose axes are one."""
    found = []
    for value in operands:
        if isinstance(value, DeviceArray):
            whole = value.device.empty(shape, value.dtype)
            assign(whole, value)
            value = whole
        found.append(value)
    return found


def target(operands: list[Any], shape: tuple[int, ...], dtype: np.dtype, out: Array | None) -> Any:
    """The array to compute into: `out` itself, unless an operand would be read where it is written already."""
    device = next(value.device for value in operands if isinstance(value, DeviceArray))
    if out is None or out.dtype != dtype:
        return device.empty(shape, dtype)
    for value in operands:
        if not isinstance(value, DeviceArray) or not overlap(value, out):
            continue
        if (value.pointer, value.shape, value.strides) != (out.pointer, out.shape, out.strides):
            return device.empty(shape, dtype)
    return out


def finished(name: str, y: Array, out: Array | None) -> Array:
    """y, or `out` with its values. Raises TypeError where their kind does not fit, as NumPy does."""
    if out is None or y is out:
        return y
    assign(out, y)
    return out


def check_out(name: str, out: Array | None, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if out is None:
        return
    if not isinstance(out, DeviceArray):
        raise TypeError(f"{name}: the result lies on a GPU and must be written there, got a {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"{name}: a result of shape {shape} does not fit into an array of shape {out.shape}")
    if not np.can_cast(dtype, out.dtype, "same_kind"):
        raise TypeError(f"{name}: a result of {dtype} does not fit into an array of {out.dtype}; cast it first")


def copied_or_into(x: Array, out: Array | None) -> Array:
    """What leaves numbers as they are."""
    return x.copy() if out is None else x
