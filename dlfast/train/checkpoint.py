"""Checkpoint: the best weights and the whole state of a run, on disk after every epoch; and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import random
from .._files import check_writable
from ..serialize import load, save
from .callbacks import Callback
from .monitor import Best

_PARTS = ("model", "optimizer", "random", "history", "callbacks")


class Checkpoint(Callback):
    """After each epoch write into ``folder``, which is made if missing:

    best.safetensors   the weights of the best epoch: ``model.load_state_dict(dlfast.load(...))``
    last.safetensors   everything that ``fit(..., resume=folder)`` needs to go on with the same bits: weights,
                       optimizer, random numbers, history, and the state of all callbacks

    Each file is written under a temporary name, brought to the disk and renamed, so a crash at any moment leaves the
    old file or the new one. ``monitor`` and ``mode`` are as in `EarlyStopping`.
    """

    def __init__(self, folder, monitor: str | None = None, *, mode: str | None = None):
        self.folder = Path(folder)
        self._best = Best("Checkpoint", monitor, mode)

    def on_train_begin(self, run) -> None:
        check_writable(self.folder / "last.safetensors")  # fails before the first epoch, not after it
        if not len(run.history):
            self._best.forget()

    def after_epoch(self, run) -> None:
        if self._best.improved(run.history.epochs[-1]):
            save(self.folder / "best.safetensors", run.model.state_dict())
        save(self.folder / "last.safetensors", run_state(run))

    def state_dict(self) -> dict:
        return self._best.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self._best.load_state_dict(state)


def run_state(run) -> dict:
    """All that decides how the run goes on, as nested dictionaries and lists of arrays and JSON."""
    return {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "optimizer_class": type(run.optimizer).__name__,
        "random": random.get_state(),
        "history": json.loads(run.history.to_json()),
        "callbacks": {name: callback.state_dict() for name, callback in _named(run.callbacks)},
    }


def resume(folder, run) -> None:
    """Put the state that `Checkpoint` wrote into ``folder`` back in place.

    A run that a callback had stopped goes on, unless the callback stops it again when training begins.
    Raises FileNotFoundError where there is no state, ValueError where it is damaged or is not one of this model,
    optimizer and callbacks; nothing is changed then.
    """
    path = Path(folder) / "last.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"fit: nothing to resume in {folder}: there is no {path.name} (Checkpoint writes it)")
    state = load(path)
    if lacking := [part for part in _PARTS if not isinstance(state.get(part), dict)]:
        raise ValueError(f"fit: {path} is not what Checkpoint writes: it lacks {', '.join(lacking)}")
    ours, theirs = type(run.optimizer).__name__, state.get("optimizer_class")
    if theirs not in (ours, None):
        raise ValueError(
            f"fit: the run in {folder} was trained with {theirs}, whose state {ours} cannot take; resume with "
            f"optim.{theirs}, or start with its weights: model.load_state_dict(dlfast.load({str(path)!r})['model'])"
        )
    before = run_state(run)
    try:
        _put(state, run)
    except BaseException as error:
        _put(before, run)
        if isinstance(error, (ValueError, KeyError, TypeError, AttributeError)):
            raise ValueError(f"fit: cannot resume from {path}: {error or repr(error)}") from error
        raise


def _put(state: dict[str, Any], run) -> None:
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    random.set_state(state["random"])
    run.history.epochs = [dict(epoch) for epoch in state["history"]["epochs"]]
    for name, callback in _named(run.callbacks):
        if name in state["callbacks"]:
            callback.load_state_dict(state["callbacks"][name])


def _named(callbacks) -> list[tuple[str, Callback]]:
    """Each callback under its class's name and its number among those of that class."""
    names = [type(callback).__name__ for callback in callbacks]
    return [(f"{name}.{names[:i].count(name)}", callbacks[i]) for i, name in enumerate(names)]
