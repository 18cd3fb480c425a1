"""The memory of arrays: what the pool holds (`stats`), giving it back (`release`), and its bound (`set_limit`)."""

from .kernels.memory import MemoryStats, release, set_limit, stats

__all__ = ["MemoryStats", "release", "set_limit", "stats"]
