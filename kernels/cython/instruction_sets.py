"""The instruction sets that the Cython kernels can use here, and all kernels switched to another one, as tests do."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from ..runtime import machine


def available() -> list[str]:
    """Those of this processor, the best last: of "base", "avx2" and "avx512"."""
    return machine.isas()


def in_use() -> str:
    """The one in force: the best, or what DLFAST_ISA asked for."""
    return machine.isa()


@contextmanager
def use(name: str) -> Iterator[None]:
    """That one in every Cython kernel for the length of a ``with``, in which no other thread may run one.

    Raises ValueError where the processor lacks it.
    """
    before = in_use()
    for module in _modules():
        module.set_isa(name)
    try:
        yield
    finally:
        for module in _modules():
            module.set_isa(before)


def _modules() -> list[ModuleType]:
    """The extensions that have code for each instruction set."""
    package = __name__.rpartition(".")[0]
    path = import_module(package).__path__
    modules = [import_module(f"{package}.{each.name}") for each in pkgutil.iter_modules(path)]
    return [module for module in (machine, *modules) if hasattr(module, "set_isa")]
