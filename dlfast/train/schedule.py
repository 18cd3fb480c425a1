"""The scheduler of the learning rate, as `fit` steps it."""

from __future__ import annotations

from typing import Any

from .. import _check as check
from ..optim import Optimizer
from ..optim.lr_scheduler import ReduceLROnPlateau


class Schedule:
    """Steps a scheduler after each update ("batch") or after each epoch, `ReduceLROnPlateau` by the loss that is
    watched: val_loss, or train_loss where nothing is validated. Raises TypeError and ValueError for what is none.
    """

    def __init__(self, scheduler: Any, every: str, optimizer: Optimizer):
        self.scheduler = scheduler
        self.every = check.choice("fit", "scheduler_step", every, ("epoch", "batch"))
        if scheduler is None:
            return
        methods = ("step", "state_dict", "load_state_dict")
        if isinstance(scheduler, type) or not all(callable(getattr(scheduler, name, None)) for name in methods):
            raise TypeError(
                "fit: scheduler must be made of the optimizer, as in optim.lr_scheduler.StepLR(optimizer, 10), got "
                f"{scheduler!r}"
            )
        if getattr(scheduler, "optimizer", optimizer) is not optimizer:
            raise ValueError("fit: the scheduler was made of another optimizer; make it of the one that fit is given")
        self._by_loss = isinstance(scheduler, ReduceLROnPlateau)
        if self._by_loss and self.every == "batch":
            raise ValueError(
                'fit: ReduceLROnPlateau goes by the loss of an epoch; scheduler_step="batch" has none: leave it "epoch"'
            )

    def after_update(self) -> None:
        """One update is done."""
        if self.scheduler is not None and self.every == "batch":
            self.scheduler.step()

    def after_epoch(self, record: dict) -> None:
        """One epoch is done, with that record."""
        if self.scheduler is None or self.every == "batch":
            return
        if self._by_loss:
            self.scheduler.step(record.get("val_loss", record["train_loss"]))
        else:
            self.scheduler.step()
