"""An optimizer's update alone, without a network, as the work of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .. import optim
from ..tensor import Parameter
from .rows import Step, normal

LR = 1e-2


@dataclass
class Update:
    """An optimizer's step on parameters of these shapes, their gradients clipped to the norm `clip` where it is given.

    kind: its class's name here and in PyTorch, with options that both understand. Results are the parameters after the
    first step.
    """

    shapes: Sequence[tuple[int, ...]]
    clip: float | None = None
    kind: str = "Adam"
    options: Mapping[str, Any] = field(default_factory=dict)

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
            # PyTorch's RMSprop has eps outside the root
            own = {"eps_inside_sqrt": False} if self.kind == "RMSprop" else {}
            kind = getattr(optim, self.kind)
            return parameters, kind(parameters, lr=LR, clip_grad_norm=self.clip, **self.options, **own).step

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
            optimizer = getattr(torch.optim, self.kind)(parameters, lr=LR, **self.options, **options)

            def step() -> None:
                if self.clip is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, self.clip)
                optimizer.step()

            return parameters, step

        if not hasattr(torch.optim, self.kind):  # Lion
            return {}
        has_fused = self.kind in ("SGD", "Adam", "AdamW", "Adagrad")
        fused = {"PyTorch fused": UpdateStep(lambda: fresh(fused=True))} if has_fused else {}
        return {**fused, "PyTorch default": UpdateStep(fresh)}


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
