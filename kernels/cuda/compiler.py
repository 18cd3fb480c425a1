"""Compiles CUDA kernels to machine code of a GPU (a cubin), without a GPU: the one door to CUDA's compilers.

numba-cuda makes LTO-IR of a kernel, and the linker of `cuda.core` machine code of that. The code is kept on disk, by
source, compute capability and versions. Install dlfast with its extra `cuda`.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..._files import write_atomically
from .dialect import Kernel, bind
from .folder import cache_folder
from .kinds import kind_types

OLDEST = (8, 0)  # Ampere
_PACKAGES = ("numba-cuda", "cuda-core", "nvidia-nvvm", "nvidia-nvjitlink")


class Cubin(NamedTuple):
    """A kernel for one compute capability: its machine code, and what the linker says of it."""

    code: bytes
    registers: int  # of a thread
    spilled: int  # bytes that a thread stores and loads for want of registers
    shared: int  # bytes of a block


def compile_kernel(kernel: Kernel, dtype: np.dtype, capability: tuple[int, int]) -> Cubin:
    """The machine code of a kernel for arrays of a dtype, from the disk where it has been compiled before."""
    path = cache_folder() / f"{kernel.name}-{_key(kernel, dtype, capability)}.cubin"
    if path.is_file() and (kept := _read(path)) is not None:
        return kept
    cubin = _link(kernel.name, _intermediate(kernel, dtype), capability)
    content = f"{cubin.registers} {cubin.spilled} {cubin.shared}\n".encode() + cubin.code
    write_atomically(
        path, lambda temporary: temporary.write_bytes(hashlib.sha256(content).digest() + content), durable=False
    )
    return cubin


def _read(path: Path) -> Cubin | None:
    """What a file holds, None where it is damaged."""
    whole = path.read_bytes()
    if hashlib.sha256(whole[32:]).digest() != whole[:32]:
        return None
    numbers, _, code = whole[32:].partition(b"\n")
    return Cubin(code, *map(int, numbers.split()))


def _key(kernel: Kernel, dtype: np.dtype, capability: tuple[int, int]) -> str:
    versions = [f"{name} {version(name)}" for name in _PACKAGES]
    text = f"{_sources()} {kernel.name} {kernel.kinds} {dtype} {capability} {versions}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _sources() -> str:
    """A digest of all kernels' sources: an edit anywhere never meets a stale kernel."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@lru_cache(8)
def _intermediate(kernel: Kernel, dtype: np.dtype) -> bytes:
    """LTO-IR for the oldest capability, which the linker makes machine code of any later one of."""
    from numba import cuda

    kinds = kind_types(dtype)
    meanings = _meanings(kinds["f"])
    body = bind(kernel.function, meanings, lambda f: cuda.jit(device=True, inline="always")(f))
    signature = tuple(kinds[kind] for kind in kernel.kinds)
    code, _ = cuda.compile(
        body, signature, device=False, cc=OLDEST, abi="numba", abi_info={"abi_name": kernel.name},
        output="ltoir", fastmath=False,
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
    return Cubin(cubin, _number(r"Used (\d+) registers", log), sum(spills), _number(r"(\d+) bytes smem", log))


def _number(pattern: str, log: str) -> int:
    found = re.search(pattern, log)
    return int(found[1]) if found else 0
