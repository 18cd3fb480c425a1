"""Where the memory of arrays on a device comes from: a pool that keeps what arrays give back.

A training step repeats the sizes of the step before, so that from the second step on the driver, which takes long and
waits for the GPU, is asked for nothing. A block belongs to the stream for which it was taken: that stream's work is
done in order, so a block that is free again may be taken for it at once, while the GPU still reads or writes it. What
other streams use besides is said by `Block.used_by`, and such a block waits for them when it is given back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable
from typing import Any, Protocol
from weakref import WeakSet

from ..memory import MemoryStats

SMALLEST = 512  # bytes of a block


class Allocator(Protocol):
    """What a pool asks of a device."""

    def allocate(self, nbytes: int) -> int:
        """The address of fresh memory, aligned to 256 bytes at least; 0 where there is none."""

    def free(self, pointer: int) -> None:
        """Give memory back; the device is done with it, or waits here until it is."""

    def mark(self, stream: Any) -> Any:
        """A mark behind the work that a stream has been given; `passed` says whether that is done."""

    def passed(self, mark: Any) -> bool: ...

    def describe(self) -> str:
        """How much memory is free, of how much, for people."""


def rounded(nbytes: int) -> int:
    """The size of the block for so many bytes: an eighth more at most, beyond 4 KiB, so that similar sizes share."""
    size = max(nbytes, 1)
    step = max(SMALLEST, 1 << max(0, (size - 1).bit_length() - 4))
    return -(-size // step) * step


class Block:
    """Memory of a pool, which it goes back to with the last array on it: the owner of arrays."""

    __slots__ = ("__weakref__", "pointer", "pool", "size", "stream", "users")

    def __init__(self, pool: Pool, pointer: int, size: int, stream: Hashable):
        self.pool, self.pointer, self.size, self.stream = pool, pointer, size, stream
        self.users: set | None = None

    def used_by(self, stream: Hashable) -> None:
        """Let the block wait, when it is given back, for what this stream has been given until then."""
        if stream != self.stream:
            self.users = {*(self.users or ()), stream}

    def __del__(self) -> None:
        # No lock and no driver here: this may run inside of any line of Python, those of the pool among them.
        self.pool.returned.append((self.pointer, self.size, self.stream, self.users))


class _Counts:
    """The numbers of a pool and of its private ones together."""

    def __init__(self) -> None:
        self.in_use = self.kept = self.peak = 0
        self.from_pool = self.from_system = self.given_back = 0


class Pool:
    """Free blocks by stream and size, over an allocator; for any number of threads."""

    def __init__(self, allocator: Allocator, name: str, parent: Pool | None = None):
        self._allocator, self._name, self._parent = allocator, name, parent
        self._lock: Any = parent._lock if parent else threading.RLock()
        self._counts: _Counts = parent._counts if parent else _Counts()
        self._private: WeakSet[Pool] = WeakSet()
        self.returned: deque[tuple] = deque()  # what arrays have given back since anybody looked
        self._orphans: deque[tuple] = deque()  # what arrays of closed private pools have
        self._free: dict[tuple[Hashable, int], list[int]] = {}
        self._waiting: list[tuple[list, int, int, Hashable]] = []

    def take(self, nbytes: int, stream: Hashable = None) -> Block:
        """A block of at least so many bytes for work on a stream. Raises MemoryError where there is none."""
        size, counts = rounded(nbytes), self._counts
        with self._lock:
            self._collect()
            free = self._free.get((stream, size))
            if free:
                pointer = free.pop()
                counts.kept -= size
                counts.from_pool += 1
            else:
                pointer = self._ask(size, nbytes)
                counts.from_system += 1
            counts.in_use += size
            counts.peak = max(counts.peak, counts.in_use)
        return Block(self, pointer, size, stream)

    def _ask(self, size: int, nbytes: int) -> int:
        """Memory of the driver; where it has none, all that is kept goes back first."""
        pointer = self._allocator.allocate(size)
        if not pointer and self._give_back() + (self._parent._give_back() if self._parent else 0):
            pointer = self._allocator.allocate(size)
        if not pointer:
            raise MemoryError(
                f"{self._name} has no memory for an array of {nbytes} bytes: {self._allocator.describe()}, of which "
                f"arrays hold {self._counts.in_use}; smaller batches need less"
            )
        return pointer

    def _collect(self) -> None:
        """Sort in what arrays have given back, and what other streams have done with."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for marks, *block in waiting:
                if all(map(self._allocator.passed, marks)):
                    self._keep(*block)
                else:
                    self._waiting.append((marks, *block))
        while self.returned:
            pointer, size, stream, users = self.returned.popleft()
            self._counts.in_use -= size
            self._counts.kept += size
            if users:
                self._waiting.append(([self._allocator.mark(user) for user in users], pointer, size, stream))
            else:
                self._keep(pointer, size, stream)
        while self._orphans:
            pointer, size, *_ = self._orphans.popleft()
            self._counts.in_use -= size
            self._counts.given_back += 1
            self._allocator.free(pointer)

    def _keep(self, pointer: int, size: int, stream: Hashable) -> None:
        self._free.setdefault((stream, size), []).append(pointer)

    def _give_back(self) -> int:
        """Give free blocks to the driver, which waits until the GPU is done with them; the bytes."""
        self._collect()
        blocks = [(pointer, size) for (_, size), free in self._free.items() for pointer in free]
        blocks += [(pointer, size) for _, pointer, size, _ in self._waiting]
        self._free.clear()
        self._waiting.clear()
        for pointer, _ in blocks:
            self._allocator.free(pointer)
        total = sum(size for _, size in blocks)
        self._counts.given_back += len(blocks)
        self._counts.kept -= total
        return total

    def release(self) -> int:
        """Give all free blocks back to the driver and count the peak anew; returns the bytes given back."""
        with self._lock:
            total = self._give_back()
            self._counts.peak = self._counts.in_use
            return total

    def stats(self) -> MemoryStats:
        """What it and its private pools hold, and have done."""
        with self._lock:
            for pool in (self, *self._private):
                pool._collect()
            return MemoryStats(**vars(self._counts))

    def private(self) -> Pool:
        """A pool for the blocks of a captured graph: nobody else writes to them between two replays; see `close`."""
        with self._lock:
            pool = Pool(self._allocator, self._name, self)
            self._private.add(pool)
            return pool

    def close(self) -> None:
        """Give a private pool's blocks to the driver: the free ones now, the others with the last array on them."""
        assert self._parent is not None
        with self._lock:
            self._give_back()
            left, self.returned = self.returned, self._parent._orphans
            self._parent._orphans.extend(left)
