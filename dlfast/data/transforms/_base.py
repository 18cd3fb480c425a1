"""What every transform is, and those that are made of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ... import _check as check
from ... import random
from ..._arrays import plain_array

_KINDS = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.uint8))


class Transform:
    """A base for transforms of one's own: define ``apply(x, generator)``, which gives a new array.

    x (N, H, W, C), float32, float64 or uint8, is checked before, and may be read-only.
    """

    def __call__(self, x: Any, generator: np.random.Generator | None = None) -> np.ndarray:
        name = type(self).__name__
        return self.apply(self.checked(name, plain_array(x)), checked_generator(name, generator))

    def checked(self, name: str, x: np.ndarray) -> np.ndarray:
        """x, when it is what the transform takes. Raises TypeError and ValueError."""
        if x.dtype not in _KINDS:
            raise TypeError(f"{name}: images must be float32, float64 or uint8, got {x.dtype}")
        if x.ndim == 3:
            raise ValueError(
                f"{name}: expected a batch (N, H, W, C), got shape {x.shape}; of one image take t(x[None])[0]"
            )
        check.rank(name, "x", x, "N, H, W, C")
        return x

    def apply(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define apply")

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({options})"


class Compose(Transform):
    """One transform after the other: ``Compose([RandomCrop(padding=2), RandomHorizontalFlip()])``."""

    def __init__(self, transforms: Iterable[Callable]) -> None:
        if callable(transforms) or not isinstance(transforms, Iterable):
            raise TypeError(f"Compose: expected a list of transforms, got {transforms!r}")
        self.transforms = list(transforms)
        for transform in self.transforms:
            if not callable(transform):
                raise TypeError(
                    f"Compose: every transform must be callable, got {transform!r}; a function of x: Lambda"
                )

    def __call__(self, x: Any, generator: np.random.Generator | None = None) -> np.ndarray:
        generator = checked_generator("Compose", generator)
        for transform in self.transforms:
            x = transform(x, generator)
        return x

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"


class Lambda(Transform):
    """y = function(x), of the whole batch, whatever it is: ``Lambda(lambda x: x[:, ::2, ::2])``."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        if not callable(function):
            raise TypeError(f"Lambda: expected a function of a batch, got {function!r}")
        self.function = function

    def __call__(self, x: Any, generator: np.random.Generator | None = None) -> np.ndarray:
        return self.function(x)


def checked_generator(name: str, generator: Any) -> np.random.Generator:
    """The generator, dlfast's own for None; TypeError for what is none."""
    if generator is None:
        return random.generator()
    if not isinstance(generator, np.random.Generator):
        raise TypeError(f"{name}: generator must be a NumPy generator, got {type(generator).__name__}")
    return generator


def probability(name: str, p: float) -> float:
    return check.number(name, "p", p, 0, 1, high_closed=True)


def interval(name: str, argument: str, value: Any, low: float, high: float = np.inf) -> tuple[float, float]:
    """Two numbers in [low, high], the smaller first."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{name}: {argument} must be two numbers (least, most), got {value!r}")
    least, most = (check.number(name, argument, number, low, high, high_closed=True) for number in value)
    if least > most:
        raise ValueError(f"{name}: {argument} must be (least, most), got {value!r}")
    return least, most
