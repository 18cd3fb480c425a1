"""The examples that a model takes for another class, and is surest of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..nn.module import Module
from ._checks import are_probabilities
from ._confusion import named_classes
from ._evidence import outputs_of
from ._setting import sample_of
from ._signal import labels_of

_ROWS = 2000


@dataclass(frozen=True)
class Mistake:
    """An input, its class, the class it was taken for, and the probability that the model gave to that."""

    image: np.ndarray
    true: str
    taken: str
    probability: float


def mistakes(model: Module, data: Any, classes: Sequence[str] | None = None, most: int = 16) -> list[Mistake]:
    """The surest mistakes among a fixed choice of 2000 rows, the surest first; [] where targets are no labels."""
    sample = sample_of("mistakes", data, _ROWS)
    outputs = np.concatenate([outputs_of(model, sample.rows(slice(i, i + 250))) for i in range(0, len(sample), 250)])
    labels = labels_of(outputs, sample.targets)
    if labels is None or labels.shape != (len(sample),):
        return []
    taken, _ = named_classes(outputs)
    surest = _probabilities(outputs)
    wrong = np.flatnonzero((taken != labels) & (labels >= 0))
    chosen = wrong[np.argsort(-surest[wrong], kind="stable")[:most]]
    names = [str(i) for i in range(1 + int(max(labels.max(), taken.max())))] if classes is None else list(classes)
    return [Mistake(sample.inputs[0][i], names[labels[i]], names[taken[i]], float(surest[i])) for i in chosen]


def _probabilities(outputs: np.ndarray) -> np.ndarray:
    """Of each row, the probability of the class that it names."""
    if outputs.ndim < 2 or outputs.shape[-1] == 1:
        logits = np.abs(outputs.reshape(len(outputs), -1)[:, 0].astype(np.float64))
        return 1 / (1 + np.exp(-logits))
    if are_probabilities(outputs):
        return outputs.max(axis=-1).astype(np.float64)
    shifted = outputs.astype(np.float64) - outputs.max(axis=-1, keepdims=True)
    return 1 / np.exp(shifted).sum(axis=-1)
