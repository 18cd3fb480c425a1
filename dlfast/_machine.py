"""What this machine can do at best, measured: multiply-adds a second and bytes copied a second.

The roofs that kernels are held against (Williams, Waterman, Patterson 2009, "Roofline"). Every call measures anew,
which takes some tenths of a second.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ._check import FLOATS
from .kernels.cython import machine
from .kernels.threads import get_num_threads, set_num_threads

_SECONDS = 0.05
_FMA_REPEATS, _COPY_REPEATS = 5, 15  # memory is the more fitful
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def fma_peak(threads: int | None = None, dtype: DTypeLike = np.float32) -> float:
    """GF/s of multiply-adds on registers alone, with so many threads of the library's pool (None: those in force).

    A multiply-add counts as two operations; the instructions are those that the compiled kernels use here.
    dtype: float32 or float64; raises TypeError for others.
    """
    if np.dtype(dtype) not in FLOATS:
        raise TypeError(f"fma_peak: dtype must be float32 or float64, got {np.dtype(dtype)}")
    with _using(threads) as count:
        jobs = 16 * count
        machine.multiply_adds(jobs, dtype)  # starts the threads
        jobs *= math.ceil(_SECONDS / _seconds(lambda: machine.multiply_adds(jobs, dtype)))
        work = machine.multiply_adds(jobs, dtype)
        return 1e-9 * work / min(_seconds(lambda: machine.multiply_adds(jobs, dtype)) for _ in range(_FMA_REPEATS))


def copy_rate(threads: int | None = None) -> float:
    """GB/s of a copy from memory to memory with so many threads; each byte counts twice, read and written."""
    size = copy_bytes()
    source, target = np.ones(size, np.uint8), np.empty(size, np.uint8)
    with _using(threads):
        machine.copy(source, target)  # the first touch of the pages
        return 1e-9 * 2 * size / min(_seconds(lambda: machine.copy(source, target)) for _ in range(_COPY_REPEATS))


def copy_bytes(caches: Path = _CACHES) -> int:
    """Size of the array that `copy_rate` copies: four times the largest cache, 64 MiB to 512 MiB."""
    sizes = [_cache_bytes(path) for path in caches.glob("index*/size")]
    return min(max(64 << 20, 4 * max(sizes, default=0)), 512 << 20)


def _cache_bytes(path: Path) -> int:
    """A size as Linux writes it, "32768K"; 0 where it cannot be read."""
    try:
        text = path.read_text().strip()
        return int(text.rstrip("KMG")) << {"K": 10, "M": 20, "G": 30}.get(text[-1:], 0)
    except (OSError, ValueError):
        return 0


@contextmanager
def _using(threads: int | None) -> Iterator[int]:
    """That number of threads for the length of a `with`."""
    before = get_num_threads()
    set_num_threads(before if threads is None else threads)
    try:
        yield get_num_threads()
    finally:
        set_num_threads(before)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
