"""The device that is the host."""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..capturing import LOCAL as CAPTURING
from ..capturing import refuse_upload, refuse_waiting
from ..memory import MemoryStats
from . import fibers, host
from .array import Array
from .array_views import ALIGNMENT, shadow
from .constants import Constants
from .dialect import Kernel
from .launches import check_grid
from .packing import Packing
from .streams import HostEvent, HostStream


class Host:
    """Plays a GPU on the CPU: kernels run on fibers, and every array ends where memory may not be touched.

    A read or a write past the end of an array ends the process with a fault at once, and what nobody wrote is NaN.
    Work is done when it is given, and streams are names only. `records`: whether graphs are recorded and replayed, as
    a GPU does it, or their functions are called again.
    """

    name = "the host"
    index = 0
    cublas = cudnn = None  # see `libraries.Libraries`
    no_cublas = no_cudnn = "the CPU plays the GPU"
    records = False
    strict = True  # an index out of bounds is an error, which a GPU would have to be waited for
    dlpack_device = (1, 0)  # of DLPack: its memory is the CPU's

    def __init__(self) -> None:
        self._protect = ctypes.CDLL(None).mprotect
        self._protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        self._counts = _Counts()
        self._constants = Constants(self._upload_at_once)
        self.default_stream = HostStream(self)
        self._stream: HostStream | None = None

    def __str__(self) -> str:
        return f"cuda:{self.index}"

    def __repr__(self) -> str:
        return f"<{self}, played by the CPU>"

    def for_library(self, *arrays: Array) -> int | None:
        """See `Gpu.for_library`; for the libraries of tests."""
        return 0

    # Memory

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """An array that nobody has written: NaN."""
        array = Array(self, shape, dtype, None, 0)
        used = -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        pages = -(-max(used, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        if self._protect(base + pages, mmap.PAGESIZE, 0):
            raise MemoryError(f"no memory for an array of {array.nbytes} bytes")
        ctypes.memset(base, 0xFF, pages)
        array.owner, array.pointer = _Pages(memory, base, pages, self._protect, self._counts), base + pages - used
        return array

    def view(self, array: Array) -> np.ndarray:
        """The array's memory as an array of NumPy."""
        return shadow(array)

    def upload(self, x: np.ndarray, non_blocking: bool = False) -> Array:
        """A copy of an array of NumPy."""
        array = self.empty(x.shape, x.dtype)
        self.write(array, x)
        return array

    def write(self, array: Array, x: np.ndarray, non_blocking: bool = False) -> None:
        """Copy an array of NumPy into one of its size and dtype here."""
        refuse_upload(self)
        self.view(array)[...] = x

    def constant(self, x: np.ndarray) -> Array:
        """An array with the values of a table that follows from shapes; kept, and not to be written to."""
        return self._constants.find(x)

    def _upload_at_once(self, x: np.ndarray) -> Array:
        array = self.empty(x.shape, x.dtype)
        self.view(array)[...] = x
        return array

    def download(self, array: Array) -> np.ndarray:
        """A copy on the CPU."""
        refuse_waiting(self, "read an array")
        return self.view(array).copy(order="C")

    def fill(self, array: Array, value: int) -> None:
        """Set every byte of a contiguous array."""
        self._do((array,), ctypes.memset, array.pointer, value, array.nbytes)

    def copy(self, source: Array, target: Array) -> None:
        """Copy a contiguous array's bytes into another one of its size."""
        self._do((source, target), ctypes.memmove, target.pointer, source.pointer, source.nbytes)

    def pinned_empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """An array of NumPy; the host has no need of pinned memory."""
        return np.empty(shape, dtype)

    def memory_stats(self) -> MemoryStats:
        """What arrays here hold; nothing is kept."""
        counts = self._counts
        return MemoryStats(counts.in_use, 0, counts.peak, 0, counts.made, counts.freed)

    def release(self) -> int:
        """Nothing is kept; only the peak is counted anew."""
        self._counts.peak = self._counts.in_use
        return 0

    # Work

    def launch(self, kernel: Kernel, grid, block, arguments: tuple, dtype: np.dtype) -> None:
        """Run a kernel, compiled at its first launch."""
        check_grid(kernel, grid, block)
        made = kernel.compiled.get(("host", dtype))
        if made is None:
            made = kernel.compiled["host", dtype] = host.compile_kernel(kernel, dtype), Packing(kernel, dtype)
        entry, packing = made
        cells = np.empty(packing.count, np.int64)
        packing.into(cells, arguments)
        self._do(arguments, fibers.launch, kernel.name, entry.address, cells, grid, block)

    def _do(self, kept: tuple, function: Callable, *arguments: Any) -> None:
        """Do a piece of work; while a graph is captured, note it, and for a replay's numbers alone, do nothing."""
        if CAPTURING.capture is None:
            function(*arguments)
        elif CAPTURING.capture.recording:
            CAPTURING.capture.of_device.append((function, arguments, [a.owner for a in kept if isinstance(a, Array)]))

    def synchronize(self) -> None:
        """Wait for the work that has been given: none is ever left."""
        refuse_waiting(self, "wait for the device")

    # Streams

    @property
    def current_stream(self) -> HostStream:
        return self._stream or self.default_stream

    def set_stream(self, stream: HostStream | None) -> HostStream | None:
        before, self._stream = self._stream, stream
        return before

    def new_stream(self) -> HostStream:
        return HostStream(self)

    def new_event(self, timing: bool = False) -> HostEvent:
        return HostEvent(self)

    # Graphs

    def begin_capture(self, capture: Any) -> None:
        """Let this thread's work be noted instead of done."""
        capture.of_device = []

    def end_capture(self, capture: Any) -> Recorded:
        """What has been noted."""
        return Recorded(capture.of_device)

    def abandon_capture(self, capture: Any) -> None:
        """Forget what has been noted."""


class Recorded:
    """Work that has been noted, with the memory that it reads and writes."""

    def __init__(self, work: list):
        self._work = work

    def launch(self) -> None:
        """Do it once more, with the same arguments."""
        for function, arguments, _ in self._work:
            function(*arguments)


class _Counts:
    """Arrays and their bytes."""

    def __init__(self) -> None:
        self.in_use = self.peak = self.made = self.freed = 0
        self.lock = threading.Lock()


class _Pages:
    """Memory whose last page is given back its rights before it is freed."""

    def __init__(self, memory: mmap.mmap, base: int, pages: int, protect: Any, counts: _Counts):
        self._memory, self._end, self._protect = memory, base + pages, protect
        self._counts, self._size = counts, pages
        with counts.lock:
            counts.in_use += pages
            counts.peak = max(counts.peak, counts.in_use)
            counts.made += 1

    def __del__(self, page: int = mmap.PAGESIZE, rights: int = mmap.PROT_READ | mmap.PROT_WRITE) -> None:
        self._protect(self._end, page, rights)  # at the end of the process `mmap` is gone
        self._counts.in_use -= self._size
        self._counts.freed += 1


@cache
def host_device() -> Host:
    """The one device that is the host."""
    return Host()
