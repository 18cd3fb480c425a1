"""What becomes an array of numbers, and of which dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from .kernels.devices import DeviceArray
from .kernels.halves import is_half


def to_array(data: Any) -> np.ndarray:
    """An array of numbers; lists and bare Python floats become float32, typed data keep their dtype, and arrays on a
    device stay there."""
    if isinstance(data, DeviceArray):
        return data
    refuse_masked("Tensor", "data", data)
    array = plain_array(data)
    if array.dtype.kind not in "fiub" and not is_half(array.dtype):
        raise TypeError(f"Tensor: data must hold real numbers, got {described(data, array)}")
    return array


def plain_array(data: Any) -> np.ndarray:
    """`to_array` without its check: strings and objects too."""
    array = np.asarray(data)
    if array.dtype == np.float64 and not isinstance(data, (np.ndarray, np.generic)) and _is_untyped(data):
        array = array.astype(np.float32)
    return array


def refuse_masked(op: str, name: str, data: Any) -> None:
    """Raise TypeError for a masked array in which something is masked: its mask would be lost."""
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        raise TypeError(
            f"{op}: {name} must not be masked, got an array with {np.ma.count_masked(data)} of {data.size} values "
            "masked, and the mask would be lost; put values in their place with .filled(value)"
        )


def described(data: Any, array: np.ndarray) -> str:
    """What came in place of numbers, and what to do about it."""
    if data is None:
        return "None"
    dtypes = getattr(data, "dtypes", None)
    if hasattr(data, "columns") and dtypes is not None:
        bad = [f"{name!r} ({dtype})" for name, dtype in zip(data.columns, dtypes) if _kind(dtype) not in "fiub"]
        return (
            f"a table whose columns {', '.join(bad) or 'hold missing values and'} are no numbers; drop them, or encode "
            "them with pandas.get_dummies(x, dtype=np.float32)"
        )
    return (
        f"an array of dtype {array.dtype}; rows of unequal length have to be padded, and names of classes numbered: "
        "names, y = np.unique(y, return_inverse=True)"
    )


def _kind(dtype: Any) -> str:
    return getattr(dtype, "kind", "O")


def _is_untyped(data: Any) -> bool:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (list, tuple, int, float)) and not isinstance(data, np.generic)
