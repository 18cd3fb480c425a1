"""Language models: training steps (forward, cross-entropy, backward and Adam, PyTorch's fused), and generation."""

from __future__ import annotations

from functools import partial
from typing import Any

from ... import models
from ..rows import BEST, Group, Row
from ..sequences import Generation, SequenceTraining

VOCABULARY = 64
TOLERANCE = 1e-3  # of gradients that come through many steps


def char_lstm(steps: int, batch: int, hidden: int, target: float) -> Row:
    """A row: one layer over so many characters of each text."""
    model = partial(models.char_lstm, VOCABULARY, hidden_size=hidden)
    work = partial(SequenceTraining.drawn, model, (batch, steps), VOCABULARY)
    name = f"char-LSTM, T {steps}, B {batch}, hidden {hidden}"
    return Row(name, work, targets={BEST: target}, tolerance=TOLERANCE)


def _gpt(layers: int, width: int, heads: int, context: int):
    """(words, what builds it); without dropout, as it is timed in training and generates."""
    options: dict[str, Any] = {
        "d_model": width,
        "num_layers": layers,
        "nhead": heads,
        "context": context,
        "dropout": 0.0,
    }
    return f"GPT of {layers} layers, {width} wide, {heads} heads", partial(models.gpt, VOCABULARY, **options)


def gpt(layers: int, width: int, heads: int, steps: int, batch: int, target: float) -> Row:
    """A row: a Transformer over so many characters of each text."""
    words, model = _gpt(layers, width, heads, steps)
    work = partial(SequenceTraining.drawn, model, (batch, steps), VOCABULARY)
    return Row(f"{words}, T {steps}, B {batch}", work, targets={BEST: target}, tolerance=TOLERANCE)


def generation(layers: int, width: int, heads: int, length: int, target: float) -> Row:
    """A row: so many characters of one text, one by one."""
    words, model = _gpt(layers, width, heads, length)
    return Row(f"{words}, {length} characters", partial(Generation, model, length), targets={BEST: target})


TRAINING = [char_lstm(64, 32, 256, 1.5), gpt(4, 128, 4, 128, 16, 1.5)]
GROUPS = [
    Group("training step, language models", TRAINING),
    Group("generation", [generation(4, 128, 4, 128, 3.0)]),
]
