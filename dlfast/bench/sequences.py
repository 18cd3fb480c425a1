"""Recurrent layers and sequence networks as the work of a row, beside PyTorch's with the same values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from .. import nn
from ..models.gpt import GPT
from ..random import manual_seed
from ..tensor import Tensor
from .networks import Training
from .rows import OperationStep, Step, normal


@dataclass
class Layer:
    """A recurrent layer, forward and backward with all gradients: x (T, B, I) -> y (T, B, Hd), or 2 Hd.

    kind: "RNN", "LSTM" or "GRU"; options: as `nn.LSTM` and PyTorch's take them. lengths (B,) of the sequences, None
    where all are whole; PyTorch packs the padded batch then, the only way it has to leave padding out.
    """

    kind: str
    steps: int
    batch: int
    features: int
    hidden: int
    options: dict[str, Any]
    lengths: np.ndarray | None = None

    @cached_property
    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """x and the gradient of y."""
        rng = np.random.default_rng(0)
        wide = self.hidden * (1 + self.options.get("bidirectional", False))
        x, dy = (normal(rng, (self.steps, self.batch, each)) for each in (self.features, wide))
        return x, dy

    def build(self) -> nn.Module:
        """The layer, with the same values each time."""
        manual_seed(0)
        return getattr(nn, self.kind)(self.features, self.hidden, **self.options)

    def ours(self) -> Step:
        layer, (x, dy) = self.build(), self.values
        tensors = [Tensor(x, requires_grad=True), *layer.parameters()]
        return OperationStep(partial(self._forward, layer), tensors, dy, np.asarray)

    def _forward(self, layer: nn.Module, x: Tensor, *parameters: Tensor) -> Tensor:
        return layer(x, lengths=self.lengths)[0]

    def peers(self, pytorch: bool) -> dict[str, Step]:
        if not pytorch:
            return {}
        from .pytorch_sequences import layer_step

        return {"PyTorch": layer_step(self.build(), *self.values, self.options, self.lengths)}


class SequenceTraining(Training):
    """A training step of a language model: x and y are codes (B, T), y those that the logits are to foretell."""

    @classmethod
    def drawn(cls, model: Callable[[], nn.Module], shape: tuple[int, ...], classes: int = 10) -> SequenceTraining:
        """On random codes of that shape, the same in each run."""
        rng = np.random.default_rng(0)
        return cls(model, rng.integers(0, classes, shape), rng.integers(0, classes, shape))

    def peers(self, pytorch: bool) -> dict[str, Step]:
        if not pytorch:
            return {}
        from .pytorch_sequences import training_steps

        return training_steps(self.build(), self.x, self.y)


@dataclass
class Generation:
    """A text of so many codes from a GPT, one after the other, always the likeliest; keys and values are kept."""

    model: Callable[[], GPT]
    length: int

    def build(self) -> GPT:
        manual_seed(0)
        return self.model()

    def ours(self) -> Step:
        return GenerationStep(self.build(), self.length)

    def peers(self, pytorch: bool) -> dict[str, Step]:
        if not pytorch:
            return {}
        from .pytorch_sequences import GenerationStep as Theirs

        return {"PyTorch": Theirs(self.build(), self.length)}


class GenerationStep:
    """One contender's `Generation`: dlfast's."""

    def __init__(self, model: GPT, length: int):
        self.model, self.length = model, length
        model.eval()

    def __call__(self) -> list[np.ndarray]:
        code, state, logits = 0, None, []
        for _ in range(self.length):
            y, state = self.model.advance(np.array([code]), state)
            logits.append(y.data[0])
            code = int(logits[-1].argmax())
        return logits

    def results(self) -> list[np.ndarray]:
        return [np.stack(self())]
