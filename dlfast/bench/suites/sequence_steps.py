"""Whole training steps of networks over characters: forward, cross-entropy, backward and Adam (PyTorch's fused)."""

from __future__ import annotations

from functools import partial

from ..rows import BEST, Group, Row
from ..sequences import GPT, CharLSTM, SequenceTraining

VOCABULARY = 64
TOLERANCE = 1e-3  # of gradients that come through many steps


def char_lstm(steps: int, batch: int, hidden: int, target: float) -> Row:
    """A row: one layer over so many characters of each text."""
    model = partial(CharLSTM, VOCABULARY, VOCABULARY, hidden)
    work = partial(SequenceTraining.drawn, model, (steps, batch), VOCABULARY)
    name = f"char-LSTM, T {steps}, B {batch}, hidden {hidden}"
    return Row(name, work, targets={BEST: target}, tolerance=TOLERANCE)


def gpt(layers: int, width: int, heads: int, steps: int, batch: int, target: float) -> Row:
    """A row: a decoder of Transformer blocks over so many characters of each text."""
    model = partial(GPT, VOCABULARY, layers, width, heads, steps)
    work = partial(SequenceTraining.drawn, model, (batch, steps), VOCABULARY)
    name = f"GPT of {layers} layers, {width} wide, {heads} heads, T {steps}, B {batch}"
    return Row(name, work, targets={BEST: target}, tolerance=TOLERANCE)


TRAINING = [char_lstm(64, 32, 256, 1.5), gpt(4, 128, 4, 128, 16, 1.5)]
GROUPS = [Group("training step, sequences", TRAINING)]
