"""Sums and maxima over the threads of a block, for kernels in which a block makes a row.

Every thread gets the result. The order of the additions follows from the number of threads alone.
"""

from __future__ import annotations

from .dialect import cuda, device, shuffle_xor

THREADS = 128  # of a block that makes a row
WARPS = THREADS // 32


@device
def warp_sum(value):
    """The sum over the 32 lanes of a warp."""
    value += shuffle_xor(value, 16)
    value += shuffle_xor(value, 8)
    value += shuffle_xor(value, 4)
    value += shuffle_xor(value, 2)
    return value + shuffle_xor(value, 1)


@device
def warp_max(value):
    """The maximum over the 32 lanes of a warp; NaN where a lane has NaN."""
    value = larger(value, shuffle_xor(value, 16))
    value = larger(value, shuffle_xor(value, 8))
    value = larger(value, shuffle_xor(value, 4))
    value = larger(value, shuffle_xor(value, 2))
    return larger(value, shuffle_xor(value, 1))


@device
def larger(a, b):
    """The larger one; NaN where either is NaN."""
    return a if a >= b or a != a else b


@device
def block_sum(value, part):
    """The sum over a block of THREADS threads; part: WARPS numbers of shared memory, free again after it."""
    value = warp_sum(value)
    if cuda.threadIdx.x % 32 == 0:
        part[cuda.threadIdx.x // 32] = value
    cuda.syncthreads()
    value = (part[0] + part[1]) + (part[2] + part[3])
    cuda.syncthreads()
    return value


@device
def block_max(value, part):
    """The maximum over a block, like `block_sum`."""
    value = warp_max(value)
    if cuda.threadIdx.x % 32 == 0:
        part[cuda.threadIdx.x // 32] = value
    cuda.syncthreads()
    value = larger(larger(part[0], part[1]), larger(part[2], part[3]))
    cuda.syncthreads()
    return value
