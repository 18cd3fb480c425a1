"""dlfast.cuda: kernels of one's own, and what is said of CUDA where it is missing."""

import subprocess
import sys

import numpy as np
import pytest

import dlfast as dl
from dlfast.cuda import array, cuda, empty, kernel, real, run_backwards, shuffle_xor


@kernel("ppi")
def sums_of_warps(x, y, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    value = x[i] if i < n else real(0)
    for mask in (16, 8, 4, 2, 1):
        value += shuffle_xor(value, mask)
    if cuda.threadIdx.x % 32 == 0:
        y[i // 32] = value


def test_a_kernel_of_ones_own():
    x = np.arange(100, dtype=np.float32)
    y = empty(4)
    for backwards in (False, True):
        run_backwards(backwards)
        sums_of_warps((1, 1, 1), 128, array(x), y, 100)
        assert y.numpy().tolist() == [x[i : i + 32].sum() for i in range(0, 100, 32)]
    run_backwards(False)


def test_importing_dlfast_imports_nothing_of_cuda():
    code = "import sys, dlfast; print([m for m in sys.modules if m.startswith(('numba', 'cuda'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_status_says_what_is_missing(monkeypatch):
    assert not dl.cuda.is_available()
    assert dl.cuda.device_count() == 0
    monkeypatch.setattr(dl.cuda, "_driver", lambda: (False, 0, "no driver of NVIDIA is installed"))
    assert str(dl.cuda.status()).startswith("no driver of NVIDIA is installed (driver: no, devices: 0, numba-cuda ")
    monkeypatch.setattr(dl.cuda, "_driver", lambda: (True, 2, ""))
    monkeypatch.setattr(dl.cuda, "_version", lambda name: None)
    assert "install dlfast with its extra `cuda`" in str(dl.cuda.status())
    with pytest.raises(ImportError, match="numba-cuda and cuda-core are missing; install dlfast with its extra"):
        dl.cuda.build(sums_of_warps)


def test_the_driver_is_asked(monkeypatch):
    class Library:
        def __init__(self, code, devices):
            self.code, self.devices = code, devices

        def cuInit(self, flags):
            return self.code

        def cuDeviceGetCount(self, count):
            count._obj.value = self.devices
            return 0

    for code, devices, wanted in (
        (100, 0, (False, 0, "the driver does not start: CUDA error 100")),
        (0, 0, (True, 0, "the driver finds no GPU")),
        (0, 3, (True, 3, "")),
    ):
        monkeypatch.setattr(dl.cuda.ctypes, "CDLL", lambda name, code=code, devices=devices: Library(code, devices))
        assert dl.cuda._driver() == wanted


def test_old_gpus_are_refused():
    with pytest.raises(ValueError, match=r"capability must be \(8, 0\) or later, got \(7, 5\)"):
        dl.cuda.build(sums_of_warps, (7, 5))


def test_build():
    pytest.importorskip("numba.cuda.extending", reason="numba-cuda is not installed")
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    cubin = dl.cuda.build(sums_of_warps)
    assert cubin.code[:4] == b"\x7fELF"
    assert cubin.spilled == 0
