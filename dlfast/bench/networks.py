"""Whole networks as the work of a row: a training step, or inference, beside the same network in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from .. import functional as F
from .. import nn
from ..optim import Adam
from ..random import manual_seed
from ..tensor import no_grad
from .rows import Step, normal

LR = 1e-7  # a batch that is learned by heart has gradients of 0, another work: thousands of steps change nothing here

# Max-pooling gives a window's gradient to its largest value, or, where two are equal but for rounding, to either: one
# of the 200,000 windows of the demo's batch is such, and moves its gradients by 0.4% of the largest.
WINDOWS = 0.02


@dataclass
class Training:
    """Forward, cross-entropy, backward and Adam on one batch x with labels y, on a network that `model` builds.

    Results are the loss and the gradients of the untouched network, dropout left out: its masks are each library's own.
    """

    model: Callable[[], nn.Module]
    x: np.ndarray
    y: np.ndarray

    @classmethod
    def drawn(cls, model: Callable[[], nn.Module], shape: tuple[int, ...], classes: int = 10) -> Training:
        """On normal numbers of that shape, the same in each run."""
        rng = np.random.default_rng(0)
        return cls(model, normal(rng, shape), rng.integers(0, classes, shape[0]))

    def build(self) -> nn.Module:
        """The network, with the same values each time."""
        manual_seed(0)
        return self.model()

    def ours(self) -> Step:
        return TrainingStep(self.build(), self.x, self.y)

    def peers(self, pytorch: bool) -> dict[str, Step]:
        if not pytorch:
            return {}
        from .pytorch_networks import training_steps

        return training_steps(self.build(), self.x, self.y)


class Inference(Training):
    """The forward pass in evaluation mode, nothing recorded."""

    def ours(self) -> Step:
        return InferenceStep(self.build().eval(), self.x)

    def peers(self, pytorch: bool) -> dict[str, Step]:
        steps: dict[str, Step] = {}
        if pytorch:
            from .pytorch_networks import inference_steps

            steps |= inference_steps(self.build(), self.x)
        if find_spec("onnxruntime") and find_spec("onnx"):
            from . import onnx_runtime

            steps |= onnx_runtime.inference_steps(self.build(), self.x)
        return steps


class TrainingStep:
    """One contender's `Training`: dlfast's."""

    def __init__(self, model: nn.Module, x: np.ndarray, y: np.ndarray):
        self.model, self.x, self.y = model, x, y
        self.start = model.state_dict()
        self.optimizer = Adam(model.parameters(), lr=LR)

    def __call__(self) -> float:
        loss = F.cross_entropy(self.model(self.x), self.y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def results(self) -> list[np.ndarray]:
        self.model.load_state_dict(self.start)
        with without_dropout(self.model, nn.Dropout):
            loss = self()
        return [np.array(loss), *(np.asarray(p.grad) for p in self.model.parameters())]


class InferenceStep:
    """One contender's `Inference`: dlfast's."""

    def __init__(self, model: nn.Module, x: np.ndarray):
        self.model, self.x = model, x

    def __call__(self) -> np.ndarray:
        with no_grad():
            return self.model(self.x).numpy()

    def results(self) -> list[np.ndarray]:
        return [self()]


@contextmanager
def without_dropout(model: Any, kind: type[Any]) -> Iterator[None]:
    """The network, ours or PyTorch's, with its modules of that kind in evaluation mode."""
    dropouts = [module for module in model.modules() if isinstance(module, kind)]
    for module in dropouts:
        module.eval()
    try:
        yield
    finally:
        for module in dropouts:
            module.train()
