"""The random numbers of the library: one NumPy generator for initial weights, dropout and shuffling."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .kernels.capturing import refuse, seed

_generator = np.random.default_rng()
_of_thread = threading.local()  # a thread that makes batches ahead has a generator of its own


def manual_seed(seed: int) -> np.random.Generator:
    """Start the generator anew, so that what follows is the same in every run. Returns it."""
    global _generator
    _generator = np.random.default_rng(seed)
    return _generator


def generator() -> np.random.Generator:
    """The generator in use, a numpy.random.Generator. Raises RuntimeError while a CUDA graph is captured."""
    refuse("random numbers that are drawn on the CPU; draw them before, and give them to the function")
    return _in_use()


def _in_use() -> np.random.Generator:
    return getattr(_of_thread, "generator", _generator)


@contextmanager
def using(other: np.random.Generator) -> Iterator[None]:
    """Let this thread draw from another generator: what it draws does not depend on what other threads do."""
    _of_thread.generator = other
    try:
        yield
    finally:
        del _of_thread.generator


def get_state() -> dict[str, Any]:
    """The state of the generator: nested dictionaries of strings and integers, as JSON takes them."""
    return dict(generator().bit_generator.state)  # made anew at each access


def set_state(state: dict[str, Any]) -> None:
    """Continue from a state that `get_state` gave."""
    generator().bit_generator.state = copy.deepcopy(state)


def permutation(count: int) -> np.ndarray:
    """0..count-1 in random order, int64."""
    return generator().permutation(count)


def seed64() -> int:
    """A seed of 64 bits, for a kernel that makes its own random numbers; a captured graph draws one for each replay."""
    return seed(_draw)


def _draw() -> int:
    return int(_in_use().bit_generator.random_raw())


def peek64() -> int:
    """The seed that `seed64` would give next, without drawing it."""
    return int(copy.deepcopy(generator().bit_generator).random_raw())
