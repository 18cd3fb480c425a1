"""Language models for `dlfast train`, `dlfast evaluate` and `dlfast generate`: their text, and what they write."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import functional as F
from .. import models, nn
from ..data import DataLoader, Text, Windows, load
from ..data.text import encode
from ..random import manual_seed
from . import networks
from .config import Facts
from .options import Options, rows_of_update
from .run import Work, load_model

_VALIDATION_BATCH = 64
_VAL_FRACTION = 0.1
WINDOW = 128  # characters


def complete(options: Options) -> Options:
    """The options with epochs and updates of an epoch instead of steps, the updates in all.

    An epoch has as many updates as read the text once, those of steps are made equally long.
    """
    if options.updates is not None and options.steps is None:
        return options
    updates = max(1, round(len(_parts(options)[0]) / (rows_of_update(options) * WINDOW)))
    if options.steps is None:
        return replace(options, updates=updates)
    epochs = max(1, round(options.steps / updates))
    return replace(options, epochs=epochs, updates=math.ceil(options.steps / epochs), steps=None)


def work(options: Options) -> Work:
    """The model, with first weights that follow from the seed, and windows of the text: random ones to learn from, its
    last part to validate on.
    """
    training, validation = _parts(options)
    facts = Facts("text", vocabulary=training.vocabulary, rows=len(training), val_rows=len(validation))
    manual_seed(options.seed)
    windows = training.random_windows(WINDOW, options.updates * rows_of_update(options))
    return Work(
        facts,
        networks.build(options, facts),
        DataLoader(windows, options.batch_size),
        DataLoader(validation.windows(WINDOW), _VALIDATION_BATCH),
        F.cross_entropy,
        "nats a character",
        "characters",
        WINDOW,
    )


def held_out(options: Options, facts: Facts, data: str | None) -> DataLoader:
    """Windows of what the run held out, or of a whole text. Raises ValueError for characters that it did not learn."""
    if data is None:
        rows = _parts(options)[1].windows(WINDOW)
    else:
        rows = Windows(encode(read_text(data).text, facts.vocabulary), WINDOW)
    return DataLoader(rows, _VALIDATION_BATCH)


def _parts(options: Options) -> tuple[Text, Text]:
    return read_text(options.data).split(_VAL_FRACTION if options.val_fraction is None else options.val_fraction)


def read_text(data: str) -> Text:
    """The embedded text of that name, or that of a file in UTF-8. Raises FileNotFoundError and ValueError."""
    if data == "gospels":
        return load("gospels")
    path = Path(data)
    if not path.is_file():
        raise FileNotFoundError(f"--data {data}: there is no such file; the text that ships with dlfast is gospels")
    try:
        return Text.of(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"--data {data}: it is no text in UTF-8 ({error})") from error


def load_writer(checkpoint: Path, device: str = "cpu") -> tuple[nn.Module, str]:
    """A trained language model and its vocabulary. ValueError for a model of another kind, else as `load_model`."""
    found, model = load_model(checkpoint, device)
    assert found.facts is not None
    if found.options.model not in networks.LANGUAGE:
        writers = ", ".join(networks.LANGUAGE)
        raise ValueError(f"{checkpoint} holds {found.options.model}, which writes no text; {writers} do")
    return model, found.facts.vocabulary


def write(model: nn.Module, vocabulary: str, prompt: str, length: int, **options: Any) -> Iterator[str]:
    """The characters that `models.generate` adds to the prompt. ValueError where the vocabulary lacks one of it."""
    if not prompt:
        raise ValueError("the prompt is empty: give it at least one character")
    if unknown := sorted(set(prompt) - set(vocabulary)):
        shown = " ".join(map(repr, unknown))
        raise ValueError(f"the prompt has characters that the model never saw: {shown}; it knows {vocabulary!r}")
    codes = models.generate(model, encode(prompt, vocabulary), length, **options)
    return (vocabulary[code] for code in codes)
