"""Schedules that are a function of the step count: t = 0, 1, ... is ``last_epoch``, base the rate at the start."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any

from ... import _check as check
from .base import LRScheduler, SharedLR, per_group


class ConstantLR(SharedLR):
    """lr(t) = base factor for t < total_iters, then base. With factor=1 the constant rate of the notes.

    factor in [0, 1], total_iters >= 0.
    """

    def __init__(self, optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1):
        self.factor = check.number(self._name, "factor", factor, 0, 1, high_closed=True)
        self.total_iters = check.integer(self._name, "total_iters", total_iters, least=0)
        super().__init__(optimizer, last_epoch)

    def _share(self, t: int) -> float:
        return self.factor if t < self.total_iters else 1.0


class StepLR(SharedLR):
    """lr(t) = base gamma^floor(t / step_size): the step decay of the notes. step_size >= 1, gamma >= 0."""

    def __init__(self, optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        self.step_size = check.integer(self._name, "step_size", step_size, least=1)
        self.gamma = check.number(self._name, "gamma", gamma, 0, math.inf)
        super().__init__(optimizer, last_epoch)

    def _share(self, t: int) -> float:
        return self.gamma ** (t // self.step_size)

    def _span(self) -> int:
        return 4 * self.step_size


class MultiStepLR(SharedLR):
    """lr(t) = base gamma^n, n of the milestones being <= t. milestones: increasing integers >= 0; gamma >= 0."""

    def __init__(self, optimizer, milestones, gamma: float = 0.1, last_epoch: int = -1):
        self.milestones = milestones_of(self._name, milestones, strictly=False)
        self.gamma = check.number(self._name, "gamma", gamma, 0, math.inf)
        super().__init__(optimizer, last_epoch)

    def _share(self, t: int) -> float:
        return self.gamma ** bisect_right(self.milestones, t)

    def _span(self) -> int:
        return max(2, self.milestones[-1] * 5 // 4) if self.milestones else super()._span()


class ExponentialLR(SharedLR):
    """lr(t) = base gamma^t: the exponential decay of the notes. gamma >= 0."""

    def __init__(self, optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = check.number(self._name, "gamma", gamma, 0, math.inf)
        super().__init__(optimizer, last_epoch)

    def _share(self, t: int) -> float:
        return self.gamma**t

    def get_lr(self) -> list[float]:
        """The rate times gamma: exact where gamma^t is too small for a number."""
        return self._current() if self.last_epoch == 0 else [lr * self.gamma for lr in self._current()]


class LinearLR(SharedLR):
    """lr(t) = base (start_factor + (end_factor - start_factor) min(t, total_iters) / total_iters): a line, then level.

    With its defaults a warm-up. start_factor in (0, 1], end_factor in [0, 1], total_iters >= 1.
    """

    def __init__(
        self,
        optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ):
        self.start_factor = check.number(self._name, "start_factor", start_factor, 0, 1, True, True)
        self.end_factor = check.number(self._name, "end_factor", end_factor, 0, 1, high_closed=True)
        self.total_iters = check.integer(self._name, "total_iters", total_iters, least=1)
        super().__init__(optimizer, last_epoch)

    def _share(self, t: int) -> float:
        done = min(t, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * done

    def _span(self) -> int:
        return max(self.total_iters * 5 // 4, self.total_iters + 2)


class PolynomialLR(SharedLR):
    """lr(t) = base (1 - min(t, total_iters) / total_iters)^power. total_iters >= 1, power >= 0."""

    def __init__(self, optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1):
        self.total_iters = check.integer(self._name, "total_iters", total_iters, least=1)
        self.power = check.number(self._name, "power", power, 0, math.inf)
        super().__init__(optimizer, last_epoch)

    def _share(self, t: int) -> float:
        return (1 - min(t, self.total_iters) / self.total_iters) ** self.power

    def _span(self) -> int:
        return self.total_iters + 1


class _FunctionLR(LRScheduler):
    """A schedule that calls a function, or one for each group, of the step count. Functions are not saved."""

    def __init__(self, optimizer, lr_lambda, last_epoch: int = -1):
        self._take(optimizer)
        self._alike = not isinstance(lr_lambda, (list, tuple))
        self.lr_lambdas = per_group(self._name, "lr_lambda", lr_lambda, optimizer.param_groups)
        for i, function in enumerate(self.lr_lambdas):
            if not callable(function):
                raise TypeError(f"{self._name}: lr_lambda must be a function of the step count, got {function!r} ({i})")
        super().__init__(optimizer, last_epoch)

    def _factors(self) -> list[float]:
        groups = self.optimizer.param_groups
        if self._alike:  # a group that came later goes by it too
            self.lr_lambdas = self.lr_lambdas[:1] * len(groups)
        functions = per_group(self._name, "lr_lambda", self.lr_lambdas, groups)
        return [float(function(self.last_epoch)) for function in functions]

    def _unsaved(self) -> set[str]:
        return {"optimizer", "lr_lambdas", "_alike"}


class LambdaLR(_FunctionLR):
    """lr(t) = base lr_lambda(t); lr_lambda is a function, or a list of one for each group."""

    def get_lr(self) -> list[float]:
        return [base * factor for base, factor in zip(self.base_lrs, self._factors(), strict=True)]


class MultiplicativeLR(_FunctionLR):
    """lr(t) = lr(t - 1) lr_lambda(t), lr(0) = base; lr_lambda is a function, or a list of one for each group."""

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return self._current()
        return [lr * factor for lr, factor in zip(self._current(), self._factors(), strict=True)]

    def _closed_form(self) -> list[float]:
        rates, last = list(self.base_lrs), self.last_epoch
        for self.last_epoch in range(1, last + 1):
            rates = [lr * factor for lr, factor in zip(rates, self._factors(), strict=True)]
        self.last_epoch = last
        return rates


def milestones_of(op: str, values: Any, strictly: bool = True) -> list[int]:
    """The milestones as a list of integers, if they increase."""
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"{op}: milestones must be a list of integers, got {values!r}")
    milestones = [check.integer(op, f"milestones[{i}]", value, least=0) for i, value in enumerate(values)]
    if milestones != sorted(milestones) or (strictly and len(set(milestones)) < len(milestones)):
        raise ValueError(f"{op}: milestones must increase, got {milestones}")
    return milestones
