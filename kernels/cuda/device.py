"""Arrays on a device, and the device that is the host."""

from __future__ import annotations

import ctypes
import math
import mmap
from functools import cache
from typing import Any

import numpy as np

from . import fibers, host
from .dialect import Kernel

ALIGNMENT = 16  # of what kernels read and write four numbers at a time


class Array:
    """A contiguous array on a device: an address, a shape, a dtype and the owner of the memory."""

    __slots__ = ("device", "dtype", "owner", "pointer", "shape")

    def __init__(self, device: Any, shape: tuple[int, ...], dtype: Any, owner: Any, pointer: int):
        self.device, self.shape, self.dtype = device, tuple(shape), np.dtype(dtype)
        self.owner, self.pointer = owner, pointer

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def numpy(self) -> np.ndarray:
        """A copy on the host."""
        return self.device.download(self)

    def reshape(self, *shape) -> Array:
        """The same memory in another shape; one length may be -1. Raises ValueError where the sizes differ."""
        wanted = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
        if -1 in wanted:
            rest = -math.prod(wanted)
            wanted[wanted.index(-1)] = self.size // rest if rest > 0 else 0
        if math.prod(wanted) != self.size:
            raise ValueError(f"cannot reshape an array of shape {self.shape} to {tuple(shape)}")
        return Array(self.device, tuple(wanted), self.dtype, self.owner, self.pointer)

    def rows(self, first: int, end: int) -> Array:
        """Rows first to end - 1 of the first axis, in the same memory."""
        step = self.nbytes // len(self) if len(self) else 0
        return Array(self.device, (end - first, *self.shape[1:]), self.dtype, self.owner, self.pointer + first * step)

    def __repr__(self) -> str:
        return f"Array(shape={self.shape}, dtype={self.dtype}, device={self.device.name!r})"


class Host:
    """Plays a GPU on the CPU: kernels run on fibers, and every array ends where memory may not be touched.

    A read or a write past the end of an array ends the process with a fault at once, and what nobody wrote is NaN.
    """

    name = "cuda (host)"

    def __init__(self) -> None:
        self._protect = ctypes.CDLL(None).mprotect
        self._protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        array = Array(self, shape, dtype, None, 0)
        used = -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        pages = -(-max(used, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        if self._protect(base + pages, mmap.PAGESIZE, 0):
            raise MemoryError(f"no memory for an array of {array.nbytes} bytes")
        ctypes.memset(base, 0xFF, pages)
        array.owner, array.pointer = _Pages(memory, base, pages, self._protect), base + pages - used
        return array

    def view(self, array: Array) -> np.ndarray:
        """The array's memory as an array of NumPy."""
        if not array.size:
            return np.empty(array.shape, array.dtype)
        data = (ctypes.c_char * array.nbytes).from_address(array.pointer)
        return np.frombuffer(data, array.dtype).reshape(array.shape)

    def upload(self, x: np.ndarray) -> Array:
        array = self.empty(x.shape, x.dtype)
        self.view(array)[...] = x
        return array

    def download(self, array: Array) -> np.ndarray:
        return self.view(array).copy()

    def fill(self, array: Array, value: int) -> None:
        """Set every byte."""
        ctypes.memset(array.pointer, value, array.nbytes)

    def copy(self, source: Array, target: Array) -> None:
        ctypes.memmove(target.pointer, source.pointer, source.nbytes)

    def launch(self, kernel: Kernel, grid, block, arguments: tuple, dtype: np.dtype) -> None:
        entry = kernel.compiled.get(("host", dtype))
        if entry is None:
            entry = kernel.compiled["host", dtype] = host.compile_kernel(kernel, dtype)
        fibers.launch(kernel.name, entry.address, cells(kernel, arguments, dtype), grid, block)


class _Pages:
    """Memory whose last page is given back its rights before it is freed."""

    def __init__(self, memory: mmap.mmap, base: int, pages: int, protect: Any):
        self._memory, self._end, self._protect = memory, base + pages, protect

    def __del__(self) -> None:
        self._protect(self._end, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE)


def cells(kernel: Kernel, arguments: tuple, dtype: np.dtype) -> np.ndarray:
    """Each argument in 64 bits. Raises TypeError for an array of another dtype than the first one's."""
    values = np.zeros(len(arguments), np.int64)
    for j, (kind, value) in enumerate(zip(kernel.kinds, arguments, strict=True)):
        if kind == "f":
            values[j : j + 1].view(dtype)[0] = value
        elif kind in "iw":
            values[j] = value
        elif value is not None:
            values[j] = _address(kernel, value, kind, dtype)
    return values


_DTYPES = {"d": np.dtype(np.float64), "l": np.dtype(np.int64), "j": np.dtype(np.int32), "b": np.dtype(np.uint8)}


def _address(kernel: Kernel, array: Array, kind: str, dtype: np.dtype) -> int:
    wanted = _DTYPES.get(kind, dtype)
    if array.dtype != wanted or (kind != "u" and array.pointer % ALIGNMENT):
        raise TypeError(f"kernel {kernel.name}: expected an aligned array of {wanted}, got {array!r}")
    return array.pointer


@cache
def host_device() -> Host:
    """The one device that is the host."""
    return Host()
