"""Kernels of the library, broken on purpose: comparing them with the reference finds each mistake."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from altering import agrees, altered

pytestmark = pytest.mark.usefixtures("the_host")
BARRIER = "cuda.syncthreads()"


@pytest.fixture(autouse=True)
def _no_floating_point_warnings():
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize(
    ("kernel", "number", "within", "case"),
    [
        ("gemm_product", 0, None, "linear-long-depth"),
        ("gemm_product", 1, None, "linear-long-depth"),
        ("columns_share", 0, None, "linear-long-sums"),
        ("embedding_scatter", 2, None, "embedding-repeated"),
        ("softmax_rows", 0, "block_sum", "softmax-259-classes"),
        ("softmax_rows", 1, "block_max", "softmax-259-classes"),
    ],
)
def test_a_barrier_is_removed(kernel, number, within, case):
    assert agrees(case)
    with altered(kernel, BARRIER, "pass", number, within):
        assert not agrees(case)
    assert agrees(case)


@pytest.mark.parametrize(
    ("kernel", "old", "new", "within", "case", "message"),
    [
        ("softmax_rows", "warp_sum(value)", "warp_sum(value) if cuda.threadIdx.x % 32 < 20 else value", "block_sum",
         "softmax-259-classes", "softmax_rows: a shuffle that not all lanes reach in block"),
        ("columns_share", BARRIER, f"if column < n:\n        {BARRIER}", None, "linear-7x31x5",
         "columns_share: a barrier that not all (threads|warps) reach in block"),
    ],
)  # fmt: skip
def test_a_shuffle_or_barrier_diverges(kernel, old, new, within, case, message):
    with altered(kernel, old, new, within=within), pytest.raises(RuntimeError, match=message):
        agrees(case)


@pytest.mark.parametrize(
    ("kernel", "old", "new", "case"),
    [
        ("softmax_rows", "n, THREADS)", "n + 1, THREADS)", "softmax-16-classes"),  # reads
        ("elementwise_drop", "min(i + 4, n)", "i + 5", "dropout-p-0"),  # writes
        ("softmax_rows", "n, THREADS)", "n, THREADS)", "softmax-16-classes"),  # as it is
    ],
)
def test_one_past_the_end_is_a_fault(kernel, old, new, case):
    """In a process of its own, which the fault ends."""
    script = Path(__file__).with_name("altering.py")
    paths = [str(path) for path in sys.path if path]
    code = f"import runpy, sys; sys.path[:0] = {paths}; runpy.run_path({str(script)!r}, run_name='__main__')"
    run = subprocess.run([sys.executable, "-c", code, kernel, old, new, case], capture_output=True, text=True)
    assert (run.stdout, run.returncode) == (("survived\n", 0) if old == new else ("", -signal.SIGSEGV)), run.stderr
