"""The way back to where a run was when `Checkpoint` wrote its state."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import random
from ..serialize import load
from .callbacks import named
from .checkpoint import LAST, PREVIOUS, run_state
from .means import Means

_PARTS = ("model", "optimizer", "random", "history", "callbacks")


def resume(folder, run) -> None:
    """Put the state that `Checkpoint` wrote into ``folder`` back in place.

    A run that a callback had stopped goes on, unless the callback stops it again when training begins.
    Where the last file is damaged a warning says so and the one before it is taken.
    Raises FileNotFoundError where there is no state, ValueError where it is damaged or is not one of this model,
    optimizer, scheduler, data and callbacks; nothing is changed then.
    """
    path, state = run.ranks.by_first(lambda: _read(Path(folder)))
    if lacking := [part for part in _PARTS if not isinstance(state.get(part), dict)]:
        raise ValueError(f"fit: {path} is not what Checkpoint writes: it lacks {', '.join(lacking)}")
    _check_classes(folder, path, state, run)
    _check_data(folder, state, run)
    before = run_state(run)
    try:
        _put(state, run)
    except BaseException as error:
        _put(before, run)
        if isinstance(error, (ValueError, KeyError, TypeError, AttributeError)):
            raise ValueError(f"fit: cannot resume from {path}: {error or repr(error)}") from error
        raise
    run.resumed = True


def _read(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The newest sound state in the folder, and its file."""
    path, previous = folder / LAST, folder / PREVIOUS
    if not path.is_file() and not previous.is_file():
        raise FileNotFoundError(f"fit: nothing to resume in {folder}: there is no {path.name} (Checkpoint writes it)")
    try:
        return path, load(path)
    except (ValueError, FileNotFoundError) as error:
        if not previous.is_file():
            raise
        try:
            state = load(previous)
        except ValueError:
            raise ValueError(f"{error}; and neither is {previous}, the one before it") from error
        warnings.warn(f"fit: the run goes on from the checkpoint before the last: {error}", stacklevel=4)
    with suppress(OSError):  # so that the next checkpoint does not put the damaged file in the place of the sound one
        os.replace(previous, path)
    return path, state


def _check_classes(folder, path: Path, state: dict[str, Any], run) -> None:
    ours, theirs = type(run.optimizer).__name__, state.get("optimizer_class")
    if theirs not in (ours, None):
        raise ValueError(
            f"fit: the run in {folder} was trained with {theirs}, whose state {ours} cannot take; resume with "
            f"optim.{theirs}, or start with its weights: model.load_state_dict(dlfast.load({str(path)!r})['model'])"
        )
    scheduler = run.schedule.scheduler
    schedules = state.get("scheduler_class"), None if scheduler is None else type(scheduler).__name__
    if schedules[0] != schedules[1]:
        words = [f"the scheduler {name}" if name else "no scheduler" for name in schedules]
        raise ValueError(f"fit: the run in {folder} was trained with {words[0]}, and is to be resumed with {words[1]}")


def _check_data(folder, state: dict[str, Any], run) -> None:
    """Raise ValueError for other data, and in the middle of an epoch for another order or grouping of its batches."""
    theirs, place = dict(state.get("data") or {}), state.get("place")
    ours = {**run.data, "accumulate": run.update.accumulate}
    if place:
        theirs["accumulate"] = place["accumulate"]
    for name in theirs if place else theirs.keys() & {"rows"}:
        if theirs[name] is not None and theirs[name] != ours.get(name):
            raise ValueError(
                f"fit: the run in {folder} was trained with {name} {theirs[name]}, and is to be resumed with "
                f"{ours.get(name)}; give the data and options as before, or start a new run with its weights: "
                f"model.load_state_dict(dlfast.load({str(Path(folder) / LAST)!r})['model'])"
            )


def _put(state: dict[str, Any], run) -> None:
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    if run.schedule.scheduler is not None:
        run.schedule.scheduler.load_state_dict(state["scheduler"])
    if scaler := state.get("scaler"):
        run.mixed.scaler.load_state_dict(scaler)
    random.set_state(state["random"])
    run.history.epochs = [dict(epoch) for epoch in state["history"]["epochs"]]
    for name, callback in named(run.callbacks):
        if name in state["callbacks"]:
            callback.load_state_dict(state["callbacks"][name])
    run.steps = int(state.get("steps", 0))
    if place := state.get("place"):
        run.batch, run.order, run.seconds = int(place["batch"]), dict(place["order"]), float(place["seconds"])
        run.means = Means(run.metrics)
        run.means.load_state_dict(place["means"])
