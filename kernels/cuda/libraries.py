"""NVIDIA's libraries on a GPU: which are there, and why one is not."""

from __future__ import annotations

from functools import cache, cached_property
from importlib import import_module
from importlib.util import find_spec

from .cublas import Cublas
from .cudnn import Cudnn


class Libraries:
    """What a GPU has besides our own kernels; what is not installed is None, and our kernels stand in."""

    def enter(self) -> None:
        """Make the device's context the thread's."""

    @cached_property
    def cublas(self) -> Cublas | None:
        """cuBLASLt: matrix products."""
        if self.no_cublas:
            return None
        self.enter()
        return Cublas(self)

    @cached_property
    def cudnn(self) -> Cudnn | None:
        """cuDNN: convolutions, and attention of halves."""
        if self.no_cudnn:
            return None
        self.enter()
        return Cudnn(self)

    @property
    def no_cublas(self) -> str:
        """Why there is no cuBLASLt; empty where there is one."""
        return lacking_cublas()

    @property
    def no_cudnn(self) -> str:
        """Why there is no cuDNN; empty where there is one."""
        return lacking_cudnn()


@cache
def lacking_cublas() -> str:
    """Why there is no cuBLASLt; empty where there is one."""
    if find_spec("nvmath") is None:
        return "nvmath-python is not installed"
    try:
        import_module("nvmath.bindings.cublasLt").get_version()
    except Exception as error:  # what nvmath raises where cuBLAS or the driver is missing is not documented
        return f"cuBLASLt does not load: {error}"
    return ""


@cache
def lacking_cudnn() -> str:
    """Why there is no cuDNN; empty where there is one."""
    if find_spec("cudnn") is None:
        return "nvidia-cudnn-frontend is not installed"
    try:
        import_module("cudnn").backend_version()
    except Exception as error:  # RuntimeError where there is no library, ImportError for a broken frontend
        return f"cuDNN itself is not found (nvidia-cudnn-cu13 or nvidia-cudnn-cu12): {error}"
    return ""
