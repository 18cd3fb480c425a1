"""OneCycleLR: up, down, and far down, with the momentum the other way."""

from __future__ import annotations

import math

from ... import _check as check
from .base import LRScheduler, per_group
from .cycles import half_cosine


class OneCycleLR(LRScheduler):
    """One rise from max_lr / div_factor to max_lr, and one fall to max_lr / div_factor / final_div_factor.

    The rise takes pct_start of the total_steps (or epochs * steps_per_epoch); three_phase falls to the first rate in as
    many steps as it rose, then on. anneal_strategy: "cos" or "linear". With cycle_momentum the momentum (beta1 where
    the optimizer has betas) falls from max_momentum to base_momentum while the rate rises, and back. max_lr and the
    momenta: a number, or a list of one for each group. Step it after each update; ValueError after total_steps steps.
    max_lr >= 0, pct_start in [0, 1], div_factor and final_div_factor > 0, momenta in [0, 1).
    Source: Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates",
    2018; fast.ai's form, as PyTorch has it.
    """

    def __init__(
        self,
        optimizer,
        max_lr,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ):
        self._take(optimizer)
        self.total_steps = self._length(total_steps, epochs, steps_per_epoch)
        self.pct_start = check.number(self._name, "pct_start", pct_start, 0, 1, high_closed=True)
        self.anneal_strategy = check.choice(self._name, "anneal_strategy", anneal_strategy, ("cos", "linear"))
        div_factor = check.number(self._name, "div_factor", div_factor, 0, math.inf, low_open=True)
        final_div_factor = check.number(self._name, "final_div_factor", final_div_factor, 0, math.inf, low_open=True)
        self.max_lrs = self._numbers("max_lr", max_lr, math.inf)
        self.min_lrs = [rate / div_factor / final_div_factor for rate in self.max_lrs]
        self.three_phase = bool(three_phase)
        self.cycle_momentum = bool(cycle_momentum)
        self.base_momentums = self._numbers("base_momentum", base_momentum, 1)
        self.max_momentums = self._numbers("max_momentum", max_momentum, 1)
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(
                f"OneCycleLR: {type(optimizer).__name__} has neither momentum nor betas; pass cycle_momentum=False"
            )
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, self.max_lrs, strict=True):
                group["initial_lr"] = rate / div_factor
        super().__init__(optimizer, last_epoch)

    def _length(self, total_steps, epochs, steps_per_epoch) -> int:
        if total_steps is not None:
            return check.integer(self._name, "total_steps", total_steps, least=1)
        if epochs is None or steps_per_epoch is None:
            raise ValueError("OneCycleLR: give total_steps, or both epochs and steps_per_epoch")
        count = check.integer(self._name, "epochs", epochs, least=1)
        return count * check.integer(self._name, "steps_per_epoch", steps_per_epoch, least=1)

    def _numbers(self, name: str, value, high: float) -> list[float]:
        values = per_group(self._name, name, value, self.optimizer.param_groups)
        return [check.number(self._name, name, one, 0, high) for one in values]

    def _join_new_groups(self) -> None:
        if len(self.optimizer.param_groups) != len(self.max_lrs):
            raise ValueError("OneCycleLR: the optimizer got another group, which has no max_lr; make a new scheduler")

    def step(self) -> None:
        if self.last_epoch >= self.total_steps:
            raise ValueError(f"OneCycleLR: it was made for total_steps={self.total_steps}; it cannot go beyond")
        super().step()

    def get_lr(self) -> list[float]:
        start, end, done = self._phase()
        rates = {"first": self.base_lrs, "most": self.max_lrs, "least": self.min_lrs}
        if self.cycle_momentum:
            momenta = {"first": self.max_momentums, "most": self.base_momentums, "least": self.max_momentums}
            self._set_momentum([self._between(a, b, done) for a, b in zip(momenta[start], momenta[end], strict=True)])
        return [self._between(a, b, done) for a, b in zip(rates[start], rates[end], strict=True)]

    def _phase(self) -> tuple[str, str, float]:
        """Which rates the phase goes from and to, and which part of it is done."""
        top, last = self.pct_start * self.total_steps - 1, float(self.total_steps - 1)
        ends = [(top, "most"), (last, "least")]
        if self.three_phase:
            ends = [(top, "most"), (2 * self.pct_start * self.total_steps - 2, "first"), (last, "least")]
        begin, start = 0.0, "first"
        for end, goal in ends:
            if self.last_epoch <= end or goal == "least":
                break
            begin, start = end, goal
        return start, goal, (self.last_epoch - begin) / (end - begin) if end != begin else 1.0

    def _between(self, start: float, end: float, done: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * done + start
        return end + (start - end) * half_cosine(done)

    def _set_momentum(self, momenta: list[float]) -> None:
        for group, momentum in zip(self.optimizer.param_groups, momenta, strict=True):
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    def _span(self) -> int:
        return self.total_steps
