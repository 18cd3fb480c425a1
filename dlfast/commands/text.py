"""Language models for `dlfast train` and `dlfast generate`: their defaults, their text, their checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import functional as F
from .. import models, nn
from ..data import DataLoader, Text, load
from ..data.text import encode
from ..random import manual_seed
from ..serialize import load as load_arrays
from .run import Plan, Work, read_plan

_WARMUP = 100  # updates
_VALIDATION_BATCH = 64
WINDOW = 128  # characters


@dataclass(frozen=True)
class Defaults:
    epochs: int
    batch_size: int
    lr: float
    sizes: dict[str, Any]


MODELS = {
    "gpt": Defaults(epochs=24, batch_size=16, lr=3e-3, sizes={"context": WINDOW}),
    "char_lstm": Defaults(epochs=40, batch_size=32, lr=4e-3, sizes={"dropout": 0.4}),
    "char_gru": Defaults(epochs=40, batch_size=32, lr=4e-3, sizes={"dropout": 0.4}),
}


def plan(
    model: str,
    data: str,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
) -> Plan:
    """A run with the model's defaults for what is None.

    An epoch has as many updates as read the text once. steps: of all epochs together, which are then made equally long.
    """
    usual, text = MODELS[model], read_text(data)
    epochs, batch_size = epochs or usual.epochs, batch_size or usual.batch_size
    updates = max(1, round(len(text.split()[0]) / (batch_size * WINDOW)))
    if steps is not None:
        epochs = max(1, round(steps / updates))
        updates = math.ceil(steps / epochs)
    lr, seed = usual.lr if lr is None else lr, seed or 0
    return Plan(model, data, epochs, updates, batch_size, lr, seed, usual.sizes, text.vocabulary)


def work(plan: Plan) -> Work:
    """The model, with first weights that follow from the seed, and windows of the text: random ones to learn from, its
    last tenth to validate on.
    """
    text = read_text(plan.data)
    if text.vocabulary != plan.vocabulary:
        raise ValueError(f"{plan.data} has changed since the run began: it has other characters")
    training, validation = text.split()
    manual_seed(plan.seed)
    windows = training.random_windows(WINDOW, plan.updates * plan.batch_size)
    return Work(
        build(plan),
        DataLoader(windows, plan.batch_size),
        DataLoader(validation.windows(WINDOW), _VALIDATION_BATCH),
        F.cross_entropy,
        _WARMUP,
        "nats a character",
        "characters",
        WINDOW,
    )


def build(plan: Plan) -> nn.Module:
    """The model of a plan."""
    return getattr(models, plan.model)(len(plan.vocabulary), **plan.sizes)


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


def load_model(checkpoint: Path) -> tuple[nn.Module, str]:
    """A trained language model and its vocabulary: from the folder of a run (its best weights), or a file in it.

    Raises FileNotFoundError and ValueError for what is no checkpoint of a language model.
    """
    if not checkpoint.exists():
        raise FileNotFoundError(f"there is no checkpoint {checkpoint}")
    path = checkpoint / "best.safetensors" if checkpoint.is_dir() else checkpoint
    if not (path.parent / "run.json").is_file():
        raise FileNotFoundError(f"{checkpoint} is no checkpoint of `dlfast train`: {path.parent} has no run.json")
    plan = read_plan(path.parent)
    if plan.model not in MODELS:
        raise ValueError(f"{path} holds {plan.model}, which writes no text; {', '.join(MODELS)} do")
    state = load_arrays(path)
    model = build(plan)
    model.load_state_dict(state.get("model", state))
    return model.eval(), plan.vocabulary


def write(model: nn.Module, vocabulary: str, prompt: str, length: int, **options: Any) -> Iterator[str]:
    """The characters that `models.generate` adds to the prompt. ValueError where the vocabulary lacks one of it."""
    if not prompt:
        raise ValueError("the prompt is empty: give it at least one character")
    if unknown := sorted(set(prompt) - set(vocabulary)):
        shown = " ".join(map(repr, unknown))
        raise ValueError(f"the prompt has characters that the model never saw: {shown}; it knows {vocabulary!r}")
    codes = models.generate(model, encode(prompt, vocabulary), length, **options)
    return (vocabulary[code] for code in codes)
