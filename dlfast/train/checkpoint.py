"""Checkpoint: the best weights and the whole state of a run, on disk after every epoch, and every so many updates."""

from __future__ import annotations

import json
from pathlib import Path

from .. import _check as check
from .. import _safetensors, random
from .._files import check_writable, write_atomically
from ..serialize import pack, save
from .callbacks import Callback, named
from .monitor import Best

LAST, PREVIOUS = "last.safetensors", "previous.safetensors"


class Checkpoint(Callback):
    """After each epoch write into ``folder``, which is made if missing:

    best.safetensors       the weights of the best epoch: ``model.load_state_dict(dlfast.load(...))``
    last.safetensors       everything that ``fit(..., resume=folder)`` needs to go on with the same bits: weights,
                           optimizer, scheduler, scale of the loss, random numbers, history, the state of all callbacks,
                           and the place in the epoch with its running means
    previous.safetensors   the last but one of these, for the case that the last is damaged

    every_steps: write the last two after every so many updates as well. Each file is written under a temporary name,
    brought to the disk and renamed, so a crash at any moment, or a full disk, which raises OSError, leaves the old file
    or the new one. ``monitor`` and ``mode`` are as in `EarlyStopping`. Random numbers are those of `dlfast.manual_seed`
    alone: a sampler, data set or transform that draws from a generator of its own begins anew in a resumed run.
    """

    def __init__(self, folder, monitor: str | None = None, *, mode: str | None = None, every_steps: int | None = None):
        self.folder = Path(folder)
        self.every_steps = every_steps
        if every_steps is not None:
            self.every_steps = check.integer("Checkpoint", "every_steps", every_steps, least=1)
        self._best = Best("Checkpoint", monitor, mode)

    def on_train_begin(self, run) -> None:
        run.ranks.by_first(lambda: check_writable(self.folder / LAST))  # fails before the first epoch, not after it
        self._follows = run.resumed
        if not run.resumed:
            self._best.forget()

    def after_update(self, run) -> None:
        if self.every_steps is not None and run.steps % self.every_steps == 0:
            self._save(run)

    def after_epoch(self, run) -> None:
        if self._best.improved(run.history.epochs[-1]):
            run.ranks.by_first(lambda: save(self.folder / "best.safetensors", run.model.state_dict()))
        self._save(run)

    def _save(self, run) -> None:
        run.ranks.sum_metrics(run)
        run.ranks.by_first(lambda: self._write(run))

    def _write(self, run) -> None:
        arrays, previous = pack(run_state(run)), self.folder / PREVIOUS
        keep = previous if self._follows else None  # what another run left is of no use to this one
        write_atomically(self.folder / LAST, lambda path: _safetensors.write(path, arrays), keep=keep)
        if not self._follows:
            previous.unlink(missing_ok=True)
        self._follows = True

    def state_dict(self) -> dict:
        return self._best.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self._best.load_state_dict(state)


def run_state(run) -> dict:
    """All that decides how the run goes on, as nested dictionaries and lists of arrays and JSON."""
    scheduler = run.schedule.scheduler
    return {
        "model": run.model.state_dict(),
        "optimizer": run.update.optimizer_state(),
        "optimizer_class": type(run.optimizer).__name__,
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "scheduler_class": None if scheduler is None else type(scheduler).__name__,
        "random": random.get_state(),
        "history": json.loads(run.history.to_json()),
        "callbacks": {name: callback.state_dict() for name, callback in named(run.callbacks)},
        "scaler": run.mixed.scaler.state_dict(),
        "steps": run.steps,
        "data": run.data,
        "place": _place(run),
    }


def _place(run) -> dict | None:
    """Where in an epoch the run is; None between epochs. It is saved after updates alone, so no gradients wait."""
    if run.order is None:
        return None
    return {
        "batch": run.batch,
        "order": run.order,
        "means": run.means.state_dict(),
        "seconds": run.seconds,
        "accumulate": run.update.accumulate,
    }
