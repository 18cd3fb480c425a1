"""What `dlfast info` prints: what is installed, what it runs on, and which backend serves which operation."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .. import __version__, cuda, kernels
from ..kernels.threads import get_num_threads


def print_info(console: Console) -> None:
    """Facts about this installation, and the table behind ``auto``."""
    grid = Table.grid(padding=(0, 2))
    for name, value in facts().items():
        grid.add_row(name, value)
    console.print(grid)
    table = Table(title="Backends that have an operation; auto takes the first", title_justify="left")
    for column in ("operation", "auto", "others"):
        table.add_column(column)
    for op, chosen in sorted(kernels.auto_table().items()):
        others = [backend for backend in kernels.backends_of(op) if backend != chosen]
        small = kernels.small_size(op)
        table.add_row(op, f"{chosen}; cython below {small} elements" if small else chosen, ", ".join(others))
    console.print(table)


def facts() -> dict[str, str]:
    """This installation and this machine, by name."""
    names = ("numpy", "numba", "safetensors", "matplotlib", "torch")
    return {
        "dlfast": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        **{name: _version(name) for name in names},
        "processor": _processor(),
        "instructions": _instructions(),
        "threads": str(get_num_threads()),
        "backends": ", ".join(name for name in kernels.BACKENDS if kernels.built(name)),
        "kernel cache": _cache_folder(),
        **_cuda(),
    }


def _cuda() -> dict[str, str]:
    """What CUDA has here, and why it cannot be used where it cannot."""
    found = cuda.status()
    lines = dict(line.split(": ", 1) for line in str(found).splitlines())
    packages = ", ".join(f"{name} {lines.pop(name)}" for name in found.packages)
    driver = lines.pop("driver")
    return {**lines, "cuda driver": driver, "cuda packages": packages}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or 'unknown'} ({platform.machine()})"


def _instructions() -> str:
    """What the compiled kernels use of the processor."""
    from ..kernels.cython import linear
    from ..kernels.numba import simd

    return f"{linear.isa()} (Cython), registers of {8 * simd.REGISTER_BYTES} bits (Numba)"


def _cache_folder() -> str:
    from ..kernels.numba.jit import cache_folder

    return str(cache_folder() or "none: no folder can be written, so kernels are compiled anew by each process")
