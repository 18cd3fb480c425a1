"""numba-cuda-mlir compiles the kernels too, but for those that stand here with the reason (ci/successor runs this)."""

import numpy as np
import pytest
from every import KERNELS
from machine_code import ANGLES, NVDISASM, REGISTERS, TILED, TILES, reads_shared_widely, should_read_shared_widely

pytest.importorskip("numba_cuda_mlir", reason="numba-cuda-mlir is not installed")
pytest.importorskip("cuda.core", reason="cuda-core is not installed")

from dlfast.kernels.cuda import compiler

SHUFFLED = "its translator knows no shuffle of the numbers of a vector, as which it takes a copy of four"
SHARED = "a wide load from shared memory in a device function becomes one from global memory"
MEMORY = "it keeps numbers of a thread in memory that numba-cuda keeps in registers"
NOT_YET = {
    "array_moving_move_wide": SHUFFLED,
    **dict.fromkeys(("array_arithmetic", "array_whole_arithmetic", "array_elementwise_arithmetic_wide"), MEMORY),
    **dict.fromkeys(("array_elementwise_compare", "array_elementwise_choose", "array_reduce_block"), MEMORY),
    "attention_dkv_drawn": MEMORY,
    **dict.fromkeys(("attention_forward", "attention_dq", "attention_dkv"), SHARED),
    **dict.fromkeys(("gemm_product", "conv_forward", "conv_dx", "conv_dweight"), SHARED),
    **dict.fromkeys(("sequence_loop_forward", "sequence_loop_backward"), SHARED),
}


@pytest.fixture(autouse=True)
def _successor(monkeypatch):
    monkeypatch.setenv("DLFAST_CUDA_COMPILER", "numba-cuda-mlir")


def fault(kernel) -> str:
    """What is wrong with a kernel's machine code for an H100; empty where nothing is."""
    try:
        cubin = compiler.compile_kernel(kernel, np.dtype(np.float32), (9, 0))
    except Exception as error:  # whatever a young compiler raises
        return str(error) or type(error).__name__
    if NVDISASM.is_file() and should_read_shared_widely(kernel) and not reads_shared_widely(cubin):
        return "no wide loads from shared memory"
    if cubin.spilled or (cubin.stack and kernel.name not in ANGLES):
        return f"{cubin.spilled} bytes spilled, a stack of {cubin.stack}"
    most = TILED if kernel.name in TILES else REGISTERS
    return "" if cubin.registers <= most else f"{cubin.registers} registers"


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_compiles(kernel):
    found = fault(kernel)
    if kernel.name in NOT_YET:
        assert found, f"numba-cuda-mlir compiles it now; take it off the list ({NOT_YET[kernel.name]})"
    else:
        assert not found


def test_the_list_names_kernels():
    assert NOT_YET.keys() <= {each.name for each in KERNELS}
