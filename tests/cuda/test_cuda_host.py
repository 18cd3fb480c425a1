"""The host that plays a GPU catches what would hang or lie on one."""

import os
import subprocess
import sys

import numpy as np
import pytest
from ondevice import device_in_use, down, up

from dlfast.kernels.cuda import fibers, folder, host
from dlfast.kernels.cuda.dialect import cuda, device, kernel, load4, made_of, real, shuffle_xor, store4

pytestmark = pytest.mark.usefixtures("the_host")
N = 128


@kernel("ppi")
def reversed_by_shared_memory(x, y, barrier):
    line = cuda.shared.array(128, real)
    t = cuda.threadIdx.x
    line[t] = x[t]
    if barrier:
        cuda.syncthreads()
    y[t] = line[127 - t]


@kernel("ppi")
def barrier_for_some(x, y, last):
    t = cuda.threadIdx.x
    if t < last:
        cuda.syncthreads()
    y[t] = x[t]


@kernel("ppi")
def shuffled(x, y, lanes):
    t = cuda.threadIdx.x
    value = x[t]
    if t % 32 < lanes:
        value += shuffle_xor(value, 1)
    y[t] = value


@kernel("ppi")
def copied(x, y, n):
    i = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * 4
    if i < n:
        a, b, c, d = load4(x, i)
        store4(y, i, a, b, c, d)


@kernel("ppi")
def beyond_shared_memory(x, y, at):
    line = cuda.shared.array(16, real)
    if cuda.threadIdx.x == 0:
        line[at] = x[0]


@kernel("ppi")
def much_shared_memory(x, y, n):
    line = cuda.shared.array(20000, real)
    line[0] = x[0]
    y[0] = line[0]


def run(kernel_, argument, threads=N):
    x = np.arange(N, dtype=np.float32)
    y = device_in_use().empty((N,), np.float32)
    kernel_((1, 1, 1), threads, up(x), y, argument)
    return x, down(y)


@pytest.fixture(params=[False, True], ids=["forwards", "backwards"])
def order(request):
    fibers.run_backwards(request.param)
    yield
    fibers.run_backwards(False)


def test_shared_memory_and_barriers(order):
    x, y = run(reversed_by_shared_memory, 1)
    assert np.array_equal(y, x[::-1])


def test_missing_barrier_shows_in_both_orders(order):
    x, y = run(reversed_by_shared_memory, 0)
    assert np.isnan(y).any()


def test_barrier_that_not_all_threads_reach(order):
    for last in (1, 32, 100):
        with pytest.raises(
            RuntimeError, match=r"barrier_for_some: a barrier that not all (threads|warps) reach in block"
        ):
            run(barrier_for_some, last)
    run(barrier_for_some, N)


def test_shuffle_that_not_all_lanes_reach(order):
    with pytest.raises(RuntimeError, match=r"shuffled: a shuffle that not all lanes reach in block \(0, 0\)"):
        run(shuffled, 31)
    x, y = run(shuffled, 32)
    assert np.array_equal(y, x + x.reshape(-1, 2)[:, ::-1].ravel())


def test_shared_memory_has_an_end():
    with pytest.raises(RuntimeError, match="a write beyond the end of shared memory"):
        run(beyond_shared_memory, 16)
    with pytest.raises(RuntimeError, match="more shared memory than 48 KiB"):
        run(much_shared_memory, 1)
    run(beyond_shared_memory, 15)


def test_a_block_has_at_most_1024_threads():
    with pytest.raises(ValueError, match="at most 1024 threads, got"):
        run(copied, N, 1025)


def test_launch_after_a_failed_one():
    with pytest.raises(RuntimeError):
        run(barrier_for_some, 1)
    x, y = run(reversed_by_shared_memory, 1)
    assert np.array_equal(y, x[::-1])


@pytest.mark.parametrize("count", [N, N + 4])
def test_access_past_the_end_is_a_fault(count):
    """In a process of its own, which the fault ends."""
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "import test_cuda_host as t\n"
        "x = t.np.arange(t.N, dtype=t.np.float32)\n"
        "y = t.device_in_use().empty((t.N,), t.np.float32)\n"
        "t.copied((2, 1, 1), 32, t.up(x), y, int(sys.argv[1]))\n"
        "print('survived')\n"
    )
    folders = [str(path) for path in sys.path if path]
    run_ = subprocess.run([sys.executable, "-c", code, str(count), *folders], capture_output=True, text=True)
    assert (run_.stdout == "survived\n") == (count == N), run_.stderr


def test_what_nobody_wrote_is_nan():
    assert np.isnan(down(device_in_use().empty((5, 7), np.float32))).all()


def test_wrong_arguments_of_a_kernel():
    with pytest.raises(TypeError, match="expected an aligned array of float32, got Array.*float64"):
        copied((1, 1, 1), 32, up(np.zeros(4, np.float32)), up(np.zeros(4)), 4)
    with pytest.raises(TypeError, match="3 arguments, but 'pp' names 2"):
        kernel("pp")(copied.function)
    with pytest.raises(TypeError, match="only in a kernel"):
        load4(None, 0)
    with pytest.raises(AttributeError, match="only in a kernel"):
        cuda.threadIdx  # noqa: B018


def test_a_compiled_kernel_is_kept_and_a_damaged_one_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("DLFAST_CACHE_DIR", str(tmp_path))
    made, dtype = [], np.dtype(np.float32)
    compiled = host._compiled
    monkeypatch.setattr(host, "_compiled", lambda *given: made.append(given) or compiled(*given))
    x, y = np.arange(N, dtype=np.float32), device_in_use().empty((N,), np.float32)

    def run_anew():
        copied.compiled.clear()
        copied((1, 1, 1), 32, up(x), y, N)
        return down(y).tolist() == x.tolist()

    assert run_anew()
    assert run_anew()
    assert len(made) == 1
    (path,) = folder.cache_folder().iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    assert run_anew()
    assert len(made) == 2
    assert host.compile_kernel(copied, dtype).address
    assert len(made) == 2


def test_what_a_kernel_is_made_of():
    """Two kernels of one name whose helpers differ in a constant, or whose constants of the module do, are not one."""

    def source(factor, added):
        @device
        def helper(x):
            return x * factor

        def function(x, y, n):
            if cuda.threadIdx.x < n:
                y[cuda.threadIdx.x] = helper(x[cuda.threadIdx.x]) + real(added)

        return function

    found = ["".join(made_of(source(*numbers))) for numbers in ((2, 3), (2, 3), (2, 4), (5, 3))]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_kernels_that_two_processes_have_kept_meet_in_a_third(tmp_path):
    code = """
import sys
import dlfast as dl
x = dl.tensor([-1.0, 2.0], device="cuda")
print([dl.functional.__dict__[name](x).tolist() for name in sys.argv[1:]])
"""

    def run(*names):
        environment = os.environ | {"DLFAST_CUDA": "host", "DLFAST_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", code, *names]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert run("relu") == "[[0.0, 2.0]]\n"
    assert run("hardtanh") == "[[-1.0, 1.0]]\n"
    assert run("relu", "hardtanh") == "[[0.0, 2.0], [-1.0, 1.0]]\n"
