"""Samples that several tests compute with."""

import math

import numpy as np

from dlfast.tensor import Tensor


def image(*shape):
    """Values in random order, no two closer than 0.05 and none near 0: no kink or tie within a finite difference."""
    size = math.prod(shape)
    return np.random.default_rng(0).permutation((np.arange(size) - size // 2 + 0.5) * 0.1).reshape(shape)


def leaf(*shape, dtype=np.float64, seed=0):
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype), requires_grad=True)
