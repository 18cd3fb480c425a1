"""Makers of the arrays in `cases`: functions of a random generator, named for what they make."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Maker = Callable[[np.random.Generator], np.ndarray]


def normal(*shape: int, scale: float = 1.0, offset: float = 0.0) -> Maker:
    return lambda rng: offset + scale * rng.standard_normal(shape)


def between(low: float, high: float, *shape: int) -> Maker:
    return lambda rng: rng.uniform(low, high, shape)


def constant(value: float, *shape: int) -> Maker:
    return lambda rng: np.full(shape, value)


def away_from(kinks: tuple[float, ...], *shape: int, gap: float = 0.05) -> Maker:
    """Normal values, twice as wide, none within `gap` of a kink (kinks lie at least 2 gap apart)."""

    def make(rng):
        x = 2 * rng.standard_normal(shape)
        for kink in kinks:
            x = np.where(np.abs(x - kink) < gap, kink + np.copysign(gap, x - kink), x)
        return x

    return make


def distinct(*shape: int) -> Maker:
    """Values in -2..2 in random order, no two of them equal or close."""
    return lambda rng: (rng.permutation(int(np.prod(shape))) / max(1, np.prod(shape)) * 4 - 2).reshape(shape)


def few_values(*shape: int) -> Maker:
    """-1, 0 and 1: full of ties."""
    return lambda rng: rng.integers(-1, 2, shape).astype(float)


def exactly(*values) -> Maker:
    return lambda rng: np.array(values, dtype=float)


def whole(*values: int) -> Maker:
    return lambda rng: np.array(values, dtype=np.int64)


def holding(*values: float, of: Callable[..., Maker] = normal) -> Callable[..., Maker]:
    """Like the maker `of`, with these values (NaN, infinities, ...) at some random places."""

    def with_shape(*shape):
        def make(rng):
            x = of(*shape)(rng)
            places = rng.permutation(x.size)[: max(x.size // 5, len(values))]
            x.reshape(-1)[places] = np.resize(values, places.size)
            return x

        return make

    return with_shape


def indices(shape: tuple[int, ...], size: int) -> Maker:
    return lambda rng: rng.integers(0, max(size, 1), shape)


def labels(count: int, classes: int, ignored: int | None = None) -> Maker:
    """Labels 0..classes-1; every third is `ignored` where that is given."""

    def make(rng):
        target = rng.integers(0, classes, count)
        if ignored is not None:
            target[::3] = ignored
        return target

    return make
