"""ReduceLROnPlateau: a smaller rate when a metric no longer improves."""

from __future__ import annotations

import math

import numpy as np

from ... import _check as check
from .base import LRScheduler, per_group
from .plotting import draw


class ReduceLROnPlateau(LRScheduler):
    """lr <- max(factor lr, min_lr) when ``step(metric)`` has seen no improvement for more than `patience` steps.

    An improvement is, with mode "min", a metric below best (1 - threshold) for threshold_mode "rel", below best -
    threshold for "abs"; with "max" one above best (1 + threshold), or best + threshold. NaN is none. After a reduction
    the next `cooldown` steps count no bad ones. Changes of at most eps are left out. min_lr: a number, or a list of one
    for each group. factor in [0, 1), patience and cooldown >= 0, threshold >= 0.
    """

    def __init__(
        self,
        optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr=0.0,
        eps: float = 1e-8,
    ):
        self._take(optimizer)
        self.mode = check.choice(self._name, "mode", mode, ("min", "max"))
        self.factor = check.number(self._name, "factor", factor, 0, 1)
        self.patience = check.integer(self._name, "patience", patience, least=0)
        self.threshold = check.number(self._name, "threshold", threshold, 0, math.inf)
        self.threshold_mode = check.choice(self._name, "threshold_mode", threshold_mode, ("rel", "abs"))
        self.cooldown = check.integer(self._name, "cooldown", cooldown, least=0)
        self.eps = check.number(self._name, "eps", eps, 0, math.inf)
        limits = per_group(self._name, "min_lr", min_lr, optimizer.param_groups)
        self.min_lrs = [check.number(self._name, "min_lr", value, 0, math.inf) for value in limits]
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", float(group["lr"]))
        self._forget()

    def _forget(self) -> None:
        self.last_epoch = self.num_bad_epochs = self.cooldown_counter = 0
        self.best = math.inf if self.mode == "min" else -math.inf
        self._last_lr = self._current()

    def step(self, metric) -> None:  # type: ignore[override]
        """Judge one more value of the metric, a number or a Tensor with one element."""
        value = float(metric)
        self.last_epoch += 1
        if self._improves(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._current()

    def _improves(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "rel":
            return sign * value < sign * (self.best * (1 - sign * self.threshold))
        return sign * value < sign * (self.best - sign * self.threshold)

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        self.min_lrs += [0.0] * (len(groups) - len(self.min_lrs))  # groups that came later
        for group, low in zip(groups, self.min_lrs, strict=True):
            rate = max(float(group["lr"]) * self.factor, low)
            if group["lr"] - rate > self.eps:
                group["lr"] = rate

    def rates(self, metrics) -> np.ndarray:  # type: ignore[override]
        """The rates before each value of the metric was judged, and after the last: (len(metrics) + 1, groups)."""
        twin = self._twin()
        assert isinstance(twin, ReduceLROnPlateau)
        twin._forget()
        rows = [twin._current()]
        for metric in metrics:
            twin.step(metric)
            rows.append(twin._current())
        return np.array(rows)

    def plot(self, path=None, metrics=None):
        """Draw `rates` for a list of values of the metric; ValueError without. Otherwise as every scheduler's plot."""
        if metrics is None:
            raise ValueError("ReduceLROnPlateau.plot: the rates follow a metric; pass metrics=[...], its values")
        return draw({self._name: self.rates(metrics)}, path)
