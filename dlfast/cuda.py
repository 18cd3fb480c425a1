"""CUDA kernels in Python: written, run and checked without a GPU, and compiled for one. Layers compute on CPUs as yet.

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

It runs on the host, which plays a GPU: the threads of a block take turns at barriers and shuffles, a barrier that not
all reach and a shuffle in divergent code are errors, shared memory and fresh arrays are NaN, and an access past the end
of an array is a fault. `build` makes machine code of it for any GPU since Ampere. The letters of the arguments and the
words stand in `dlfast.kernels.cuda.dialect`.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .kernels.cuda.dialect import cuda, device, f64, i32, i64, kernel, load4, real, shuffle_xor, store4

if TYPE_CHECKING:
    from .kernels.cuda.compiler import Cubin
    from .kernels.cuda.device import Array

__all__ = ["Status", "array", "build", "cuda", "device", "device_count", "empty", "f64", "i32", "i64", "is_available",
           "kernel", "load4", "real", "run_backwards", "shuffle_xor", "status", "store4"]  # fmt: skip

_PACKAGES = ("numba-cuda", "cuda-core")
_INSTALL = "install dlfast with its extra `cuda`"


class Status(NamedTuple):
    """What CUDA has here. driver: whether it answers; devices: how many it has; packages: version or None of each."""

    driver: bool
    devices: int
    packages: dict[str, str | None]
    reason: str

    def __str__(self) -> str:
        found = ", ".join(f"{name} {number or 'missing'}" for name, number in self.packages.items())
        return f"{self.reason} (driver: {'yes' if self.driver else 'no'}, devices: {self.devices}, {found})"


def status() -> Status:
    """What is there of CUDA, and why layers cannot compute on a GPU."""
    driver, devices, trouble = _driver()
    packages = {name: _version(name) for name in _PACKAGES}
    if not trouble and None in packages.values():
        trouble = f"the compiler of kernels is not installed: {_INSTALL}"
    reason = trouble or "this version runs layers on CPUs only; kernels of one's own are built for GPUs"
    return Status(driver, devices, packages, reason)


def _driver() -> tuple[bool, int, str]:
    """Whether the driver answers, its devices, and what is wrong with it."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False, 0, "no driver of NVIDIA is installed (libcuda.so.1 is not found)"
    count = ctypes.c_int()
    code = library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count))
    if code:
        return False, 0, f"the driver does not start: CUDA error {code}"
    return True, count.value, "" if count.value else "the driver finds no GPU"


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # 20 ms

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def is_available() -> bool:
    """Whether models can compute on a GPU: not in this version; `status` says what is there."""
    return False


def device_count() -> int:
    """How many GPUs models can compute on: none in this version."""
    return 0


def array(x: Any, dtype: Any = None) -> Array:
    """An array for kernels, with the values of x; ``.numpy()`` gives a copy back."""
    return _host().upload(np.array(x, dtype=dtype, order="C"))


def empty(shape: int | tuple[int, ...], dtype: Any = np.float32) -> Array:
    """An array for kernels to write; NaN as yet."""
    return _host().empty((shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype))


def run_backwards(on: bool = True) -> None:
    """Let the threads of kernels run from the last to the first: a missing barrier changes the result in one order."""
    _host()
    from .kernels.cuda import fibers

    fibers.run_backwards(on)


def build(kernel_: Any, capability: tuple[int, int] = (9, 0), dtype: Any = np.float32) -> Cubin:
    """The machine code of a kernel for GPUs of a compute capability, with its registers and spills; no GPU is needed.

    Raises ImportError where the compiler is missing, ValueError for a capability before 8.0.
    """
    if tuple(capability) < (8, 0):
        raise ValueError(f"build: capability must be (8, 0) or later, got {tuple(capability)}")
    if missing := [name for name in _PACKAGES if _version(name) is None]:
        raise ImportError(f"build: {' and '.join(missing)} are missing; {_INSTALL}")
    from .kernels.cuda import compiler

    return compiler.compile_kernel(kernel_, np.dtype(dtype), tuple(capability))


def _host():
    """The device that is the host. ImportError without Numba."""
    try:
        from .kernels.cuda.device import host_device
    except ImportError as error:
        raise ImportError(f"dlfast.cuda: kernels run on the host by Numba, and not on Windows: {error}") from error
    return host_device()
