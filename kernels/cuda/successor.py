"""The words of kernels for numba-cuda-mlir, the successor of numba-cuda, which compiles them in its place.

``DLFAST_CUDA_COMPILER=numba-cuda-mlir`` chooses it. It is young: `tests/cuda/test_cuda_successor.py` has the list of
kernels that it does not compile as they should be, with reasons.
"""

from __future__ import annotations

import numba_cuda_mlir.tools
import numpy as np
from numba_cuda_mlir import cuda, types

from .dialect import Kernel, bind, real_dtype

_ALL_LANES = 0xFFFFFFFF


@cuda.jit(device=True)
def load4(p, i):
    v = cuda.vector.load(p, i, 4, 16)
    return v.x, v.y, v.z, v.w


@cuda.jit(device=True)
def store4(p, i, a, b, c, d):
    cuda.vector.store(p, i, cuda.float32x4(a, b, c, d), 16)


@cuda.jit(device=True)
def shuffle_xor(value, mask):
    return cuda.shfl_xor_sync(_ALL_LANES, value, mask)


def _kinds(dtype: np.dtype) -> dict:
    real, pointer = getattr(types, str(real_dtype(dtype))), types.CPointer
    numbers = {kind: pointer(real) for kind in "pus"}
    others = {"r": types.float32, "d": types.float64, "l": types.int64, "j": types.int32, "b": types.uint8}
    whole = {"f": real, "i": types.int32, "w": types.int64}
    return numbers | {kind: pointer(number) for kind, number in others.items()} | whole


def intermediate(kernel: Kernel, dtype: np.dtype, capability: tuple[int, int]) -> bytes:
    """LTO-IR of a kernel. Raises TypeError for other arrays than those of float32, which its wide accesses are for."""
    if dtype != np.float32:
        raise TypeError(f"kernel {kernel.name}: numba-cuda-mlir compiles kernels for float32 here, got {dtype}")
    numba_cuda_mlir.tools._cached_cc = capability  # else it asks the driver, though the capability is given
    kinds = _kinds(dtype)
    meanings = {"cuda": cuda, "load4": load4, "store4": store4, "shuffle_xor": shuffle_xor, "real": kinds["f"],
                "i32": types.int32, "i64": types.int64, "f64": types.float64}  # fmt: skip
    body = bind(kernel.function, meanings, lambda f: cuda.jit(device=True)(f))
    signature = tuple(kinds[kind] for kind in kernel.kinds)
    code, _ = cuda.compile(
        body, signature, device=False, cc=capability, abi="numba", abi_info={"abi_name": kernel.name},
        output="ltoir", fastmath=False, launch_bounds=kernel.bounds,
    )  # fmt: skip
    return code
