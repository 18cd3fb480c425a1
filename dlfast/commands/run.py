"""A run of `dlfast train`: its plan, the folder that keeps it, and the training itself.

The folder holds run.json (the plan), best.safetensors and last.safetensors (see `train.Checkpoint`) and history.csv.
What a kind of data needs, its models, defaults and batches, is a module like `text`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from .. import nn, optim, train
from .._files import write_text
from ..data import DataLoader
from ..kernels.threads import get_num_threads
from ..train.rates import Cosine

_CLIP = 1.0  # the norm of the gradients


@dataclass(frozen=True)
class Plan:
    """All that the bits of a run follow from. ``updates``: of an epoch; ``sizes``: how the model is built."""

    model: str
    data: str
    epochs: int
    updates: int
    batch_size: int
    lr: float
    seed: int
    sizes: dict[str, Any]
    vocabulary: str = ""


@dataclass(frozen=True)
class Work:
    """What a plan asks for. The loss counts in ``measure``, the speed in ``unit``, of which a row has ``per_row``."""

    model: nn.Module
    training: DataLoader
    validation: DataLoader
    loss: Callable
    warmup: int
    measure: str
    unit: str
    per_row: int


def new_plan(folder: Path, plan: Plan) -> Plan:
    """The plan, for a folder that holds no run; ValueError for one that does."""
    if (folder / "last.safetensors").exists():
        raise ValueError(f"{folder} holds a run: go on with it by --resume, or name another folder with --out")
    return plan


def resumed_plan(folder: Path, **given: Any) -> Plan:
    """The plan in the folder, with the number of epochs that is given. Options that are not given are None.

    Raises ValueError where another option differs from the plan's, which would make it another run.
    """
    plan = read_plan(folder)
    for name, value in given.items():
        if value is not None and name != "epochs" and value != getattr(plan, name):
            raise ValueError(
                f"the run in {folder} has {name.replace('_', '-')} {getattr(plan, name)}, not {value}: leave the "
                "option out, or start another run without --resume"
            )
    return replace(plan, epochs=given["epochs"] or plan.epochs)


def read_plan(folder: Path) -> Plan:
    """The plan of the run in a folder. Raises FileNotFoundError or ValueError where there is none."""
    path = folder / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no run of `dlfast train`: there is no {path.name}")
    try:
        return Plan(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not what `dlfast train` writes: {error}") from error


def train_plan(console: Console, folder: Path, plan: Plan, work: Work, resume: bool) -> train.History:
    """Train, and keep everything in the folder."""
    size, threads = sum(p.size for p in work.model.parameters()), get_num_threads()
    console.print(
        f"{plan.model}, {size:,} parameters, learns {plan.data} in {plan.epochs} epochs of {plan.updates} updates on "
        f"{threads} threads; the loss is in {work.measure}. It is kept in {folder}.",
        soft_wrap=True,
    )
    write_text(folder / "run.json", json.dumps(asdict(plan), indent=1) + "\n")
    return train.fit(
        work.model,
        work.training,
        work.validation,
        epochs=plan.epochs,
        loss=work.loss,
        optimizer=optim.AdamW(work.model.parameters(), lr=plan.lr, clip_grad_norm=_CLIP),
        metrics=(),
        callbacks=[
            train.ProgressBar(console, unit=work.unit, per_row=work.per_row),
            Cosine(plan.lr, work.warmup),
            train.CSVLogger(folder / "history.csv"),
            train.Checkpoint(folder),
        ],
        resume=folder if resume else None,
    )
