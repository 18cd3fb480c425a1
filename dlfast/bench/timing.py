"""Timing contenders in turns, and the number of threads of every library that takes part."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..kernels.threads import get_num_threads, set_num_threads
from . import blas

REST = 0.03  # seconds between turns: other libraries' threads spin for a while after their work
BLAS_REST = 0.15  # where NumPy's OpenBLAS takes part: its threads spin for 2^28 cycles
MOST_CALLS = 500  # in a turn


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one contender's calls."""

    median: float
    minimum: float
    calls: int


def in_turns(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    seconds: float = 0.04,
    around: Callable[[str], AbstractContextManager] = lambda name: nullcontext(),
    rest: float | None = None,
) -> dict[str, Timing]:
    """Time each contender in each of the rounds, so that a slow moment of the machine meets all of them.

    A turn is a rest, one call that is not timed, and timed calls until `seconds` are over, one at least. The turn of
    the contender `name` runs inside ``around(name)``. rest: in seconds, where NumPy's BLAS takes no part; None: `REST`.
    """
    if {"NumPy", "reference"} & contenders.keys():
        rest = BLAS_REST
    elif rest is None:
        rest = REST
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            time.sleep(rest)
            with around(name):
                call()
                times[name] += _turn(call, seconds)
    return {name: Timing(1e3 * median(each), 1e3 * min(each), len(each)) for name, each in times.items()}


def _turn(call: Callable[[], object], seconds: float) -> list[float]:
    times: list[float] = []
    start = time.perf_counter()
    end = start + seconds
    while not times or start < end and len(times) < MOST_CALLS:
        call()
        stop = time.perf_counter()
        times.append(stop - start)
        start = stop
    return times


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """So many threads in dlfast, in PyTorch where it is imported, and in NumPy's BLAS where it can be told."""
    torch: Any = sys.modules.get("torch")
    setters: list[tuple[Callable, Callable]] = [
        (get_num_threads, set_num_threads),
        (blas.get_num_threads, blas.set_num_threads),
    ]
    if torch is not None:
        setters.append((torch.get_num_threads, torch.set_num_threads))
    before = [get() for get, _ in setters]
    for _, set_number in setters:
        set_number(count)
    try:
        yield
    finally:
        for (_, set_number), number in zip(setters, before):
            set_number(number)
