"""The random numbers of the library: one NumPy generator for initial weights, dropout and shuffling."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

_generator = np.random.default_rng()


def manual_seed(seed: int) -> np.random.Generator:
    """Start the generator anew, so that what follows is the same in every run. Returns it."""
    global _generator
    _generator = np.random.default_rng(seed)
    return _generator


def generator() -> np.random.Generator:
    """The generator in use, a numpy.random.Generator."""
    return _generator


def get_state() -> dict[str, Any]:
    """The state of the generator: nested dictionaries of strings and integers, as JSON takes them."""
    return copy.deepcopy(dict(_generator.bit_generator.state))


def set_state(state: dict[str, Any]) -> None:
    """Continue from a state that `get_state` gave."""
    _generator.bit_generator.state = copy.deepcopy(state)


def permutation(count: int) -> np.ndarray:
    """0..count-1 in random order, int64."""
    return _generator.permutation(count)


def seed64() -> int:
    """A seed of 64 bits, for a kernel that makes its own random numbers."""
    return int(_generator.bit_generator.random_raw())
