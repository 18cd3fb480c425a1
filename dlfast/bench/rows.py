"""What a suite is made of: groups of rows, and the work of a row for each contender."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Protocol

import numpy as np

from ..tensor import Tensor

BEST = "best"  # in targets: the fastest peer


class Step(Protocol):
    """One contender's share of a row: a call does the work."""

    def __call__(self) -> object: ...

    def results(self) -> list[np.ndarray]:
        """Do the work and return what it computes, in our axis order: the same list for each contender."""
        ...


class Work(Protocol):
    """The work of a row, set up for one contender after the other on the same values."""

    def ours(self) -> Step:
        """Through dlfast's public functions; the frame chooses the backend."""
        ...

    def peers(self, pytorch: bool) -> dict[str, Step]:
        """Other libraries by name, as "PyTorch NHWC"; `pytorch` says whether PyTorch is to take part."""
        ...


@dataclass(frozen=True)
class Row:
    """One line of a table.

    flops, a multiply-add counting as two, and bytes, each array once for each pass over it, say what the work amounts
    to; 0 where that makes no sense. targets: wished-for ratios "time of the peer / ours" by the peer's name, `BEST`
    for the fastest. peak_share, copy_share: wished-for shares of the measured peak and copy rate. tolerance: of
    results, relative to the largest. facts(pytorch): what is measured beside the times, by name.
    """

    name: str
    work: Callable[[], Work]
    flops: float = 0
    bytes: float = 0
    targets: Mapping[str, float] | None = None
    peak_share: float | None = None
    copy_share: float | None = None
    tolerance: float = 1e-4
    facts: Callable[[bool], Mapping[str, float]] | None = None


@dataclass(frozen=True)
class Group:
    """Rows that are averaged; mean: the wished-for geometric mean of their ratios to the fastest peer.

    drawn: the rows are many and drawn by chance; their turns are shorter, and of the table only the worst are shown.
    """

    name: str
    rows: Sequence[Row]
    mean: float | None = None
    drawn: bool = False


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def quarters(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Multiples of 1/4 in -2..2: sums of products are exact in any order, so each contender's ReLU cuts the same."""
    return rng.integers(-8, 9, shape).astype(np.float32) / 4


@dataclass
class Operation:
    """One operation, forward and backward with the gradients that `needs` flags, or forward alone where it flags none.

    shapes: of the arrays, images channels last; output: of the result. dlfast(*tensors) -> Tensor, pytorch(torch,
    *tensors) -> tensor, on images channels first, and numpy(*arrays) -> array, forward alone, are the contenders;
    draw makes the values.
    """

    shapes: Sequence[tuple[int, ...]]
    needs: Sequence[bool]
    output: tuple[int, ...]
    dlfast: Callable[..., Tensor]
    pytorch: Callable[..., Any] | None = None
    numpy: Callable[..., np.ndarray] | None = None
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] = normal

    @cached_property
    def values(self) -> tuple[list[np.ndarray], np.ndarray]:
        """The arrays and the gradient of the result: the same for each contender and in each run."""
        rng = np.random.default_rng(0)
        arrays = [self.draw(rng, shape) for shape in (*self.shapes, self.output)]
        return arrays[:-1], arrays[-1]

    def ours(self) -> Step:
        arrays, dy = self.values
        tensors = [Tensor(array, requires_grad=need) for array, need in zip(arrays, self.needs)]
        return OperationStep(self.dlfast, tensors, dy, np.asarray)

    def peers(self, pytorch: bool) -> dict[str, Step]:
        steps: dict[str, Step] = {}
        if self.numpy is not None:
            steps["NumPy"] = OperationStep(self.numpy, *self.values, np.asarray)
        if self.pytorch is not None and pytorch:
            from .pytorch import operation_steps

            steps |= operation_steps(self.pytorch, *self.values, self.needs)
        return steps


class OperationStep:
    """`function` of the tensors and, where one requires it, the backward of dy: for our Tensors and PyTorch's."""

    def __init__(self, function: Callable, tensors: list, dy: Any, to_array: Callable[[Any], np.ndarray]):
        self.function, self.tensors, self.dy, self.to_array = function, tensors, dy, to_array
        self.leaves = [tensor for tensor in tensors if getattr(tensor, "requires_grad", False)]

    def __call__(self) -> Any:
        for leaf in self.leaves:
            leaf.grad = None
        y = self.function(*self.tensors)
        if self.leaves:
            y.backward(self.dy)
        return y

    def results(self) -> list[np.ndarray]:
        y = self()
        return [self.to_array(each) for each in (y, *(leaf.grad for leaf in self.leaves))]


def traffic(shapes: Sequence[tuple[int, ...]], needs: Sequence[bool], output: tuple[int, ...]) -> float:
    """Bytes that float32 work must move at least: forward reads the arrays and writes y; backward reads the arrays and
    dy and writes the gradients."""
    sizes, backward = [prod(shape) for shape in shapes], any(needs)
    written = sum(size for size, need in zip(sizes, needs) if need)
    return 4.0 * ((1 + backward) * (sum(sizes) + prod(output)) + written)
