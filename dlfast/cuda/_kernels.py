"""Kernels of one's own: arrays for them, and their machine code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._devices import _host_device, get_device
from ._status import INSTALL, NEEDED, _version, is_available

if TYPE_CHECKING:
    from ..kernels.cuda.compiler import Cubin
    from ..kernels.cuda.device import Array


def array(x: Any, dtype: Any = None, device: Any = None) -> Array:
    """An array for kernels, with the values of x; ``.numpy()`` gives a copy back.

    x: an array of another library on that GPU (of CuPy, PyTorch, Numba) stays where it is, and what one writes, the
    other sees; anything else is copied.
    device: where it lies; None for the current GPU, and for the host where there is none.
    """
    from ..kernels.cuda.array import Array

    if isinstance(x, Array):
        return (x if device is None or x.device is _place(device) else _place(device).upload(x.numpy())).astype(
            x.dtype if dtype is None else dtype
        )
    if (found := foreign(x)) is not None:
        return found if dtype is None else found.astype(dtype, copy=False)
    return _place(device).upload(np.array(x, dtype=dtype, order="C"))


def foreign(x: Any) -> Array | None:
    """An array of another library that lies on a GPU, in its memory; None for anything else."""
    from ..kernels.cuda import array_exchange as exchange
    from ..kernels.cuda.array import Array

    if hasattr(x, "__dlpack_device__") and int(x.__dlpack_device__()[0]) in (exchange.GPU, exchange.MANAGED):
        return Array.from_dlpack(x, get_device(f"cuda:{int(x.__dlpack_device__()[1])}"))
    if hasattr(x, "__cuda_array_interface__"):
        return exchange.from_interface(x, get_device(None), Array)
    return None


def empty(shape: int | tuple[int, ...], dtype: Any = np.float32, device: Any = None) -> Array:
    """An array for kernels to write; on the host it is NaN as yet."""
    return _place(device).empty((shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype))


def _place(device: Any) -> Any:
    return _host_device(0) if device is None and not is_available() else get_device(device)


def run_backwards(on: bool = True) -> None:
    """Let the host run the threads of kernels from the last to the first: a missing barrier changes a result."""
    _host_device(0)
    from ..kernels.cuda import fibers

    fibers.run_backwards(on)


def build(kernel_: Any, capability: tuple[int, int] = (9, 0), dtype: Any = np.float32) -> Cubin:
    """The machine code of a kernel for GPUs of a compute capability, with its registers and spills; no GPU is needed.

    Raises ImportError where the compiler is missing, ValueError for a capability before 8.0.
    """
    if tuple(capability) < (8, 0):
        raise ValueError(f"build: capability must be (8, 0) or later, got {tuple(capability)}")
    if missing := [name for name in NEEDED if _version(name) is None]:
        raise ImportError(f"build: {' and '.join(missing)} are missing; {INSTALL}")
    from ..kernels.cuda import compiler

    return compiler.compile_kernel(kernel_, np.dtype(dtype), tuple(capability))
