"""The array on a device: an address, a shape and strides, with the methods of NumPy's arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..devices import DeviceArray

ALIGNMENT = 16  # of what kernels read and write four numbers at a time


class Array(DeviceArray):
    """An array on a device: an address, a shape, a dtype, strides in bytes and the owner of the memory.

    strides: None where the elements lie in C order without gaps, which is what kernels take (`contiguous`). Views
    share memory and owner; the owner lives as long as the memory, and may be weakly referenced.
    """

    __slots__ = ("__weakref__", "_strides", "device", "dtype", "owner", "pointer", "shape")

    def __init__(self, device: Any, shape: tuple[int, ...], dtype: Any, owner: Any, pointer: int, strides: Any = None):
        self.device, self.shape, self.dtype = device, tuple(shape), np.dtype(dtype)
        self.owner, self.pointer = owner, pointer
        self._strides = None if strides is None or self._are_dense(strides) else tuple(strides)

    def _are_dense(self, strides: tuple[int, ...]) -> bool:
        """Whether these are the strides of C order; those along an axis of length 1 do not matter."""
        step, dense = self.dtype.itemsize, True
        for length, stride in zip(self.shape[::-1], strides[::-1], strict=True):
            if length == 0:
                return True
            dense = dense and (length == 1 or stride == step)
            step *= length
        return dense

    # What it is

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        if self._strides is not None:
            return self._strides
        steps, step = [], self.dtype.itemsize
        for length in self.shape[::-1]:
            steps.append(step)
            step *= max(length, 1)
        return tuple(steps[::-1])

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in C order without gaps."""
        return self._strides is None

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    # Views

    def part(self, offset: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """A contiguous array in the same memory, `offset` bytes from its start. Raises ValueError beyond its end."""
        part = Array(self.device, shape, dtype, self.owner, self.pointer + offset)
        if offset < 0 or offset + part.nbytes > self.nbytes or not self.is_contiguous:
            raise ValueError(
                f"part: {part.nbytes} bytes from {offset} on are not in a contiguous array of {self.nbytes}"
            )
        return part

    def rows(self, first: int, end: int) -> Array:
        """Rows first to end - 1 of the first axis of a contiguous array, in the same memory."""
        step = self.nbytes // len(self) if len(self) else 0
        return Array(self.device, (end - first, *self.shape[1:]), self.dtype, self.owner, self.pointer + first * step)

    def reshape(self, *shape) -> Array:
        """The same elements in another shape, in the same memory where that can be; one length may be -1.

        Raises ValueError where the sizes differ.
        """
        wanted = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape)
        if -1 in wanted:
            rest = -math.prod(wanted)
            wanted[wanted.index(-1)] = self.size // rest if rest > 0 else 0
        if math.prod(wanted) != self.size or min(wanted, default=0) < 0:
            raise ValueError(f"cannot reshape an array of shape {self.shape} to {tuple(shape)}")
        if self._strides is None:
            return Array(self.device, tuple(wanted), self.dtype, self.owner, self.pointer)
        strides = _regrouped(self.shape, self._strides, wanted)
        if strides is None:
            return self.contiguous().reshape(wanted)
        return Array(self.device, tuple(wanted), self.dtype, self.owner, self.pointer, strides)

    def transpose(self, *axes) -> Array:
        """The axes in another order, by default the reverse one, in the same memory."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], (int, np.integer)) else axes
        return viewed(self, lambda x: x.transpose(order or None))

    def swapaxes(self, axis0: int, axis1: int) -> Array:
        """Two axes exchanged, in the same memory."""
        return viewed(self, lambda x: x.swapaxes(axis0, axis1))

    @property
    def T(self) -> Array:
        return self.transpose()

    def __getitem__(self, index: Any) -> Array:
        """A view: integers, slices, None and Ellipsis."""
        parts = index if isinstance(index, tuple) else (index,)
        if not any(part is Ellipsis for part in parts):
            parts = (*parts, Ellipsis)  # of all integers NumPy makes a number, which it would have to read
        return viewed(self, lambda x: x[parts])

    # To the CPU

    def numpy(self) -> np.ndarray:
        """A copy on the CPU."""
        return self.device.download(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError(
            f"an Array on {self.device} does not become one of NumPy unasked, for that copies it to the CPU; "
            "write x.numpy()"
        )

    def __repr__(self) -> str:
        return f"Array(shape={self.shape}, dtype={self.dtype}, device={str(self.device)!r})"


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
    y = view(shadow(x))
    return Array(x.device, y.shape, x.dtype, x.owner, y.__array_interface__["data"][0], y.strides)


def _regrouped(shape: tuple[int, ...], strides: tuple[int, ...], wanted: list[int]) -> list[int] | None:
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
