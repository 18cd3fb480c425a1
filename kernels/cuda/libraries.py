"""NVIDIA's libraries on a GPU: which are there, and why one is not."""

from __future__ import annotations

from functools import cache, cached_property
from importlib import import_module
from importlib.util import find_spec

from .cublas import Cublas


class Libraries:
    """What a GPU has besides our own kernels; what is not installed is None, and our kernels stand in."""

    @cached_property
    def cublas(self) -> Cublas | None:
        """cuBLASLt: matrix products."""
        return None if lacking_cublas() else Cublas(self)


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
