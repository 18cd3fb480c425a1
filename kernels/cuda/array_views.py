"""Views of arrays on a device: NumPy reckons with their shapes and strides, and reads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .array import Array

ALIGNMENT = 16  # of what kernels read and write four numbers at a time


def described(x: Array) -> str:
    """What an array is, without its values."""
    return f"Array(shape={x.shape}, dtype={x.dtype}, at {x.pointer:#x})"


class _Shadow:
    """An array's address, shape and strides as NumPy asks for them; it keeps the memory."""

    __slots__ = ("__array_interface__", "_owner")

    def __init__(self, x: Array):
        self._owner = x.owner
        self.__array_interface__ = {
            "version": 3, "data": (x.pointer, False), "shape": x.shape, "typestr": x.dtype.str, "strides": x._strides,
        }  # fmt: skip


def shadow(x: Array) -> np.ndarray:
    """An array of NumPy at x's address. It serves to reckon with views; on a GPU its elements cannot be read."""
    seen = np.asarray(_Shadow(x))
    return seen if seen.dtype == x.dtype else seen.view(x.dtype)  # a dtype of ml_dtypes, whose `str` does not name it


def viewed(x: Array, view: Any) -> Array:
    """What a function of NumPy that makes views makes of x: NumPy reckons with shape and strides, and reads nothing."""
    return from_shadow(x, view(shadow(x)))


def from_shadow(x: Array, y: np.ndarray) -> Array:
    """The view of x that a view of its shadow stands for."""
    return type(x)(x.device, y.shape, x.dtype, x.owner, y.__array_interface__["data"][0], y.strides)


def regrouped(shape: tuple[int, ...], strides: tuple[int, ...], wanted: list[int]) -> list[int] | None:
    """The strides of a view in another shape of the same size; None where there is none."""
    axes = [(length, stride) for length, stride in zip(shape, strides) if length != 1]
    found: list[int] = []
    for length in wanted[::-1]:
        step, left = 0, length
        while left > 1:
            if not axes:
                return None
            size, stride = axes.pop()
            if left == length:
                step = stride
            elif stride != step * (length // left):
                return None
            if size > left:
                if size % left:
                    return None
                axes.append((size // left, stride * left))
                left = 1
            elif left % size:
                return None
            else:
                left //= size
        found.append(step)
    return found[::-1]
