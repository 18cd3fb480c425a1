"""An optimizer's update alone, without a network, as the work of a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..optim import Adam
from ..tensor import Parameter
from .rows import Step, normal

LR = 1e-2


@dataclass
class Update:
    """Adam's step on parameters of these shapes, their gradients clipped to the norm `clip` where it is given.

    Results are the parameters after the first step.
    """

    shapes: Sequence[tuple[int, ...]]
    clip: float | None = None

    @cached_property
    def values(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Parameters and gradients."""
        rng = np.random.default_rng(0)
        return [normal(rng, shape) for shape in self.shapes], [normal(rng, shape) for shape in self.shapes]

    def ours(self) -> Step:
        values, gradients = self.values

        def fresh() -> tuple[list, Callable[[], object]]:
            parameters = [Parameter(value) for value in values]
            for parameter, gradient in zip(parameters, gradients):
                parameter.grad = gradient
            return parameters, Adam(parameters, lr=LR, clip_grad_norm=self.clip).step

        return UpdateStep(fresh)

    def peers(self, pytorch: bool) -> dict[str, Step]:
        if not pytorch:
            return {}
        import torch

        values, gradients = self.values

        def fresh(**options) -> tuple[list, Callable[[], object]]:
            parameters = [torch.nn.Parameter(torch.tensor(value)) for value in values]
            for parameter, gradient in zip(parameters, gradients):
                parameter.grad = torch.tensor(gradient)
            optimizer = torch.optim.Adam(parameters, lr=LR, **options)

            def step() -> None:
                if self.clip is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, self.clip)
                optimizer.step()

            return parameters, step

        return {
            "PyTorch fused": UpdateStep(lambda: fresh(fused=True)),
            "PyTorch default": UpdateStep(fresh),
        }


class UpdateStep:
    """One contender's `Update`; fresh() makes (parameters, what takes a step)."""

    def __init__(self, fresh: Callable[[], tuple[list, Callable[[], object]]]):
        self.fresh = fresh
        _, self.step = fresh()

    def __call__(self) -> object:
        return self.step()

    def results(self) -> list[np.ndarray]:
        parameters, step = self.fresh()
        step()
        return [np.asarray(parameter.data) for parameter in parameters]
