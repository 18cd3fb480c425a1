"""An optimizer's update alone, without a network, as the work of a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..optim import Adam, clip_grad_norm_
from ..tensor import Parameter
from .rows import Step, normal

LR = 1e-2


@dataclass
class Update:
    """Adam's step on parameters of these shapes, their gradients clipped to the norm `clip` first where it is given.

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
            optimizer = Adam(parameters, lr=LR)
            return parameters, self.step(parameters, optimizer, clip_grad_norm_)

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
            return parameters, self.step(parameters, optimizer, torch.nn.utils.clip_grad_norm_)

        return {
            "PyTorch fused": UpdateStep(lambda: fresh(fused=True)),
            "PyTorch default": UpdateStep(fresh),
        }

    def step(self, parameters: list, optimizer: Any, clip: Callable) -> Callable[[], object]:
        if self.clip is None:
            return optimizer.step

        def clipped() -> None:
            clip(parameters, self.clip)
            optimizer.step()

        return clipped


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
