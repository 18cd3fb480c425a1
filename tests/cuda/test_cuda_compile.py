"""Every CUDA kernel becomes machine code for three generations of GPUs, without a GPU: registers, spills, files."""

import re

import numpy as np
import pytest
from every import KERNELS
from machine_code import (
    ANGLES,
    NVDISASM,
    REGISTERS,
    TILED,
    TILES,
    accesses,
    reads_shared_widely,
    should_read_shared_widely,
    words_of,
)

pytest.importorskip("numba.cuda.extending", reason="numba-cuda is not installed")
pytest.importorskip("cuda.core", reason="cuda-core is not installed")

from dlfast.kernels.cuda import compiler

CAPABILITIES = [(8, 0), (9, 0), (10, 0)]  # A100, H100, B200
FLOAT32 = np.dtype(np.float32)


def test_names_are_names_of_one_kernel():
    names = [each.name for each in KERNELS]
    assert len(names) > 50
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_compiles_without_spills(kernel):
    for capability in CAPABILITIES:
        cubin = compiler.compile_kernel(kernel, FLOAT32, capability)
        assert cubin.code[:4] == b"\x7fELF"
        assert cubin.spilled == 0
        assert cubin.stack == 0 or kernel.name in ANGLES, (
            "a local array that is indexed by what is not known lies in memory"
        )
        assert 0 < cubin.registers <= (TILED if kernel.name in TILES else REGISTERS), capability
        assert cubin.shared <= 48 << 10


HALVES = ("cast_narrow", "gemm_product", "norm_group", "sequence_loop_forward", "sequence_loop_backward")


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("kernel", [each for each in KERNELS if each.name in HALVES], ids=lambda kernel: kernel.name)
def test_compiles_in_half(kernel, name):
    dtype = np.dtype(getattr(pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed"), name, name))
    cubin = compiler.compile_kernel(kernel, dtype, (9, 0))
    assert cubin.spilled == cubin.stack == 0
    assert 0 < cubin.registers <= (TILED if kernel.name in TILES else REGISTERS)


@pytest.mark.skipif(not NVDISASM.is_file(), reason="nvidia-cuda-nvdisasm is not installed")
@pytest.mark.parametrize("kernel", [each for each in KERNELS if "4'" in words_of(each)], ids=lambda each: each.name)
def test_what_moves_four_numbers_does_so_at_once(kernel):
    """`load4` and `store4` are accesses of 16 bytes in the machine code, not four of 4."""
    words, found = words_of(kernel), accesses(compiler.compile_kernel(kernel, FLOAT32, (9, 0)))
    for word, pattern in (("'load4'", r"LD[GS].*\.128"), ("'store4'", r"ST[GS].*\.128")):
        assert word not in words or any(re.match(pattern, each) for each in found), found


@pytest.mark.skipif(not NVDISASM.is_file(), reason="nvidia-cuda-nvdisasm is not installed")
@pytest.mark.parametrize(
    "kernel", [each for each in KERNELS if should_read_shared_widely(each)], ids=lambda each: each.name
)
def test_tiles_are_read_from_shared_memory_four_numbers_at_a_time(kernel):
    assert reads_shared_widely(compiler.compile_kernel(kernel, FLOAT32, (9, 0)))


def test_kernels_that_move_four_numbers_are_found():
    names = {each.name for each in KERNELS if "'load4'" in words_of(each)}
    assert {"gemm_product", "attention_forward", "elementwise_relu"} <= names


def test_a_kept_kernel_is_read_back_and_a_damaged_one_made_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("DLFAST_CACHE_DIR", str(tmp_path))
    kernel, dtype, capability = KERNELS[0], FLOAT32, (9, 0)
    first = compiler.compile_kernel(kernel, dtype, capability)
    path = compiler._place(kernel, dtype, capability)
    made = []
    link = compiler._link
    monkeypatch.setattr(compiler, "_link", lambda *given: made.append(given) or link(*given))
    assert compiler.compile_kernel(kernel, dtype, capability) == first
    assert not made
    path.write_bytes(path.read_bytes()[:-100])
    assert compiler.compile_kernel(kernel, dtype, capability) == first
    assert made


WHOLE = [each for each in KERNELS if each.name.startswith(("array_whole", "array_moving", "array_scattering"))]


@pytest.mark.parametrize("kernel", WHOLE, ids=lambda kernel: kernel.name)
def test_compiles_for_integers(kernel):
    for name in ("int64", "uint8"):
        cubin = compiler.compile_kernel(kernel, np.dtype(name), (9, 0))
        assert cubin.spilled == 0
        assert 0 < cubin.registers <= REGISTERS
