"""Cosine schedules: down half a cosine; with a rise before it, as the notes draw it; again and again."""

from __future__ import annotations

import math

from ... import _check as check
from .base import LRScheduler, SharedLR


def half_cosine(done: float) -> float:
    """From 1 to 0 as `done` goes from 0 to 1."""
    return (1 + math.cos(math.pi * done)) / 2


class CosineAnnealingLR(SharedLR):
    """lr(t) = eta_min + (base - eta_min) (1 + cos(pi t / T_max)) / 2, which rises again after T_max steps.

    T_max >= 1, eta_min >= 0. Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts",
    2017, equation 5, without restarts.
    """

    def __init__(self, optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max = check.integer(self._name, "T_max", T_max, least=1)
        self.eta_min = check.number(self._name, "eta_min", eta_min, 0, math.inf)
        super().__init__(optimizer, last_epoch)

    def _share(self, t: int) -> float:
        return half_cosine(t / self.T_max)

    def _span(self) -> int:
        return self.T_max + 1


class CosineWithWarmup(LRScheduler):
    """The notes' cosine annealing, a rise at the start and half a cosine down to eta_min::

        lr(t) = base (t + 1) / (warmup_steps + 1)                                         t < warmup_steps = W
        lr(t) = eta_min + (base - eta_min) (1 + cos(pi (t - W) / (total_steps - W))) / 2  W <= t < total_steps
        lr(t) = eta_min                                                                   after that

    No update goes by a rate of 0: the rise begins one step up, and eta_min is for what comes after total_steps.
    0 <= warmup_steps < total_steps, eta_min >= 0. Source: Loshchilov and Hutter 2017, equation 5; Goyal et al.,
    "Accurate, large minibatch SGD", 2017, section 2.2, for the rise.
    """

    def __init__(self, optimizer, total_steps: int, warmup_steps: int = 0, eta_min: float = 0.0, last_epoch: int = -1):
        self.total_steps = check.integer(self._name, "total_steps", total_steps, least=1)
        self.warmup_steps = check.integer(self._name, "warmup_steps", warmup_steps, 0, self.total_steps - 1)
        self.eta_min = check.number(self._name, "eta_min", eta_min, 0, math.inf)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, warmup = self.last_epoch, self.warmup_steps
        if t < warmup:
            return [base * ((t + 1) / (warmup + 1)) for base in self.base_lrs]
        share = half_cosine(min(1.0, (t - warmup) / (self.total_steps - warmup)))
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]

    def _span(self) -> int:
        return self.total_steps


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from the base rate to eta_min, over T_0 steps, then over T_0 T_mult, T_0 T_mult^2, ...::

        lr = eta_min + (base - eta_min) (1 + cos(pi T_cur / T_i)) / 2,   T_cur steps since the last restart of T_i

    ``step(epoch)`` goes to an epoch, which may have a fraction: ``scheduler.step(epoch + batch / batches)`` after each
    update. T_0 >= 1, T_mult >= 1, eta_min >= 0. Source: Loshchilov and Hutter 2017, section 3.
    """

    def __init__(self, optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_0 = check.integer(self._name, "T_0", T_0, least=1)
        self.T_mult = check.integer(self._name, "T_mult", T_mult, least=1)
        self.eta_min = check.number(self._name, "eta_min", eta_min, 0, math.inf)
        self.T_i, self.T_cur = self.T_0, 0.0
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        share = half_cosine(self.T_cur / self.T_i)
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        if epoch is not None:
            self._start(check.number(self._name, "epoch", epoch, 0, math.inf))
        elif self.last_epoch < 0:
            self._start(0)
        else:
            self._join_new_groups()
            self.last_epoch += 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
            self._set(self.get_lr())

    def _start(self, epoch: float = 0) -> None:
        start, self.T_i = 0, self.T_0
        if self.T_mult == 1:
            start = int(epoch // self.T_0) * self.T_0
        else:
            while epoch >= start + self.T_i:
                start += self.T_i
                self.T_i *= self.T_mult
        self.T_cur = epoch - start
        super()._start(math.floor(epoch))

    def _span(self) -> int:
        return self.T_0 * (1 + self.T_mult + self.T_mult**2)
