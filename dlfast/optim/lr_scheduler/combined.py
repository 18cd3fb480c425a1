"""Schedules made of others: one after another, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from .base import LRScheduler
from .curves import milestones_of
from .plateau import ReduceLROnPlateau


class _Combined(LRScheduler):
    """Others, in a list, on one optimizer."""

    def _adopt(self, optimizer, schedulers) -> None:
        schedulers = list(schedulers)
        if not schedulers:
            raise ValueError(f"{self._name}: schedulers is empty")
        for i, scheduler in enumerate(schedulers):
            if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, ReduceLROnPlateau):
                kind = type(scheduler).__name__
                raise TypeError(f"{self._name}: schedulers[{i}] must be a scheduler that needs no metric, got {kind}")
            if optimizer is not None and scheduler.optimizer is not optimizer:
                raise ValueError(f"{self._name}: schedulers[{i}] was made for another optimizer")
        self._schedulers: list[LRScheduler] = schedulers

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        parts = state_dict.get("_schedulers", [])
        if len(parts) != len(self._schedulers):
            raise ValueError(f"{self._name}: the state has {len(parts)} schedulers, this has {len(self._schedulers)}")
        before = self.state_dict()
        try:
            for scheduler, part in zip(self._schedulers, parts, strict=True):
                scheduler.load_state_dict(part)
            super().load_state_dict({name: value for name, value in state_dict.items() if name != "_schedulers"})
        except ValueError:
            for scheduler, part in zip(self._schedulers, before["_schedulers"], strict=True):
                scheduler.load_state_dict(part)
            raise

    def _unsaved(self) -> set[str]:
        return {"optimizer", "_schedulers"}

    def _span(self) -> int:
        return max(scheduler._span() for scheduler in self._schedulers)


class SequentialLR(_Combined):
    """One schedule after another: schedulers[i] from step milestones[i - 1] on, each from its own step 0.

    The schedulers are made before, on the same optimizer, and go by its first rates. milestones: increasing integers
    >= 1, one fewer than schedulers. Raises ValueError for other numbers, for schedulers of another optimizer and, as
    TypeError, for one that needs a metric.
    """

    def __init__(self, optimizer, schedulers, milestones, last_epoch: int = -1):
        self._take(optimizer)
        self._adopt(optimizer, schedulers)
        self._milestones = milestones_of(self._name, milestones)
        if len(self._milestones) != len(self._schedulers) - 1 or self._milestones[:1] == [0]:
            raise ValueError(
                f"SequentialLR: milestones must be {len(self._schedulers) - 1} numbers from 1 on, one fewer than "
                f"schedulers, got {self._milestones}"
            )
        if last_epoch != -1:
            raise ValueError("SequentialLR: last_epoch must be -1; to resume a run, call load_state_dict")
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._restart()

    def _restart(self) -> None:
        self.last_epoch = 0
        for scheduler in self._schedulers:
            scheduler.last_epoch = -1
        self._schedulers[0]._restart()
        self._last_lr = self._current()

    def step(self) -> None:
        self.last_epoch += 1
        place = bisect_right(self._milestones, self.last_epoch)
        if self._milestones[place - 1 : place] == [self.last_epoch]:
            self._schedulers[place]._start()
        else:
            self._schedulers[place].step()
        self._last_lr = self._current()

    def _start(self, epoch: int = 0) -> None:
        self.last_epoch = 0
        self._schedulers[0]._start()
        self._last_lr = self._current()

    def _span(self) -> int:
        last = self._milestones[-1] if self._milestones else 0
        return last + self._schedulers[-1]._span()


class ChainedScheduler(_Combined):
    """All at once: each step is a step of every one, which changes the rate that the one before it left.

    The schedulers are made before, on one optimizer. Those that go by the base rate alone (LambdaLR, OneCycleLR,
    CosineWithWarmup, CosineAnnealingWarmRestarts) come first, since they overwrite what was before them.
    """

    def __init__(self, schedulers, optimizer=None):
        self._adopt(optimizer, schedulers)
        self._take(optimizer or self._schedulers[0].optimizer)
        self._adopt(self.optimizer, self._schedulers)
        self._last_lr = self._current()

    def _restart(self) -> None:
        for scheduler in self._schedulers:
            scheduler._restart()
        self._last_lr = self._current()

    def step(self) -> None:
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._current()

    def _start(self, epoch: int = 0) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._restart()
