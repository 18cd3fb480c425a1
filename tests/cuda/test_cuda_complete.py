"""No kernel is forgotten: each is launched by a test that compares it with the reference, or is named here."""

from importlib import import_module

import numpy as np
import pytest
from every import KERNELS
from ondevice import call, up

from cases import CASES, STEPS
from dlfast import kernels
from dlfast.kernels.cuda.dialect import Kernel

# Kernels that no row of cases.py and no transform launches, by how their names begin: the file whose tests hold them
# against NumPy.
ELSEWHERE = {
    "array_": "test_cuda_array.py",
    "attention_dkv_drawn": "test_cuda_graph.py",
    "cast_narrow": "test_cuda_half.py",
    "cast_widen": "test_cuda_half.py",
    "conv_im2col_": "test_cuda_conv_methods.py",
}


@pytest.fixture
def launched(monkeypatch):
    """The names of kernels that are launched. They are not run, so that nothing is compiled: results are NaN."""
    names = set()

    def note(kernel, grid, block, *arguments):
        if 0 not in grid:
            names.add(kernel.name)

    monkeypatch.setattr(Kernel, "__call__", note)
    with np.errstate(all="ignore"):
        yield names


def run_everything():
    """What test_cuda_kernels.py and test_cuda_transforms.py run."""
    for case in CASES:
        call(case, "float32")
    for case in STEPS:
        options = case.options | case.at_step(1)
        arrays = [up(x) for x in case.start(np.float32)]
        kernels.pair(case.op, "cuda")(arrays[0], up(case.gradient(1, np.float32)), *arrays[1:], **options)
    numbers, images = up(np.ones(10_001, np.float32)), np.zeros((2, 4, 5, 3), np.uint8)
    for op in ("square_sum", "abs_sum"):
        kernels.pair(op, "cuda")(numbers)
    kernels.pair("affine_transform", "cuda")(up(images), np.zeros((2, 2, 3)), fill=0)
    kernels.pair("jitter_transform", "cuda")(up(images), *[np.ones(2, np.float32)] * 3)


def test_each_kernel_is_run_against_the_reference(launched):
    run_everything()
    missing = {each.name for each in KERNELS} - launched
    unknown = {name for name in missing if not name.startswith(tuple(ELSEWHERE))}
    assert not unknown, "no test runs these: add rows to cases.py, or a line to ELSEWHERE"
    needless = {start for start in ELSEWHERE if not any(name.startswith(start) for name in missing)}
    assert not needless, "all of these are launched by rows of cases.py, or exist no more"


def test_each_operation_is_run():
    singles = {case.op for case in STEPS} | {"square_sum", "abs_sum", "affine_transform", "jitter_transform"}
    assert {case.op for case in CASES} | singles == kernels.operations().keys()


@pytest.mark.parametrize("file", sorted(set(ELSEWHERE.values())))
def test_files_elsewhere_have_tests(file):
    module = import_module(file.removesuffix(".py"))
    assert any(name.startswith("test_") for name in vars(module))


def test_a_forgotten_kernel_is_missed(launched):
    """Without the rows of one operation its kernels are missing."""
    for case in CASES:
        if case.op != "glu":
            call(case, "float32")
    assert {"elementwise_glu", "elementwise_glu_back"} <= {each.name for each in KERNELS} - launched
