"""Metrics of numbers."""

from __future__ import annotations

import numpy as np

from .base import NOTHING, Metric


class _Error(Metric):
    """The mean over all numbers of an error of each."""

    def reset(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, outputs, targets, ignored=None) -> None:
        y, t = _numbers(self.name, outputs, targets)
        self.total += float(self._errors(y - t).sum())
        self.count += y.size

    def value(self) -> float:
        return self.total / self.count if self.count else NOTHING

    def merge(self, other) -> None:
        self.total, self.count = self.total + other.total, self.count + other.count

    def _errors(self, difference: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class MeanAbsoluteError(_Error):
    """mean |outputs - targets|; both of one shape, or one with a last axis of 1 more."""

    name = "mae"

    def _errors(self, difference):
        return np.abs(difference)


class MeanSquaredError(_Error):
    """mean (outputs - targets)^2; both of one shape, or one with a last axis of 1 more."""

    name = "mse"

    def _errors(self, difference):
        return difference * difference


class R2(Metric):
    """1 - sum (targets - outputs)^2 / sum (targets - mean of the targets)^2, of each column, then their mean: 1 for no
    error, 0 for guessing the mean. Where all targets of a column are equal it is 1 without error, else 0.

    The sums of squares of batches are joined about their common mean. Source: Chan, Golub and LeVeque 1983,
    "Algorithms for computing the sample variance", equation 2.1.
    """

    name = "r2"

    def reset(self) -> None:
        self.count = 0
        self.mean = self.squares = self.errors = np.zeros(1)

    def update(self, outputs, targets, ignored=None) -> None:
        y, t = _numbers(self.name, outputs, targets)
        y, t = (a.reshape(-1, a.shape[-1] if a.ndim > 1 else 1) for a in (y, t))
        if not len(t):
            return
        mean = t.mean(axis=0)
        self._join(len(t), mean, ((t - mean) ** 2).sum(axis=0), ((t - y) ** 2).sum(axis=0))

    def merge(self, other) -> None:
        if other.count:
            self._join(other.count, other.mean, other.squares, other.errors)

    def _join(self, count: int, mean: np.ndarray, squares: np.ndarray, errors: np.ndarray) -> None:
        total, shift = self.count + count, mean - self.mean
        self.squares = self.squares + squares + shift**2 * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.errors = self.errors + errors
        self.count = total

    def value(self) -> float:
        if self.count < 2:
            return NOTHING
        flat = self.squares == 0
        scores = 1 - self.errors / np.where(flat, 1.0, self.squares)
        return float(np.where(flat, self.errors == 0, scores).mean())


def _numbers(op: str, outputs, targets) -> tuple[np.ndarray, np.ndarray]:
    y, t = np.asarray(outputs, np.float64), np.asarray(targets, np.float64)
    if y.shape == (*t.shape, 1):
        y = y[..., 0]
    elif t.shape == (*y.shape, 1):
        t = t[..., 0]
    if y.shape != t.shape:
        raise ValueError(f"{op}: outputs and targets must have one shape, got {outputs.shape} and {targets.shape}")
    return y, t
