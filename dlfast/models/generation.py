"""Text from language models, a character at a time."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _check as check
from .. import random
from .._devices import beside, on_cpu
from ..tensor import unwrap


def generate(
    model: Any, prompt: Any, length: int, *, temperature: float = 1.0, top_k: int | None = None, seed: int | None = None
) -> Iterator[int]:
    """The codes of `length` further characters after those of `prompt`, one after the other as they are drawn.

    model        `char_lstm`, `char_gru`, `gpt`, or another with ``advance(codes, state) -> (logits (T, V), state)``:
                 a recurrent net carries its state, a GPT keeps keys and values, so a character costs one step
    prompt       codes (T,), integers, T >= 1: ``text.encode("In the beginning")``
    temperature  above 0; logits are divided by it: near 0 the likeliest character always, 1 as the model learned
    top_k        draw from the k likeliest characters alone; 1 takes the likeliest
    seed         the same seed, the same text; None draws from dlfast's generator (`manual_seed`)

    A GPT whose context is full forgets all but the last half of it and goes on. The model is in evaluation mode until
    the iterator ends or is closed. Raises TypeError and ValueError for arguments that do not fit, at once.
    """
    codes = on_cpu(unwrap(prompt))
    if codes.ndim != 1 or codes.dtype.kind not in "iu" or not len(codes):
        raise ValueError(
            f"generate: prompt must hold codes, integers (T,), at least one, got {codes.dtype} {codes.shape}"
        )
    length = check.integer("generate", "length", length, 0)
    temperature = check.number("generate", "temperature", temperature, 0, math.inf, low_open=True)
    if top_k is not None:
        top_k = check.integer("generate", "top_k", top_k, 1)
    rng = random.generator() if seed is None else np.random.default_rng(check.integer("generate", "seed", seed, 0))
    return _drawn(model, codes, length, temperature, top_k, rng)


def _drawn(
    model: Any, codes: np.ndarray, length: int, temperature: float, top_k: int | None, rng: np.random.Generator
) -> Iterator[int]:
    weight = next((parameter.data for parameter in model.parameters()), codes)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        context: int = getattr(model, "context", sys.maxsize)
        text: list[int] = codes.tolist()
        state: Any = None
        first = seen = 0  # the state holds text[first:seen]
        for _ in range(length):
            if len(text) - first > context:
                state, first = None, len(text) - max(1, context // 2)
                seen = first
            logits, state = model.advance(beside(np.array(text[seen:], np.int64), weight), state)
            seen = len(text)
            text.append(draw(on_cpu(logits.data[-1]), temperature, top_k, rng))
            yield text[-1]
    finally:
        for module, training in modes:
            module.training = training


def draw(logits: np.ndarray, temperature: float, top_k: int | None, rng: np.random.Generator) -> int:
    """A class of logits (V,), with probabilities softmax(logits / temperature), among the top_k likeliest."""
    scaled = logits.astype(np.float64) / temperature
    if top_k is not None and top_k < len(scaled):
        scaled[np.argpartition(scaled, -top_k)[:-top_k]] = -np.inf
    shares = np.cumsum(np.exp(scaled - scaled.max()))
    return int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))
