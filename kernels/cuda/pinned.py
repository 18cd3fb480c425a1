"""Which memory of the CPU a GPU may read by itself, and when."""

from __future__ import annotations

from typing import Any

import numpy as np


class PinnedMemory:
    """The owner of arrays of NumPy in pinned memory, as bytes; a view's last `base` is one of these."""

    def __init__(self, block: Any, nbytes: int):
        self.block = block
        self.__array_interface__ = {
            "version": 3, "data": (block.pointer, False), "shape": (nbytes,), "typestr": "|u1",
        }  # fmt: skip


def _root(x: Any) -> Any:
    while isinstance(x, np.ndarray) and x.base is not None:
        x = x.base
    return x


def pinned_owner(x: np.ndarray) -> PinnedMemory | None:
    """The pinned memory that an array lies in."""
    root = _root(x)
    return root if isinstance(root, PinnedMemory) else None


def is_pageable(x: np.ndarray) -> bool:
    """Whether an array lies in memory of NumPy's own, which the driver copies before an asynchronous upload returns."""
    return isinstance(_root(x), np.ndarray)
