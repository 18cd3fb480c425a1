"""Learning rates that follow the course of a run."""

from __future__ import annotations

import math

from .callbacks import Callback


def cosine(lr: float, done: float) -> float:
    """The learning rate when that share of the updates is done: from `lr` to 0 along half a cosine."""
    return lr * (1 + math.cos(math.pi * done)) / 2


class Cosine(Callback):
    """Sets the learning rate of every update: a rise from 0 over the first `warmup` updates, half a cosine down to 0.

        rate(t) = min(lr t / warmup, lr (1 + cos(pi t / T)) / 2),   t = 1 .. T, the updates of all epochs

    Source: Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", equation 5.
    """

    def __init__(self, lr: float, warmup: int = 0) -> None:
        self.lr, self.warmup = lr, warmup

    def on_epoch_begin(self, run) -> None:
        self._set(run, (run.epoch - 1) * run.batches + run.batch)

    def on_batch_end(self, run) -> None:
        self._set(run, (run.epoch - 1) * run.batches + run.batch)

    def _set(self, run, taken: int) -> None:
        """The rate of the next update, when that many are done."""
        rate = cosine(self.lr, taken / (run.epochs * run.batches))
        if taken < self.warmup:
            rate = min(rate, self.lr * (taken + 1) / self.warmup)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
