"""A trial of the learning rate: a few steps on a copy, with the rate that is set and with larger or smaller ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..nn.module import Module
from ..optim import Optimizer
from ..tensor import no_grad
from ._setting import Sample, copy_of, loss_at, optimizer_for

_STEPS, _FRESH_STEPS, _BATCH = 30, 60, 32


@dataclass(frozen=True)
class Trial:
    """The loss of some rows before, and after so many steps with the rates of the optimizer times each key of `after`.

    fresh: the weights were drawn anew.
    """

    before: float
    after: dict[float, float]
    steps: int
    fresh: bool = False

    def fall(self, scale: float) -> float:
        """The share of the loss that these steps took away; -inf where the loss is not finite."""
        value = self.after[scale]
        return (self.before - value) / self.before if np.isfinite(value) and self.before else -np.inf

    def in_words(self, *scales: float) -> str:
        """What the steps brought with the rate that is set, and with these times it."""
        of = "of fresh weights" if self.fresh else "of some rows"
        others = ", ".join(f"with {scale:g} times it to {self.after[scale]:.4g}" for scale in scales)
        return (
            f"{self.steps} steps with this learning rate bring the loss {of} from {self.before:.4g} to "
            f"{self.after[1.0]:.4g}, {others}."
        )


def trial_of(model: Module, sample: Sample, loss: Callable, optimizer: Optimizer, low: float) -> Trial:
    """Try the rate that is set, and others where that tells more.

    From a loss above `low`, where there is something to learn: a tenth and a hundredth of it if the loss hardly falls,
    ten and a hundred times it if it does not move. From a lower one: the former if it rises above.
    """
    run = _Run(model, sample, loss, optimizer, _STEPS, renew=False)
    before, value = run.after(None), run.after(1.0)
    after = {1.0: value}
    if not value < (0.9 * before if before > low else low):
        after |= {scale: run.after(scale) for scale in (0.1, 0.01)}
    if before > low and 0.99 * before < value < 1.01 * before:
        after |= {scale: run.after(scale) for scale in (10.0, 100.0)}
    return Trial(before, after, _STEPS)


def fresh_trial_of(model: Module, sample: Sample, loss: Callable, optimizer: Optimizer) -> Trial:
    """Try the rate that is set, and smaller ones, from weights drawn anew: whether it is the rate that kills them."""
    run = _Run(model, sample, loss, optimizer, _FRESH_STEPS, renew=True)
    return Trial(run.after(None), {scale: run.after(scale) for scale in (1.0, 0.1, 0.01)}, _FRESH_STEPS, fresh=True)


@dataclass(frozen=True)
class _Run:
    """Steps of an optimizer on copies of a model."""

    model: Module
    sample: Sample
    loss: Callable
    optimizer: Optimizer
    steps: int
    renew: bool

    def after(self, scale: float | None) -> float:
        """The loss of the rows after the steps with `scale` times the rate, None for before them; or one not finite."""
        with copy_of("doctor", self.model, training=True) as copied, np.errstate(all="ignore"):
            if self.renew:
                copied.apply(_redraw)
            if scale is not None and not np.isfinite(broken := self._train(copied, scale)):
                return broken
            with no_grad():
                return float(loss_at("doctor", copied, self.sample, self.loss).item())

    def _train(self, copied: Module, scale: float) -> float:
        """Take the steps; the last loss, at once if it is not finite."""
        optimizer = optimizer_for(copied, self.model, self.optimizer, scale, fresh=True)
        parts, value = max(1, len(self.sample) // _BATCH), 0.0
        for step in range(self.steps):
            loss = loss_at("doctor", copied, self.sample.rows(slice(step % parts, None, parts)), self.loss)
            value = float(loss.item())
            if not np.isfinite(value) or not loss.requires_grad:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return value


def _redraw(module: Module) -> None:
    if redraw := getattr(module, "reset_parameters", None):
        redraw()
