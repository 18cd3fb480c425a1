"""Cython's kernels on each instruction set that the processor has.

`each_isa(backends)` adds to a list of backends one "cython" for each further set; a test that has it as a parameter,
alone or within a tuple, runs on that set (conftest.py). The fixture `isa` is for tests that name no backend.
"""

from dlfast import kernels


class Cython(str):
    """The backend's name, and the instruction set on which a test is to run it."""

    isa: str

    def __new__(cls, isa):
        self = super().__new__(cls, "cython")
        self.isa = isa
        return self

    def __repr__(self):
        return f"cython-{self.isa}"


def further_isas() -> list[str]:
    """Those besides the one in force."""
    if not kernels.built("cython"):
        return []
    from dlfast.kernels.cython import instruction_sets

    return [isa for isa in instruction_sets.available() if isa != instruction_sets.in_use()]


def each_isa(backends) -> list[str]:
    """The backends, and Cython once more for each further instruction set."""
    return [*backends, *(Cython(isa) for isa in further_isas() if "cython" in backends)]


def without_fma() -> bool:
    """Whether a product and the sum that takes it are rounded apart: on x86-64's base."""
    if not kernels.built("cython"):
        return False
    from dlfast.kernels.cython import instruction_sets

    return instruction_sets.in_use() == "base" != instruction_sets.available()[-1]


def named(backend: str) -> str:
    """The backend in the name of a test."""
    return repr(backend) if isinstance(backend, Cython) else backend
