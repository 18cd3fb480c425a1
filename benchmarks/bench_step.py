"""A whole training step of the demo's CNN on 64 images: forward, loss, backward, Adam."""

import numpy as np
import pytest

from dlfast import kernels
from dlfast.bench.measure import pytorch_installed
from dlfast.bench.suites.steps import demo

ROW = demo(64, 2.5)
PYTORCH = ("PyTorch NCHW", "PyTorch NHWC") if pytorch_installed() else ()


@pytest.mark.parametrize("contender", ["reference", "numba", "cython", "auto", *PYTORCH])
def test_training_step(contender, benchmark, threads):
    benchmark.name = contender
    benchmark.group = f"training step: {ROW.name}, {threads} thread{'s' if threads > 1 else ''}"
    work = ROW.work()
    with kernels.use_backend("reference"):
        expected = work.ours().results()
    backends = ("auto",) if contender in ("auto", *PYTORCH) else (contender, "reference")
    with kernels.use_backend(*backends):
        step = work.peers(True)[contender] if contender in PYTORCH else work.ours()
        for got, wanted in zip(step.results(), expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=ROW.tolerance * np.abs(wanted).max())
        benchmark(step)
