"""How many bytes kernels move: the one count behind each kernel's share of the copy bandwidth.

A launch moves each array that it is given once. That holds for kernels that pass over an array several times too, where
the caches hold what they pass over (a row of softmax, the rows of a window, the tiles of a product). A kernel that
touches a part of an array says so itself (`kernel(..., moved=)`). Copies and the products of libraries are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .dialect import Kernel


class Count:
    """The bytes that have been moved since, and by which kernels."""

    def __init__(self) -> None:
        self.by_kernel: dict[str, int] = {}

    @property
    def bytes(self) -> int:
        return sum(self.by_kernel.values())


@contextmanager
def counted() -> Iterator[Count]:
    """Count what the kernels launched inside move, in the whole process: ``with counted() as count``."""
    count, call = Count(), Kernel.__call__

    def noting(kernel, grid, block, *arguments):
        if 0 not in grid:
            count.by_kernel[kernel.name] = count.by_kernel.get(kernel.name, 0) + moved(kernel, arguments)
        call(kernel, grid, block, *arguments)

    Kernel.__call__ = noting  # type: ignore[method-assign]
    try:
        yield count
    finally:
        Kernel.__call__ = call  # type: ignore[method-assign]


def moved(kernel: Kernel, arguments: tuple) -> int:
    """The bytes that a launch with these arguments moves."""
    if kernel.moved is not None:
        return kernel.moved(*arguments)
    return sum(getattr(argument, "nbytes", 0) for argument in arguments)
