"""No kernel is forgotten: each is launched by a test that compares it with the reference, or is named here."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from every import KERNELS
from ondevice import call, up

from cases import CASES, STEPS
from dlfast import kernels
from dlfast.kernels.cuda.dialect import Kernel

# Kernels that no row of cases.py and no transform launches, by how their names begin: the tests that hold them against
# NumPy, or against plain steps.
ELSEWHERE = {
    "array_": "test_cuda_array.py",
    "attention_dkv_drawn": "test_cuda_graph.py::test_attention_with_dropout",
    "cast_narrow": "test_cuda_half.py::test_rounds_to_nearest_even",
    "cast_widen": "test_cuda_half.py::test_widens_every_number",
    "conv_im2col_": "test_cuda_conv_methods.py::test_im2col_agrees_with_the_reference",
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


def test_kernels_elsewhere_are_run_there(tmp_path):
    here, noted = Path(__file__).parent, tmp_path / "names"
    tests = [str(here / test) for test in sorted(set(ELSEWHERE.values()))]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-p", "launched", *tests]
    paths = [str(here), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "LAUNCHED": str(noted), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, cwd=here.parents[1], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    those = {each.name for each in KERNELS if each.name.startswith(tuple(ELSEWHERE))}
    assert those <= set(noted.read_text(encoding="utf-8").split())


def test_a_forgotten_kernel_is_missed(launched):
    """Without the rows of one operation its kernels are missing."""
    for case in CASES:
        if case.op != "glu":
            call(case, "float32")
    assert {"elementwise_glu", "elementwise_glu_back"} <= {each.name for each in KERNELS} - launched
