"""Recurrent layers and sequence networks as the work of a row, beside PyTorch's with the same values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from .. import nn
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
    """A training step of a network over tokens: x integers, y a label for each of them, flat like the logits."""

    @classmethod
    def drawn(cls, model: Callable[[], nn.Module], shape: tuple[int, ...], classes: int = 10) -> SequenceTraining:
        """On random tokens of that shape, the same in each run."""
        rng = np.random.default_rng(0)
        return cls(model, rng.integers(0, classes, shape), rng.integers(0, classes, int(np.prod(shape))))

    def peers(self, pytorch: bool) -> dict[str, Step]:
        if pytorch:
            from . import pytorch_sequences  # noqa: F401  # what `converted` knows of sequences
        return super().peers(pytorch)


class CharLSTM(nn.Module):
    """Characters (T, B) -> logits (T B, V) of the next ones."""

    def __init__(self, vocabulary: int, embedded: int, hidden: int):
        self.embedding = nn.Embedding(vocabulary, embedded)
        self.lstm = nn.LSTM(embedded, hidden)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, x: np.ndarray) -> Tensor:
        y, _ = self.lstm(self.embedding(x))
        return self.head(y).reshape(-1, self.head.out_features)


class GPT(nn.Module):
    """Tokens (B, T) -> logits (B T, V) of the next ones: learned positions, pre-norm blocks."""

    def __init__(self, vocabulary: int, layers: int, width: int, heads: int, steps: int):
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(steps, width)
        options: dict[str, Any] = {"activation": "gelu", "dropout": 0.0, "batch_first": True, "norm_first": True}
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, **options)
        self.encoder = nn.TransformerEncoder(block, layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x: np.ndarray) -> Tensor:
        y = self.tokens(x) + self.positions.weight[: x.shape[1]]
        return self.head(self.encoder(y, is_causal=True)).reshape(-1, self.head.out_features)
