"""Checks of arguments that several functions share: cheap where all is well, messages are built on failure."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

FLOAT32, FLOAT64, INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
FLOATS = (FLOAT32, FLOAT64)


def is_float(op: str, name: str, array: Any) -> None:
    """Raise TypeError unless the array is float32 or float64."""
    if array.dtype is not FLOAT32 and array.dtype is not FLOAT64 and array.dtype not in FLOATS:
        raise TypeError(
            f"{op}: {name} must be float32 or float64, got {array.dtype}; cast with {name}.astype(np.float32)"
        )


def floats(op: str, names: Sequence[str], arrays: Sequence) -> None:
    """Raise TypeError unless all arrays (None aside) are float32, or all float64."""
    first = arrays[0].dtype
    if first is FLOAT32 or first is FLOAT64:
        for array in arrays:
            if array is not None and array.dtype is not first:
                break
        else:
            return
    for name, array in zip(names, arrays):
        if array is not None:
            is_float(op, name, array)
            if array.dtype != first:
                raise TypeError(
                    f"{op}: {name} must have the dtype of {names[0]}, {first}, got {array.dtype}; "
                    f"cast with {name}.astype(np.{first})"
                )


def rank(op: str, name: str, array: Any, letters: str) -> None:
    """Raise ValueError unless the array has as many axes as there are letters, for example "N, H, W, C"."""
    wanted = letters.count(",") + 1
    if array.ndim != wanted:
        raise ValueError(f"{op}: {name} must have {wanted} axes ({letters}), got shape {array.shape}")


def shape(op: str, name: str, array: Any, wanted: tuple[int, ...], reason: str) -> None:
    """Raise ValueError unless the array, if there is one, has the shape wanted."""
    if array is not None and array.shape != wanted:
        raise ValueError(f"{op}: {name} must have shape {wanted} {reason}, got {array.shape}")


def integer(op: str, name: str, value: Any, least: int) -> int:
    """`value` as an int of at least `least`. TypeError for what is no integer, ValueError for one too small."""
    if type(value) is not int:
        if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
            raise TypeError(f"{op}: {name} must be an integer, got {value!r}")
        value = operator.index(value)
    if value < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {value}")
    return value


def pair(op: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """One integer for both image axes, or two, each at least `least`."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{op}: {name} must be one integer or two, got {value!r}")
        return integer(op, name, value[0], least), integer(op, name, value[1], least)
    value = integer(op, name, value, least)
    return value, value


def number(op: str, name: str, value: Any, low: float, high: float, low_open: bool = False) -> float:
    """`value` as a float in [low, high), or (low, high). TypeError for what is no number, ValueError out of range."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{op}: {name} must be a number, got {value!r}")
    if not low <= value < high or (low_open and value == low):
        raise ValueError(f"{op}: {name} must be in {'(' if low_open else '['}{low:g}, {high:g}), got {value!r}")
    return float(value)


def choice(op: str, name: str, value: Any, allowed: tuple) -> Any:
    """`value`, which must be one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{op}: {name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def indices(op: str, name: str, values: np.ndarray, count: int, ignored: int | None = None) -> np.ndarray:
    """`values` as int64, each in 0..count-1 or equal to `ignored`. TypeError for other dtypes, ValueError else."""
    if values.dtype.kind not in "iu":
        nan = " with NaN among them" if values.dtype.kind == "f" and np.isnan(values).any() else ""
        raise TypeError(f"{op}: {name} must be integers, got {values.dtype}{nan}; cast with {name}.astype(np.int64)")
    signed = values if values.dtype is INT64 else values.astype(np.int64, copy=False)
    # As unsigned numbers the negative ones are the largest, so one pass finds both kinds of bad index.
    if signed.size and np.maximum.reduce(signed.view(np.uint64), axis=None) >= count:
        bad = (signed < 0) | (signed >= count)
        if ignored is not None:
            bad &= signed != ignored
        if bad.any():
            raise ValueError(f"{op}: {name} must be in 0..{count - 1}, got {values[bad][0]}")
    return signed
