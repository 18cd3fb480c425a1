"""Kernels loaded on a GPU, and what a launch may ask for."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dialect import Kernel
from .packing import Packing

_MOST_BLOCKS, _MOST_ROWS, MOST_THREADS = 2**31 - 1, 65535, 1024


def check_grid(kernel: Kernel, grid: tuple[int, int, int], block: tuple[int, int]) -> None:
    """Raise ValueError for more blocks or threads than a launch may have."""
    x, y, z = grid
    if x > _MOST_BLOCKS or y > _MOST_ROWS or z > _MOST_ROWS:
        raise ValueError(f"{kernel.name}: a grid has at most {_MOST_BLOCKS} x 65535 x 65535 blocks, got {grid}")
    if block[0] * block[1] > MOST_THREADS:
        raise ValueError(f"{kernel.name}: a block has at most {MOST_THREADS} threads, got {block}")


class Cells:
    """Room for the arguments of a launch, and the addresses of them that the driver wants."""

    def __init__(self, count: int):
        self.values = np.zeros(count, np.int64)
        self._addresses = self.values.ctypes.data + 8 * np.arange(count, dtype=np.uint64)
        self.address = self._addresses.ctypes.data


class Loaded:
    """A kernel in a GPU's memory."""

    def __init__(self, driver: Any, kernel: Kernel, dtype: np.dtype, code: bytes):
        from cuda.core import ObjectCode

        self._code = ObjectCode.from_cubin(code, name=kernel.name)
        self._kernel = self._code.get_kernel(kernel.name)
        self.handle = driver.CUfunction(int(self._kernel.handle))
        self._packing = Packing(kernel, dtype)
        self.spare: list[Cells] = []  # the driver has read them when a launch returns

    def cells(self, arguments: tuple) -> Cells:
        """The arguments, in room that no other thread uses; it goes to `spare` after the launch."""
        try:
            cells = self.spare.pop()
        except IndexError:
            cells = Cells(self._packing.count)
        self._packing.into(cells.values, arguments)
        return cells
