"""Axes of strided arrays in kernels: how few are left when neighbours are joined, and where an element lies.

An element-wise kernel numbers the elements 0 ... n - 1 in C order. It gets the lengths of axes 1 to 5 and each array's
strides along axes 0 to 5, in elements; axes that are not needed come first, with length 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .array_views import ALIGNMENT
from .dialect import device, i64

if TYPE_CHECKING:
    from .array import Array

AXES = 6
THREADS = 256
PER_THREAD = 4
MOST = 2**31 - 1  # elements: kernels count them by int32


def blocks(count: int) -> tuple[int, int, int]:
    """The grid for `count` elements, PER_THREAD a thread. Raises ValueError for more than 2^31 - 1."""
    if count > MOST:
        raise ValueError(f"arrays on a GPU have at most {MOST} elements, got {count}; work on parts")
    return -(-count // (THREADS * PER_THREAD)), 1, 1


def singles(count: int) -> tuple[int, int, int]:
    """The grid for `count` threads."""
    return -(-count // THREADS), 1, 1


def walks(shape: tuple[int, ...], *views: Array | None) -> tuple[int, ...] | None:
    """The lengths of axes 1 to 5, and each view's strides along axes 0 to 5, as element-wise kernels take them.

    views: arrays that broadcast to `shape`; None for a number, with strides of 0. None where more axes would be needed.
    """
    return _walks(shape, tuple([None if x is None else (x.shape, x._strides, x.dtype.itemsize) for x in views]))


@lru_cache(4096)
def _walks(shape: tuple[int, ...], layouts: tuple) -> tuple[int, ...] | None:
    found = joined(shape, *[_steps(shape, layout) for layout in layouts])
    return None if found is None else (*found[0][1:], *[stride for each in found[1] for stride in each])


def _steps(shape: tuple[int, ...], layout: tuple | None) -> list[int]:
    """The strides in elements as those of an array of `shape`: 0 along axes that broadcasting adds or stretches."""
    if layout is None:
        return [0] * len(shape)
    own, strides, size = layout
    steps = dense(own) if strides is None else [stride // size for stride in strides]
    return [0] * (len(shape) - len(own)) + [0 if length == 1 else step for length, step in zip(own, steps)]


def joined(shape: Sequence[int], *strides: Sequence[int]) -> tuple[list[int], list[list[int]]] | None:
    """Lengths and strides of AXES axes, fewer joined where arrays of `shape` with these strides allow it; else None.

    Axes of length 1 go; two neighbours are one where in each array a step along the first is a walk along the second.
    """
    lengths: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, length in enumerate(shape):
        if length == 1:
            continue
        here = [each[axis] for each in strides]
        if lengths and all(step[-1] == length * one for step, one in zip(steps, here)):
            lengths[-1] *= length
            for step, one in zip(steps, here):
                step[-1] = one
        else:
            lengths.append(length)
            for step, one in zip(steps, here):
                step.append(one)
    missing = AXES - len(lengths)
    return None if missing < 0 else ([1] * missing + lengths, [[0] * missing + step for step in steps])


def dense(shape: Sequence[int]) -> list[int]:
    """The strides of a contiguous array, in elements."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


broadcast = lru_cache(4096)(np.broadcast_shapes)


def is_wide(x: Array) -> bool:
    """Whether four elements of x at a time can be read by accesses of 16 bytes."""
    return x._strides is None and x.pointer % ALIGNMENT == 0


@device
def place(k, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5):
    """Where element k lies."""
    rest = k // d5
    at = i64(k - rest * d5) * s5
    if rest > 0:
        k = rest
        rest = k // d4
        at += i64(k - rest * d4) * s4
        if rest > 0:
            k = rest
            rest = k // d3
            at += i64(k - rest * d3) * s3
            if rest > 0:
                k = rest
                rest = k // d2
                at += i64(k - rest * d2) * s2
                if rest > 0:
                    k = rest
                    rest = k // d1
                    at += i64(k - rest * d1) * s1 + i64(rest) * s0
    return at
