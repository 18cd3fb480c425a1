"""The device that is the host."""

from __future__ import annotations

import ctypes
import mmap
from functools import cache
from typing import Any

import numpy as np

from . import fibers, host
from .array import ALIGNMENT, Array, shadow
from .dialect import Kernel


class Host:
    """Plays a GPU on the CPU: kernels run on fibers, and every array ends where memory may not be touched.

    A read or a write past the end of an array ends the process with a fault at once, and what nobody wrote is NaN.
    """

    name = "the host"
    index = 0
    stream_handle = 0
    cublas = None  # see `libraries.Libraries`

    def __str__(self) -> str:
        return f"cuda:{self.index}"

    def __repr__(self) -> str:
        return f"<{self}, played by the CPU>"

    def synchronize(self) -> None:
        """Wait for the work that has been asked for: none is ever left."""

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
        return shadow(array)

    def upload(self, x: np.ndarray) -> Array:
        array = self.empty(x.shape, x.dtype)
        self.view(array)[...] = x
        return array

    def download(self, array: Array) -> np.ndarray:
        return self.view(array).copy(order="C")

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
