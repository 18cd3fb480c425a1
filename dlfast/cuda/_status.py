"""What CUDA has here, and exactly why it cannot be used where it cannot."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, NamedTuple

from ..kernels.cuda.tf32 import tf32_is_allowed
from ._playing import playing

NEEDED = ("numba-cuda", "cuda-core")  # kernels are compiled by the one and launched by the other
OTHERS = ("cuda-bindings", "nvmath-python", "nvidia-cudnn-frontend", "nccl4py", "ml_dtypes")
_LIBRARIES = ("cuBLASLt", "cuDNN")
INSTALL = "install dlfast with its extra `cuda` (`cuda12` for drivers before 580)"
_OLDEST = (8, 0)  # the compute capability that kernels need


class DeviceInfo(NamedTuple):
    """A GPU: its name, its compute capability, and its memory in bytes."""

    name: str
    capability: tuple[int, int]
    memory: int

    def __str__(self) -> str:
        return "{} (compute capability {}.{}, {:.0f} GiB)".format(self.name, *self.capability, self.memory / 2**30)


class Status(NamedTuple):
    """What CUDA has here.

    driver: the CUDA version that the driver speaks, None without a driver; devices: its GPUs; packages: the version of
    each, None where it is missing; reason: why "cuda" cannot be used, empty where it can; host: whether the CPU plays
    the GPU; tf32: whether `allow_tf32` is on.
    """

    driver: tuple[int, int] | None
    devices: tuple[DeviceInfo, ...]
    packages: dict[str, str | None]
    reason: str
    host: bool
    tf32: bool = False

    @property
    def libraries(self) -> dict[str, str]:
        """Those of NVIDIA that are used where they are installed, each with why it is not, empty where it is."""
        if self.reason:
            return dict.fromkeys(_LIBRARIES, "cuda cannot be used")
        if self.host:
            return dict.fromkeys(_LIBRARIES, "the CPU plays the GPU")
        from ..kernels.cuda import libraries

        return dict(zip(_LIBRARIES, (libraries.lacking_cublas(), libraries.lacking_cudnn())))

    def __str__(self) -> str:
        driver = "none" if self.driver is None else "CUDA {}.{}".format(*self.driver)
        lines = [f"cuda: {self.reason or ('the CPU plays the GPU' if self.host else 'ready')}", f"driver: {driver}"]
        lines += [f"cuda:{index}: {info}" for index, info in enumerate(self.devices)]
        lines += [f"{name}: {number or 'missing'}" for name, number in self.packages.items()]
        if not self.reason:
            lines += [
                f"{name}: {f'not used, {lacking}' if lacking else 'used'}" for name, lacking in self.libraries.items()
            ]
            lines.append(f"TF32: {'allowed' if self.tf32 else 'not allowed'}")
        return "\n".join(lines)


def status() -> Status:
    """The driver, the GPUs, the packages, and why "cuda" cannot be used, where it cannot."""
    driver, devices, trouble = _driver()
    packages = {name: _version(name) for name in (*NEEDED, *OTHERS)}
    trouble = trouble or _lacking(packages) or _too_old(driver, devices, packages["cuda-bindings"])
    return Status(driver, devices, packages, "" if playing() else trouble, playing(), tf32_is_allowed())


def is_available() -> bool:
    """Whether models can compute on "cuda": on a GPU, or on the CPU that plays one."""
    return playing() or not status().reason


def device_count() -> int:
    """How many devices "cuda" has: 0 where it cannot be used, 1 where the CPU plays the GPU."""
    if playing():
        return 1
    found = status()
    return 0 if found.reason else len(found.devices)


@cache
def _driver() -> tuple[tuple[int, int] | None, tuple[DeviceInfo, ...], str]:
    """The driver's version, its devices, and what is wrong with it. Asked once."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None, (), "no driver of NVIDIA is installed (libcuda.so.1 is not found); CUDA needs one, and a GPU"
    version, count = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    spoken = version.value // 1000, version.value % 1000 // 10
    code = library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count))
    if code == 100 or (not code and not count.value):  # CUDA_ERROR_NO_DEVICE
        return spoken, (), "the driver finds no GPU: there is none, or CUDA_VISIBLE_DEVICES hides it"
    if code:
        return spoken, (), f"the driver of NVIDIA does not start: CUDA error {code}; does `nvidia-smi` work?"
    return spoken, tuple(_device(library, index) for index in range(count.value)), ""


def _device(library: Any, index: int) -> DeviceInfo:
    handle, number, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(handle), index)
    library.cuDeviceGetName(name, len(name), handle)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    capability = []
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
        library.cuDeviceGetAttribute(ctypes.byref(number), attribute, handle)
        capability.append(number.value)
    return DeviceInfo(name.value.decode(errors="replace"), (capability[0], capability[1]), memory.value)


def _lacking(packages: dict[str, str | None]) -> str:
    missing = [name for name in NEEDED if packages[name] is None]
    return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; {INSTALL}" if missing else ""


def _too_old(driver: tuple[int, int] | None, devices: tuple[DeviceInfo, ...], bindings: str | None) -> str:
    """What is wrong with a driver older than the packages, or with GPUs that are all too old."""
    wanted = int(bindings.partition(".")[0]) if bindings else 0
    if driver and driver[0] < wanted:
        return (
            f"the driver speaks CUDA {driver[0]}.{driver[1]}, the installed packages are made for CUDA {wanted}; "
            f"install a newer driver, or dlfast with its extra `cuda{driver[0]}`"
        )
    if devices and all(info.capability < _OLDEST for info in devices):
        return f"kernels need compute capability 8.0 (Ampere) or later; the GPU here is {devices[0]}"
    return ""


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # 20 ms

    try:
        return version(package)
    except PackageNotFoundError:
        return None
