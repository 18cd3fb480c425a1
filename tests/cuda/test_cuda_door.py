"""dlfast.cuda: kernels of one's own, and what is said of CUDA where it is missing."""

import os
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

import dlfast as dl
from dlfast.cuda import _kernels, _status, array, cuda, empty, kernel, real, run_backwards, shuffle_xor
from dlfast.kernels.cuda import libraries


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


def gpu(capability=(9, 0)):
    return dl.cuda.DeviceInfo("NVIDIA H200", capability, 141 << 30)


READY = {"numba-cuda": "0.30.4", "cuda-core": "1.2.2", "cuda-bindings": "13.5.0"}


@pytest.mark.parametrize(
    ("driver", "packages", "reason"),
    [
        ((None, (), "no driver of NVIDIA is installed"), READY, "no driver of NVIDIA is installed"),
        (((13, 0), (), "the driver finds no GPU"), {}, "the driver finds no GPU"),
        (((13, 0), (gpu(),), ""), {}, "numba-cuda and cuda-core are missing; install dlfast with its extra `cuda`"),
        (((13, 0), (gpu(),), ""), {"cuda-core": "1"}, "numba-cuda is missing; install dlfast with its extra `cuda`"),
        (((12, 4), (gpu(),), ""), READY, "speaks CUDA 12.4, the installed packages are made for CUDA 13.*`cuda12`"),
        (((13, 0), (gpu((7, 5)),), ""), READY, "8.0 .* or later; the GPU here is NVIDIA H200 .compute capability 7.5"),
    ],
)  # fmt: skip
def test_status_says_what_is_missing(monkeypatch, driver, packages, reason):
    monkeypatch.setattr(_status, "_driver", lambda: driver)
    monkeypatch.setattr(_status, "_version", packages.get)
    with dl.cuda.host(False):
        assert not dl.cuda.is_available()
        assert dl.cuda.device_count() == 0
        assert re.search(reason, str(dl.cuda.status()))
        with pytest.raises(RuntimeError, match=f"cuda cannot be used: .*{reason}"):
            dl.cuda.get_device("cuda")
    with dl.cuda.host():
        assert dl.cuda.is_available()
        assert dl.cuda.status().reason == ""
        assert "the CPU plays the GPU" in str(dl.cuda.status())


def test_status_of_a_gpu(monkeypatch):
    monkeypatch.setattr(_status, "_driver", lambda: ((13, 1), (gpu(), gpu()), ""))
    monkeypatch.setattr(_status, "_version", READY.get)
    with dl.cuda.host(False):
        assert dl.cuda.is_available()
        assert dl.cuda.device_count() == 2
        assert str(dl.cuda.status()).startswith(
            "cuda: ready\ndriver: CUDA 13.1\ncuda:0: NVIDIA H200 (compute capability 9.0, 141 GiB)\ncuda:1: NVIDIA H200"
        )
        monkeypatch.setattr(libraries, "lacking_cublas", lambda: "")
        monkeypatch.setattr(libraries, "lacking_cudnn", lambda: "nvidia-cudnn-frontend is not installed")
        with dl.cuda.allow_tf32():
            assert str(dl.cuda.status()).endswith(
                "\ncuBLASLt: used\ncuDNN: not used, nvidia-cudnn-frontend is not installed\nTF32: allowed"
            )
        with pytest.raises(RuntimeError, match=r"there is no device cuda:2; cuda has 2 here, from cuda:0 on"):
            dl.cuda.get_device("cuda:2")


def test_the_driver_is_asked(monkeypatch):
    class Library:
        def __init__(self, code, devices):
            self.code, self.devices = code, devices

        def cuInit(self, flags):
            return self.code

        def cuDriverGetVersion(self, version):
            version._obj.value = 13010

        def cuDeviceGetCount(self, count):
            count._obj.value = self.devices
            return 0

        def cuDeviceGet(self, handle, index):
            handle._obj.value = index

        def cuDeviceGetName(self, name, length, handle):
            name.value = b"NVIDIA H200"

        def cuDeviceTotalMem_v2(self, memory, handle):
            memory._obj.value = 141 << 30

        def cuDeviceGetAttribute(self, number, attribute, handle):
            number._obj.value = {75: 9, 76: 0}[attribute]

    for code, devices, wanted in (
        (999, 0, ((13, 1), (), "the driver of NVIDIA does not start: CUDA error 999; does `nvidia-smi` work?")),
        (100, 0, ((13, 1), (), "the driver finds no GPU: there is none, or CUDA_VISIBLE_DEVICES hides it")),
        (0, 0, ((13, 1), (), "the driver finds no GPU: there is none, or CUDA_VISIBLE_DEVICES hides it")),
        (0, 2, ((13, 1), (gpu(), gpu()), "")),
    ):
        monkeypatch.setattr(_status.ctypes, "CDLL", lambda name, code=code, devices=devices: Library(code, devices))
        assert _status._driver.__wrapped__() == wanted

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(_status.ctypes, "CDLL", missing)
    assert _status._driver.__wrapped__()[2].startswith("no driver of NVIDIA is installed (libcuda.so.1 is not found)")


def test_the_compiler_may_be_missing(monkeypatch):
    monkeypatch.setattr(_kernels, "_version", lambda name: None)
    with pytest.raises(ImportError, match="numba-cuda and cuda-core are missing; install dlfast with its extra"):
        dl.cuda.build(sums_of_warps)


def test_devices_by_name():
    with dl.cuda.host():
        host = dl.cuda.get_device("cuda:0")
        for name in (None, "cuda", 0, host):
            assert dl.cuda.get_device(name) is host
        assert str(host) == "cuda:0"
        assert dl.cuda.current_device() == 0
        with dl.cuda.device("cuda:0"):
            dl.cuda.set_device(0)
        for name in ("cpu", "cuda:", "cuda:-1", "cuda:x", "gpu:0", -1, True):
            with pytest.raises(ValueError, match="device must be 'cuda', 'cuda:0' and so on"):
                dl.cuda.get_device(name)
        with pytest.raises(RuntimeError, match="there is no device cuda:1; cuda has 1 here"):
            dl.cuda.get_device("cuda:1")
        with pytest.raises(TypeError, match="got float"):
            dl.cuda.get_device(1.5)


def test_the_environment_lets_the_cpu_play_the_gpu():
    code = "import dlfast as dl; print(repr(dl.cuda.get_device('cuda')), dl.cuda.is_available())"
    run = partial(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True)
    assert run(env=os.environ | {"DLFAST_CUDA": "host"}).stdout == "<cuda:0, played by the CPU> True\n"
    assert "ValueError: DLFAST_CUDA must be 'host'" in run(env=os.environ | {"DLFAST_CUDA": "hots"}).stderr


def test_old_gpus_are_refused():
    with pytest.raises(ValueError, match=r"capability must be \(8, 0\) or later, got \(7, 5\)"):
        dl.cuda.build(sums_of_warps, (7, 5))


def test_build():
    pytest.importorskip("numba.cuda.extending", reason="numba-cuda is not installed")
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    cubin = dl.cuda.build(sums_of_warps)
    assert cubin.code[:4] == b"\x7fELF"
    assert cubin.spilled == 0
