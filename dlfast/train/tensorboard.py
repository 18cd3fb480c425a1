"""TensorBoard: the course of a run in the files that TensorBoard draws."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .. import _check as check
from .callbacks import Callback, learning_rates


class TensorBoard(Callback):
    """Write the record of each epoch, and the learning rates, into ``folder`` for ``tensorboard --logdir folder``.

    Losses and metrics are drawn by what they measure, as loss/train beside loss/val, over the updates of the run.
    every_steps: write the running loss and metrics of the epoch after every so many updates as well, as running/loss.
    A resumed run takes the place of what one that was killed wrote beyond its checkpoint.
    Raises ImportError without tensorboardX (the extra ``tensorboard``).
    """

    on_every_rank = False

    def __init__(self, folder, *, every_steps: int | None = None):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError("TensorBoard needs tensorboardX: install dlfast with its extra `tensorboard`") from error
        if every_steps is not None:
            every_steps = check.integer("TensorBoard", "every_steps", every_steps, least=1)
        self.folder, self.every_steps = Path(folder), every_steps
        self._make = SummaryWriter
        self._writer: Any = None
        self._rates: list[float] = []

    def on_train_begin(self, run) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        own = f".{time.time_ns()}"  # files are named by seconds else: a second run of one would write over the first
        begin = run.steps + 1 if run.resumed else None
        self._writer = self._make(str(self.folder), purge_step=begin, filename_suffix=own)

    def on_batch_end(self, run) -> None:
        self._rates = learning_rates(run.optimizer)

    def after_update(self, run) -> None:
        if self.every_steps is not None and run.steps % self.every_steps == 0:
            for name, value in run.means.values().items():
                self._writer.add_scalar(f"running/{name}", value, run.steps)

    def on_epoch_end(self, run) -> None:
        for name, value in run.history.epochs[-1].items():
            part, _, measure = name.partition("_")
            tag = f"{measure}/{part}" if part in ("train", "val") else name
            if not name.startswith("lr"):
                self._writer.add_scalar(tag, value, run.steps)
        for i, rate in enumerate(self._rates or learning_rates(run.optimizer)):
            self._writer.add_scalar(f"lr/{i}", rate, run.steps)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
