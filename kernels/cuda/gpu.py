"""A GPU: its memory, its streams, and the launches of kernels on it, over cuda.core and the driver.

Everything is given to the current stream of the thread and not waited for, but for `download` and `synchronize`. The
device's context is entered by each call, for it belongs to a thread, and other libraries change it.
"""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from ..capturing import LOCAL as CAPTURING
from ..capturing import refuse_upload, refuse_waiting
from ..memory import MemoryStats
from . import compiler
from .array import Array
from .constants import Constants
from .dialect import Kernel
from .gpu_memory import DeviceMemory, PinnedMemoryOfCpu
from .launches import Loaded, check_grid
from .libraries import Libraries
from .memory import Block, Pool
from .pinned import PinnedMemory, is_pageable, pinned_owner
from .streams import Event, Stream


class _Current(threading.local):
    stream: Stream | None = None  # of this thread, None for the device's own


class Gpu(Libraries):
    """A GPU, by its number. `name`, `capability`, `memory` (bytes) and `multiprocessors` say what it is."""

    records = True  # graphs, instead of calling their functions again

    strict = False  # indices are not looked at: the CPU would have to wait

    def __init__(self, index: int):
        from cuda.bindings import driver
        from cuda.core import LEGACY_DEFAULT_STREAM, Device

        self.index, self.driver = index, driver
        self._device = Device(index)
        self._device.set_current()
        self.context = self._device.context.handle
        self.name, self.capability = self._device.name, tuple(self._device.compute_capability)
        self.multiprocessors = self._device.properties.multiprocessor_count
        self.memory = self.memory_info()[1]
        self.default_stream = Stream(self, LEGACY_DEFAULT_STREAM)
        self.pool = Pool(DeviceMemory(self), str(self))
        self._pinned = Pool(PinnedMemoryOfCpu(self), "pinned memory")
        self._current, self._load_lock = _Current(), threading.Lock()
        self._table_stream = Stream(self, self._device.create_stream())
        self._constants = Constants(self._upload_at_once)
        self._several_streams = False
        self._sent: list[tuple[Event, Any]] = []  # what uploads from pinned memory still read

    def __str__(self) -> str:
        return f"cuda:{self.index}"

    def __repr__(self) -> str:
        return f"<{self}, {self.name}>"

    def enter(self) -> None:
        """Make this device's context the thread's."""
        self.check(self.driver.cuCtxSetCurrent(self.context))

    def check(self, answer: tuple) -> Any:
        """What a call of the driver returned. Raises RuntimeError for an error of it."""
        if answer[0]:
            _, text = self.driver.cuGetErrorString(answer[0])
            raise RuntimeError(
                f"{self}: {answer[0].name}: {text.decode()}. A kernel's mistake shows at a later call; with "
                "DLFAST_CUDA=host it is caught where it happens"
            )
        return answer[1] if len(answer) == 2 else answer[1:]

    # Memory

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """An array that nobody has written."""
        array = Array(self, shape, dtype, None, 0)
        capture = self._capture()
        pool = self.pool if capture is None else capture.of_device.pool
        block = pool.take(array.nbytes, self.current_stream)
        array.owner, array.pointer = block, block.pointer
        return array

    def upload(self, x: np.ndarray, non_blocking: bool = False) -> Array:
        """A copy of an array of NumPy. The caller may change x afterwards, whatever memory it lies in.

        non_blocking: from pinned memory (`pinned_empty`), return before it has been read: leave x as it is until then.
        """
        array = self.empty(x.shape, x.dtype)
        self.write(array, x, non_blocking)
        return array

    def write(self, array: Array, x: np.ndarray, non_blocking: bool = False) -> None:
        """Copy an array of NumPy into a contiguous one of its size and dtype here; see `upload`."""
        refuse_upload(self)
        if not x.size:
            return
        x = np.ascontiguousarray(x)
        stream = self._using(array)
        self.enter()
        self.check(self.driver.cuMemcpyHtoDAsync(array.pointer, x.ctypes.data, x.nbytes, stream.handle))
        if non_blocking and pinned_owner(x) is not None:
            self._sent = [(event, kept) for event, kept in self._sent if not event.query()]
            self._sent.append((stream.record(), x))
        elif not is_pageable(x):  # the driver has read pageable memory when it returns
            stream.synchronize()

    def constant(self, x: np.ndarray) -> Array:
        """An array with the values of a table that follows from shapes; kept, and not to be written to."""
        return self._constants.find(x)

    def _upload_at_once(self, x: np.ndarray) -> Array:
        """A copy that all streams may read, in a captured graph or not."""
        stream = self._table_stream
        block = self.pool.take(x.nbytes, stream)
        if x.size:
            x = np.ascontiguousarray(x)
            self.enter()
            self.check(self.driver.cuMemcpyHtoDAsync(block.pointer, x.ctypes.data, x.nbytes, stream.handle))
            stream.synchronize()
        block.used_by(self.default_stream)
        return Array(self, x.shape, x.dtype, block, block.pointer)

    def download(self, array: Array) -> np.ndarray:
        """A copy on the CPU, after all work that this thread has given."""
        refuse_waiting(self, "read an array")
        array = array if array.is_contiguous else array.contiguous()
        x = np.empty(array.shape, array.dtype)
        if x.size:
            stream = self._using(array)
            self.enter()
            self.check(self.driver.cuMemcpyDtoHAsync(x.ctypes.data, array.pointer, x.nbytes, stream.handle))
            stream.synchronize()
        return x

    def copy(self, source: Array, target: Array) -> None:
        """Copy a contiguous array's bytes into another one of its size, which may lie on another GPU."""
        if not source.nbytes or self._renewing():
            return
        if source.device is not target.device:
            self._copy_across(source, target)
            return
        stream = self._using(source, target)
        self.enter()
        self.check(self.driver.cuMemcpyDtoDAsync(target.pointer, source.pointer, source.nbytes, stream.handle))

    def _copy_across(self, source: Array, target: Array) -> None:
        """Between two GPUs, in the order of both their streams."""
        here, there = source.device._using(source), target.device._using(target)
        there.wait(here)
        target.device.enter()
        where = target.pointer, target.device.context, source.pointer, source.device.context
        self.check(self.driver.cuMemcpyPeerAsync(*where, source.nbytes, there.handle))
        here.wait(there)

    def fill(self, array: Array, value: int) -> None:
        """Set every byte of a contiguous array."""
        if array.nbytes and not self._renewing():
            stream = self._using(array)
            self.enter()
            self.check(self.driver.cuMemsetD8Async(array.pointer, value, array.nbytes, stream.handle))

    def pinned_empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """An array of NumPy in pinned memory, from which `upload` need not wait."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        memory = PinnedMemory(self._pinned.take(nbytes), nbytes)
        return np.asarray(memory).view(dtype).reshape(shape)

    def memory_info(self) -> tuple[int, int]:
        """Free memory and all of it, in bytes, as the driver counts it."""
        self.enter()
        free, total = self.check(self.driver.cuMemGetInfo())
        return free, total

    def memory_stats(self) -> MemoryStats:
        """What the pool of this device holds."""
        return self.pool.stats()

    def release(self) -> int:
        """Give the pool's free memory back to the driver; the bytes."""
        return self.pool.release() + self._pinned.release()

    # Work

    def launch(self, kernel: Kernel, grid, block, arguments: tuple, dtype: np.dtype) -> None:
        """Run a kernel: compiled for this GPU at its first launch here, and from then on found in `compiled`."""
        loaded = kernel.compiled.get((self.index, dtype)) or self._load(kernel, dtype)
        check_grid(kernel, grid, block)
        if self._renewing():
            return
        stream = self.current_stream
        if self._several_streams or CAPTURING.capture is not None:
            self._using(*(a for a in arguments if isinstance(a, Array)))
        cells = loaded.cells(arguments)
        self.enter()
        answer = self.driver.cuLaunchKernel(loaded.handle, *grid, *block, 1, 0, stream.handle, cells.address, 0)
        loaded.spare.append(cells)
        if answer[0]:
            self.check(answer)

    def _load(self, kernel: Kernel, dtype: np.dtype) -> Loaded:
        with self._load_lock:
            if (self.index, dtype) not in kernel.compiled:
                self.enter()
                cubin = compiler.compile_kernel(kernel, dtype, self.capability)
                kernel.compiled[self.index, dtype] = Loaded(self.driver, kernel, dtype, cubin.code)
            return kernel.compiled[self.index, dtype]

    def synchronize(self) -> None:
        """Wait for all work of all streams."""
        refuse_waiting(self, "wait for the device")
        self.enter()
        self.check(self.driver.cuCtxSynchronize())

    # Streams

    @property
    def current_stream(self) -> Stream:
        """The stream that takes this thread's work."""
        return self._current.stream or self.default_stream

    def for_library(self, *arrays: Array) -> int | None:
        """The address of the stream for a library's work on these arrays, the context entered; None for no work."""
        if self._renewing():
            return None
        stream = self._using(*arrays)
        self.enter()
        return int(stream.handle)

    def set_stream(self, stream: Stream | None) -> Stream | None:
        """Let a stream take this thread's work, None for the device's own; the one before."""
        before, self._current.stream = self._current.stream, stream
        return before

    def new_stream(self) -> Stream:
        self.enter()
        self._several_streams = True
        return Stream(self, self._device.create_stream())

    def foreign_stream(self, handle: int) -> Stream:
        """Another library's stream, by its address."""
        from cuda.core import Stream as Core

        self.enter()
        self._several_streams = True
        return Stream(self, Core.from_handle(handle))

    def new_event(self, timing: bool = False) -> Event:
        from cuda.core import EventOptions

        self.enter()
        return Event(self, self._device.create_event(EventOptions(timing_enabled=timing)))

    def _using(self, *arrays: Array) -> Stream:
        """The current stream, which these arrays' blocks now know of; a capture keeps those that it has not made."""
        stream, capture = self.current_stream, self._capture()
        for array in arrays:
            owner = array.owner
            if isinstance(owner, Block):
                owner.used_by(stream)
            if capture is not None and getattr(owner, "pool", None) is not capture.of_device.pool:
                capture.of_device.kept.append(owner)
        return stream

    # Graphs

    def _capture(self) -> Any:
        """The capture of this thread on this device, while it records."""
        capture = CAPTURING.capture
        return capture if capture is not None and capture.recording and capture.device is self else None

    def _renewing(self) -> bool:
        """Whether Python runs for the numbers of a replay alone: then nothing reaches the device."""
        return CAPTURING.capture is not None and not CAPTURING.capture.recording

    def begin_capture(self, capture: Any) -> None:
        """Let this thread's work be recorded instead of done."""
        stream = self.new_stream()
        capture.of_device = _Recording(
            self.pool.private(), stream._core.create_graph_builder(), self.set_stream(stream)
        )
        capture.of_device.builder.begin_building("relaxed")

    def end_capture(self, capture: Any) -> Recorded:
        """What has been recorded."""
        recording = capture.of_device
        self.set_stream(recording.before)
        self.enter()
        return Recorded(self, recording, recording.builder.end_building().complete())

    def abandon_capture(self, capture: Any) -> None:
        """Forget what has been recorded, and what was not allowed in it."""
        recording = capture.of_device
        self.set_stream(recording.before)
        self.enter()
        with suppress(Exception):  # the driver calls a capture invalid in which it refused something; that is raised
            recording.builder.end_building()
        recording.builder.close()
        recording.pool.close()


class _Recording:
    """A capture under way: the memory that it works in, what records it, and the stream to go on with afterwards."""

    def __init__(self, pool: Pool, builder: Any, before: Stream | None):
        self.pool, self.builder, self.before = pool, builder, before
        self.kept: list = []  # memory of others that the graph reads or writes


class Recorded:
    """A graph of the driver, its memory, and the stream that it last ran on."""

    def __init__(self, device: Gpu, recording: _Recording, graph: Any):
        self._device, self._recording, self._graph = device, recording, graph
        self._last: tuple[Stream, Event] | None = None

    def launch(self) -> None:
        """Do the work once more, after that of the time before."""
        stream = self._device.current_stream
        if self._last is not None and self._last[0] is not stream:
            stream.wait(self._last[1])
        self._device.enter()
        self._graph.launch(stream._core)
        self._last = stream, stream.record()

    def __del__(self) -> None:
        if self._last is not None:
            self._last[1].synchronize()
        self._recording.pool.close()


@cache
def gpu(index: int) -> Gpu:
    """The one `Gpu` of a number."""
    return Gpu(index)
