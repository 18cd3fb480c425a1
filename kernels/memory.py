"""Where the memory of arrays comes from: one pool (`kernels/runtime/memory_pool.h`) that keeps what arrays give back.

A training step repeats the sizes of the step before, so that from the second step on nothing is asked of the system: no
search for memory, no page faults in large arrays. Kernels take results and temporaries from `empty` and `zeros`;
`pooled` lets the arrays of NumPy expressions come from the pool. Arrays of the pool start at a multiple of 64 bytes and
are NumPy arrays like all others: they may outlive the model, be resized, pickled, and freed by any thread.

The free bytes kept are bounded: used and free memory together stay within twice the most that was in use at one time
(or 64 MiB), unless `set_limit` or ``DLFAST_MEMORY_LIMIT`` (bytes) says otherwise.
"""

from __future__ import annotations

import operator
import os
from typing import NamedTuple

from .runtime import memory as _pool
from .runtime.memory import empty, pooled, zeros

__all__ = ["MemoryStats", "empty", "pooled", "release", "set_limit", "stats", "zeros"]

_AUTOMATIC = -1


class MemoryStats(NamedTuple):
    """What the pool holds, in bytes, and what it has done since the start of the process."""

    in_use: int  # bytes of arrays alive, rounded up to the sizes of blocks
    kept: int  # bytes of free blocks
    peak: int  # most bytes in use at one time, since the start or the last release()
    from_pool: int  # arrays served by a free block
    from_system: int  # arrays for which the system was asked
    given_back: int  # blocks given back to the system


def stats() -> MemoryStats:
    """The statistics of the memory pool."""
    return MemoryStats(*_pool.stats())


def release() -> int:
    """Give all free blocks back to the system and count the peak anew; returns the bytes given back."""
    return _pool.release()


def set_limit(limit: int | None) -> None:
    """Keep at most `limit` bytes free: 0 keeps nothing, None restores the automatic bound.

    Raises TypeError where limit is no integer and ValueError where it is negative or too large.
    """
    if limit is None:
        _pool.set_limit(_AUTOMATIC)
        return
    if isinstance(limit, bool) or not hasattr(limit, "__index__"):
        raise TypeError(f"set_limit: limit must be a number of bytes (an int) or None, got {type(limit).__name__}")
    count = operator.index(limit)
    if not 0 <= count < 2**63:
        raise ValueError(f"set_limit: limit must be in 0..2**63-1 bytes, got {count}")
    _pool.set_limit(count)


def default_limit(environ=os.environ) -> int | None:
    """DLFAST_MEMORY_LIMIT in bytes, None where it is not set."""
    wish = environ.get("DLFAST_MEMORY_LIMIT", "").strip()
    if not wish:
        return None
    if not wish.isdecimal() or int(wish) >= 2**63:
        raise ValueError(f"DLFAST_MEMORY_LIMIT must be a whole number of bytes, got {wish!r}")
    return int(wish)


set_limit(default_limit())
