"""CUDA: NVIDIA GPUs, and kernels for them in Python, which are written, run and checked without a GPU too.

`get_device("cuda:0")` gives a device, or says exactly why it cannot be had; `status()` says what is there. With
``DLFAST_CUDA=host`` in the environment, or in a ``with dlfast.cuda.host():``, the CPU plays the GPU: everything that
runs on "cuda" runs there, slowly and strictly.

A kernel is a function in the CUDA dialect of Numba whose arguments are raw pointers and sizes::

    from dlfast.cuda import array, cuda, empty, kernel, real

    @kernel("ppi")                              # two pointers to numbers and an int32
    def double(x, y, n):
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        if i < n:
            y[i] = real(2) * x[i]

    x, y = array(values), empty(values.shape)
    double((blocks, 1, 1), 128, x, y, n)        # grid, threads of a block, arguments
    y.numpy()

Without a GPU it runs on the host, which plays one: the threads of a block take turns at barriers and shuffles, a
barrier that not all reach and a shuffle in divergent code are errors, shared memory and fresh arrays are NaN, and an
access past the end of an array is a fault. `build` makes machine code of it for any GPU since Ampere. The letters of
the arguments and the words stand in `dlfast.kernels.cuda.dialect`.
"""

from ..kernels.cuda.dialect import cuda, f64, i32, i64, kernel, load4, real, shuffle_xor, store4
from ..kernels.cuda.tf32 import allow_tf32, tf32_is_allowed
from ._devices import current_device, device, get_device, host, set_device
from ._graph import graph
from ._kernels import array, build, empty, run_backwards
from ._status import DeviceInfo, Status, device_count, is_available, status
from ._streams import Event, Stream, current_stream, empty_cache, memory_stats, pinned_empty, stream, synchronize

__all__ = [
    "DeviceInfo", "Event", "Status", "Stream", "allow_tf32", "array", "build", "cuda", "current_device",
    "current_stream", "device", "device_count", "empty", "empty_cache", "f64", "get_device", "graph", "host",
    "i32", "i64", "is_available", "kernel", "load4", "memory_stats", "pinned_empty", "real", "run_backwards",
    "set_device", "shuffle_xor", "status", "store4", "stream", "synchronize", "tf32_is_allowed",
]  # fmt: skip
