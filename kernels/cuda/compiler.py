"""Compiles CUDA kernels to machine code of a GPU (a cubin), without a GPU: the one door to CUDA's compilers.

numba-cuda makes LTO-IR of a kernel, and the linker of `cuda.core` machine code of that. The code is kept on disk, by
source, compute capability and versions. Install dlfast with its extra `cuda`. With numba-cuda-mlir in the place of
numba-cuda, ``DLFAST_CUDA_COMPILER=numba-cuda-mlir`` (`successor.py`).
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import folder
from .dialect import Kernel, bind
from .kinds import kind_types

OLDEST = (8, 0)  # Ampere
COMPILERS = ("numba-cuda", "numba-cuda-mlir")
_PACKAGES = (*COMPILERS, "cuda-core", "nvidia-nvvm", "nvidia-nvjitlink", "nvidia-cuda-nvcc-cu12",
             "nvidia-nvjitlink-cu12")  # fmt: skip
_TOLD = ("Used ", "registers"), ("", "bytes smem"), ("", "bytes stack frame")  # by the linker
_SOURCES = ("compiler", "half", "vectors", "wide", "kinds", "dialect", "successor")


class Cubin(NamedTuple):
    """A kernel for one compute capability: its machine code, and what the linker says of it."""

    code: bytes
    registers: int  # of a thread
    spilled: int  # bytes that a thread stores and loads for want of registers
    shared: int  # bytes of a block
    stack: int = 0  # bytes of memory of a thread's own: local arrays that are no registers


def compile_kernel(kernel: Kernel, dtype: np.dtype, capability: tuple[int, int]) -> Cubin:
    """The machine code of a kernel for arrays of a dtype, from the disk where it has been compiled before."""
    path = _place(kernel, dtype, capability)
    if (content := folder.kept(path)) is not None:
        numbers, _, code = content.partition(b"\n")
        return Cubin(code, *map(int, numbers.split()))
    cubin = _link(kernel.name, _intermediate(kernel, dtype, chosen()), capability)
    folder.keep(path, f"{cubin.registers} {cubin.spilled} {cubin.shared} {cubin.stack}\n".encode() + cubin.code)
    return cubin


def _place(kernel: Kernel, dtype: np.dtype, capability: tuple[int, int]) -> Path:
    return folder.place(kernel, "cubin", _PACKAGES, _SOURCES, dtype, capability, kernel.bounds, chosen())


def chosen() -> str:
    """The compiler: ``DLFAST_CUDA_COMPILER``, numba-cuda unless that says otherwise. ValueError for an unknown one."""
    wish = os.environ.get("DLFAST_CUDA_COMPILER") or COMPILERS[0]
    if wish not in COMPILERS:
        raise ValueError(f"DLFAST_CUDA_COMPILER must be one of {', '.join(COMPILERS)}, got {wish!r}")
    return wish


@lru_cache(8)
def _intermediate(kernel: Kernel, dtype: np.dtype, by: str) -> bytes:
    """LTO-IR for the oldest capability, which the linker makes machine code of any later one of."""
    if by == "numba-cuda-mlir":
        from . import successor

        return successor.intermediate(kernel, dtype, OLDEST)
    from numba import cuda

    kinds = kind_types(dtype)
    meanings = _meanings(kinds["f"])
    body = bind(kernel.function, meanings, lambda f: cuda.jit(device=True, inline="always")(f))
    signature = tuple(kinds[kind] for kind in kernel.kinds)
    code, _ = cuda.compile(
        body, signature, device=False, cc=OLDEST, abi="numba", abi_info={"abi_name": kernel.name},
        output="ltoir", fastmath=False, launch_bounds=kernel.bounds,
    )  # fmt: skip
    return code


def _meanings(real) -> dict:
    from numba import cuda, types

    from . import vectors

    return {"cuda": cuda, "load4": vectors.load4, "store4": vectors.store4, "shuffle_xor": vectors.shuffle_xor,
            "real": real, "i32": types.int32, "i64": types.int64, "f64": types.float64}  # fmt: skip


def _link(name: str, code: bytes, capability: tuple[int, int]) -> Cubin:
    from cuda.core import Linker, LinkerOptions, ObjectCode

    architecture = "sm_{}{}".format(*capability)
    options = LinkerOptions(arch=architecture, link_time_optimization=True, ptxas_options=["-v"], verbose=True)
    linker = Linker(ObjectCode.from_ltoir(code, name=name), options=options)
    cubin = linker.link("cubin").code
    log = linker.get_info_log() + linker.get_error_log()
    spills = [int(count) for count in re.findall(r"(\d+) bytes spill", log)]
    registers, shared, stack = (_number(f"{before}(\\d+) {after}", log) for before, after in _TOLD)
    return Cubin(cubin, registers, sum(spills), shared, stack)


def _number(pattern: str, log: str) -> int:
    found = re.search(pattern, log)
    return int(found[1]) if found else 0
