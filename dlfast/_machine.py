"""What this machine can do at best, measured: multiply-adds a second and bytes copied a second.

The roofs that kernels are held against (Williams, Waterman, Patterson 2009, "Roofline"). `fma_peak` and `copy_rate`
measure anew with every call, which takes some tenths of a second; `fma_roof` measures once, until no trial is better,
and keeps the figure beside the compiled kernels.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ._check import FLOATS
from ._files import write_text
from .kernels.runtime import machine
from .kernels.threads import get_num_threads, set_num_threads

_SECONDS = 0.05
_FMA_REPEATS, _COPY_REPEATS = 5, 15  # memory is the more fitful
_FMA_PATIENCE, _FMA_TRIALS = 4, 12  # of `fma_roof`: 2 seconds or so
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


def fma_roof(threads: int, dtype: DTypeLike = np.float32, least: float = 0.0) -> float:
    """`fma_peak` as it was measured best on this processor with these instructions and so many threads.

    Another program slows a trial down and nothing speeds one up, so trials go on until the best of them stays the best;
    that is kept in `roofs.json` of the kernel cache. least: a rate that was reached; where a kept figure is below it,
    a busy machine was measured, and it is measured again.
    """
    path, name = _roofs_file(), _roof_name(threads, dtype)
    kept = _kept(path)
    if kept.get(name, 0.0) > least:
        return kept[name]
    best = max(kept.get(name, 0.0), _patient_peak(threads, dtype))
    if path is not None:
        with suppress(OSError):  # a full or read-only disk costs the next call its measurement
            write_text(path, json.dumps(_kept(path) | {name: best}, indent=1, sort_keys=True))
    return best


def _patient_peak(threads: int, dtype: DTypeLike) -> float:
    """The best of trials, the last `_FMA_PATIENCE` of which brought nothing."""
    best, trials, since = 0.0, 0, 0
    while since < _FMA_PATIENCE and trials < _FMA_TRIALS:
        trial = fma_peak(threads, dtype)
        since = 0 if trial > 1.01 * best else since + 1
        best, trials = max(best, trial), trials + 1
    return best


def _roof_name(threads: int, dtype: DTypeLike) -> str:
    return f"{cpu_model()}, {machine.isa()}, {np.dtype(dtype).name}, {threads} threads, {os.cpu_count()} processors"


def _roofs_file() -> Path | None:
    """Where roofs are kept; None where nothing can be."""
    from .kernels.numba.jit import cache_folder

    folder = cache_folder()
    return folder and folder.parent / "roofs.json"


def _kept(path: Path | None) -> dict[str, float]:
    """The roofs of a file; none where it is missing or damaged."""
    try:
        found = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    good = isinstance(found, dict) and all(isinstance(value, float) and value > 0 for value in found.values())
    return found if good else {}


def cpu_model(source: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as far as the system tells."""
    with suppress(OSError):
        for line in source.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


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
