"""Every CUDA kernel becomes machine code for three generations of GPUs, without a GPU: registers, spills, files."""

import numpy as np
import pytest
from every import KERNELS

pytest.importorskip("numba.cuda.extending", reason="numba-cuda is not installed")
pytest.importorskip("cuda.core", reason="cuda-core is not installed")

from dlfast.kernels.cuda import compiler

CAPABILITIES = [(8, 0), (9, 0), (10, 0)]  # A100, H100, B200
REGISTERS = 64  # of a thread: blocks of 256 then fill a multiprocessor four times
TILES = {"gemm_product": 168, "conv_forward": 128, "conv_dx": 128, "conv_dweight": 128}  # 16 sums, and both tiles ahead
TILES |= {"attention_forward": 168, "attention_dq": 168, "attention_dkv": 168}  # a row of 128 features at a time


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLFAST_CACHE_DIR", str(tmp_path_factory.mktemp("cubins")))
        yield


def test_names_are_names_of_one_kernel():
    names = [each.name for each in KERNELS]
    assert len(names) > 50
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_compiles_without_spills(kernel):
    for capability in CAPABILITIES:
        cubin = compiler.compile_kernel(kernel, np.dtype(np.float32), capability)
        assert cubin.code[:4] == b"\x7fELF"
        assert cubin.spilled == 0
        assert 0 < cubin.registers <= TILES.get(kernel.name, REGISTERS), capability
        assert cubin.shared <= 48 << 10


HALVES = ("cast_narrow", "gemm_product", "norm_group")


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("kernel", [each for each in KERNELS if each.name in HALVES], ids=lambda kernel: kernel.name)
def test_compiles_in_half(kernel, name):
    dtype = np.dtype(getattr(pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed"), name, name))
    cubin = compiler.compile_kernel(kernel, dtype, (9, 0))
    assert cubin.spilled == 0
    assert 0 < cubin.registers <= TILES.get(kernel.name, REGISTERS)


def test_a_kept_kernel_is_read_back_and_a_damaged_one_made_anew(monkeypatch):
    kernel, dtype, capability = KERNELS[0], np.dtype(np.float32), (9, 0)
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
