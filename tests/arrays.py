"""What a row of `cases` is made of: makers of arrays, and the two kinds of row."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Maker = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True, eq=False)
class Case:
    """``<op>_forward(*arrays, **options)`` and its backward. The row's name seeds the values: they never change.

    Tags: "relative", results are compared element by element, each on its own scale; "no-gradcheck", the derivative
    jumps or the values are no numbers, so central differences say nothing.
    """

    op: str
    name: str
    arrays: tuple[Maker | None, ...]
    options: dict = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    def inputs(self, dtype) -> list[np.ndarray | None]:
        """The arrays, fresh, floats rounded to dtype."""
        rng = _generator(self, 0)
        return [make and cast(make(rng), dtype) for make in self.arrays]

    def gradient(self, y, dtype):
        """A random gradient of the outputs y, an array or a tuple of them."""
        rng = _generator(self, 1)
        if isinstance(y, tuple):
            return tuple(cast(rng.standard_normal(each.shape), dtype) for each in y)
        return cast(rng.standard_normal(y.shape), dtype)


@dataclass(frozen=True, eq=False)
class StepCase:
    """An optimizer update of `size` parameters. `states` says which state arrays there are, `at_step` gives the options
    that change with the step (1, 2, ...)."""

    op: str
    name: str
    size: int
    states: tuple[bool, ...]
    options: dict
    at_step: Callable[[int], dict] = lambda step: {}

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    def start(self, dtype) -> list[np.ndarray | None]:
        """The parameters and the state, which is zero at first."""
        param = cast(_generator(self, 0).standard_normal(self.size), dtype)
        return [param, *(np.zeros(self.size, dtype) if given else None for given in self.states)]

    def gradient(self, step: int, dtype) -> np.ndarray:
        return cast(_generator(self, step).standard_normal(self.size), dtype)


def cast(values, dtype) -> np.ndarray:
    """Floats in dtype; whole numbers (labels, indices) as they are."""
    values = np.asarray(values, order="C")
    return values.astype(dtype) if values.dtype.kind == "f" else values


def _generator(case, stream: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(str(case).encode()), stream])


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
