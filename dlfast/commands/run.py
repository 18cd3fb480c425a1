"""A run of `dlfast train`: its options and its folder, the training, and the way back to the trained model.

The folder holds config.toml (see `config`), best.safetensors and last.safetensors (see `train.Checkpoint`),
history.csv and, with matplotlib, curves.png.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .. import nn, train
from .._files import write_text
from ..data import DataLoader
from ..distributed import Communicator
from ..kernels.threads import get_num_threads
from ..serialize import load as load_arrays
from . import config, networks, updates
from .config import Config, Facts
from .options import Options, rows_of_update


@dataclass(frozen=True)
class Work:
    """What is trained. The loss is in ``measure``, the speed in ``unit``, of which a row has ``per_row``."""

    facts: Facts
    model: nn.Module
    training: DataLoader
    validation: DataLoader
    loss: Callable
    measure: str = ""
    unit: str = "rows"
    per_row: int = 1
    metrics: tuple[str, ...] = ()
    augment: Callable | None = None


@dataclass(frozen=True)
class Job:
    """A run about to begin, or to go on. notes: what the user should know of it."""

    folder: Path
    options: Options
    work: Work
    resume: bool = False
    notes: tuple[str, ...] = ()


def train_job(console: Console, job: Job, comm: Communicator) -> train.History:
    """Train, and keep everything in the folder."""
    job = _shared(job, comm)
    folder, options, work = job.folder, job.options, job.work
    _announce(console, job, comm.size)
    if comm.rank == 0:
        write_text(folder / config.NAME, config.dump(options, work.facts))
    plan = updates.plan(options, work.model, len(work.training))
    history = train.fit(
        work.model,
        work.training,
        work.validation,
        epochs=options.epochs,
        loss=work.loss,
        optimizer=plan.optimizer,
        metrics=work.metrics,
        callbacks=[
            train.ProgressBar(console, unit=work.unit, per_row=work.per_row),
            train.CSVLogger(folder / "history.csv"),
            *_stopping(options, work),
            train.Checkpoint(folder, _monitor(work), every_steps=options.checkpoint_steps or None),
        ],
        augment=work.augment,
        class_weight="balanced" if options.class_weight == "balanced" else None,
        resume=folder if job.resume else None,
        distributed=comm,
        sync_batch_norm=bool(options.sync_batch_norm),
        device=options.device,
        amp=None if options.amp in (None, "none") else options.amp,
        **plan.fit,
    )
    if comm.rank == 0 and len(history) and find_spec("matplotlib") is not None:
        history.plot(folder / "curves.png")
    return history


def _shared(job: Job, comm: Communicator) -> Job:
    """The job of one rank. An update has as many rows however many ranks go on with a run."""
    rows = rows_of_update(job.options)
    if comm.size == 1 and rows == job.options.batch_size:
        return job
    training = job.work.training.shard(comm)
    training.batch_size = rows
    return replace(job, work=replace(job.work, training=training))


def _announce(console: Console, job: Job, ranks: int) -> None:
    options, work = job.options, job.work
    size, batches = sum(p.size for p in work.model.parameters()), len(work.training)
    measure = f"; the loss is in {work.measure}" if work.measure else ""
    on = where(options.device) + (f" of each of {ranks} ranks" if ranks > 1 else "")
    console.print(
        f"{options.model}, {size:,} parameters, learns {options.data} in {options.epochs} epochs of {batches:,} "
        f"updates on {on}{measure}. It is kept in {job.folder}.",
        soft_wrap=True,
    )
    for note in job.notes:
        console.print(note, soft_wrap=True)


def where(device: str | None) -> str:
    """Where a model computes, in words."""
    return f"{get_num_threads()} threads" if device in (None, "cpu") else str(device)


def _monitor(work: Work) -> str:
    """The column of the history by which an epoch is the best."""
    return "val_accuracy" if "accuracy" in work.metrics else "val_loss"


def _stopping(options: Options, work: Work) -> list[train.EarlyStopping]:
    patience = options.early_stopping
    return [train.EarlyStopping(patience, _monitor(work), restore_best=False)] if patience else []


def write_report(path: Path, history: train.History, job: Job) -> None:
    """The page of `inspect.write_report`, judged on what was held out."""
    from .. import inspect

    work, title = job.work, f"{job.options.model} on {job.options.data}"
    names = work.facts.classes or None
    inspect.write_report(path, work.model, work.training, history, names, title, loss=work.loss, val=work.validation)


def _best_epoch(history: train.History, work: Work) -> int:
    """The number of the epoch whose weights are in best.safetensors."""
    values = history[_monitor(work)]
    best = (max if _monitor(work) == "val_accuracy" else min)(values)
    return values.index(best) + 1


def report(console: Console, history: train.History, job: Job) -> None:
    """A table of the best and the last epoch, and a line with what was reached."""
    work = job.work
    best = _best_epoch(history, work)
    table, records = Table(title=str(job.folder), title_justify="left"), history.epochs
    for name in ("", f"best, epoch {best}", f"last, epoch {len(history)}"):
        table.add_column(name, justify="right" if name else "left")
    for name in records[0]:
        if name not in ("seconds", "images_per_second"):
            words = name.replace("_", " ").replace("val ", "validation ").replace("train ", "training ")
            table.add_row(words, f"{records[best - 1][name]:.4f}", f"{records[-1][name]:.4f}")
    console.print(table)
    seconds = sum(history["seconds"])
    monitor, measure = _monitor(work), f" {work.measure}" if work.measure else ""
    last, top = history[monitor][-1], history[monitor][best - 1]
    console.print(
        f"{monitor.replace('val_', 'validation ')} {last:.4f}{measure} after {len(history)} epochs, {top:.4f} at best; "
        f"{seconds:.1f} s of training",
        soft_wrap=True,
    )


def checkpoint_of(path: Path) -> tuple[Path, Path]:
    """(folder, weights) of the run in a folder, its best ones, or of one of its files.

    Raises FileNotFoundError for what is neither.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    weights = path / "best.safetensors" if path.is_dir() else path
    if not (weights.parent / config.NAME).is_file():
        raise FileNotFoundError(f"{path} is no checkpoint of `dlfast train`: {weights.parent} has no {config.NAME}")
    return weights.parent, weights


def load_model(path: Path, device: str = "cpu") -> tuple[Config, nn.Module]:
    """The config of a run and its trained model, in evaluation mode: of its folder (the best weights), or of a file.

    Raises FileNotFoundError and ValueError for what is no checkpoint of `dlfast train`.
    """
    folder, weights = checkpoint_of(path)
    found = config.read_folder(folder)
    assert found.facts is not None
    state = load_arrays(weights)
    model = networks.build(networks.complete(found.options), found.facts)
    model.load_state_dict(state.get("model", state))
    return found, model.to(device).eval()
