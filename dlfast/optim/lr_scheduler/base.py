"""LRScheduler: a count of steps, the rates that it gives to the groups of an optimizer, state and picture."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np

from ... import _check as check
from ..optimizer import Optimizer
from .plotting import draw

# Entries of PyTorch's states that say nothing more of a schedule.
_OF_PYTORCH = {"_step_count", "_get_lr_called_within_step", "_is_initial", "verbose", "default_min_lr", "mode_worse"}


class LRScheduler:
    """Sets ``group["lr"]`` of every group of an optimizer: when it is made for the first update, then at each `step`.

    ``last_epoch`` counts the steps t, from 0 on (epochs or updates, as the caller steps). The base rate of a group is
    its lr when the first scheduler of the optimizer was made; it is kept as ``group["initial_lr"]``. To go on after
    step ``last_epoch`` of an older run, groups must have their "initial_lr". A group that is added later takes part
    with its own lr as base.

    A subclass gives `get_lr`. Raises TypeError for what is no optimizer or no number, ValueError for numbers out of
    range.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        self._take(optimizer)
        self.last_epoch = check.integer(self._name, "last_epoch", last_epoch, least=-1)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{self._name}: to go on after last_epoch={last_epoch}, param_groups[{i}] must have its base rate "
                    'as "initial_lr"; to resume a run, make the scheduler afresh and call load_state_dict'
                )
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self._last_lr: list[float] = []
        if last_epoch == -1:
            self.step()
        else:
            self._start(last_epoch + 1)

    def _take(self, optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{self._name}: optimizer must be made by dlfast.optim, got {type(optimizer).__name__}")
        self.optimizer = optimizer

    @property
    def _name(self) -> str:
        return type(self).__name__

    def get_lr(self) -> list[float]:
        """The rate of each group at step ``last_epoch``."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """The rate that each group got last."""
        return list(self._last_lr)

    def step(self) -> None:
        """Count one more step and set its rates; call it after ``optimizer.step()``."""
        self._join_new_groups()
        self.last_epoch += 1
        self._set(self.get_lr())

    def _join_new_groups(self) -> None:
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self.base_lrs.append(float(group.setdefault("initial_lr", float(group["lr"]))))

    def _start(self, epoch: int = 0) -> None:
        """Go to that step without regard to the rates in force."""
        self._join_new_groups()
        self.last_epoch = epoch
        self._set(self._closed_form())

    def _closed_form(self) -> list[float]:
        """The rates at step ``last_epoch`` from the base rates alone."""
        return self.get_lr()

    def _restart(self) -> None:
        """Begin anew, as the constructor does, from the rates in force."""
        self.last_epoch = -1
        self.step()

    def _current(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _set(self, rates: list[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = float(rate)
        self._last_lr = self._current()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions, to be resumed exactly: numbers and lists, as in PyTorch.

        The rates in force are in the optimizer's ``state_dict``: save and load that too.
        """
        return {name: copy.deepcopy(value) for name, value in vars(self).items() if name not in self._unsaved()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, PyTorch's of the same scheduler too.

        Raises ValueError, and changes nothing, for the state of another scheduler or other groups.
        """
        own = set(vars(self)) - self._unsaved()
        state = {name: _plain(value) for name, value in state_dict.items() if name not in _OF_PYTORCH}
        if faults := sorted(own ^ (set(state) - self._unsaved())):
            raise ValueError(
                f"{self._name}: this is the state of another scheduler: it has {', '.join(sorted(state))}, which "
                f"differ in {', '.join(faults)}"
            )
        for name in ("base_lrs", "_last_lr", "min_lrs"):
            if name in own and len(state[name]) != len(self.optimizer.param_groups):
                groups = len(self.optimizer.param_groups)
                raise ValueError(f"{self._name}: the state has {len(state[name])} groups, the optimizer has {groups}")
        vars(self).update({name: copy.deepcopy(state[name]) for name in own})

    def _unsaved(self) -> set[str]:
        return {"optimizer"}

    def rates(self, steps: int | None = None) -> np.ndarray:
        """The rates of the first `steps` steps, (steps, groups), from the beginning; nothing is changed.

        steps: None for the natural length of the schedule, or 100 where it has none.
        """
        steps = self._span() if steps is None else check.integer(f"{self._name}.rates", "steps", steps, least=1)
        twin = self._twin()
        twin._restart()
        rows = [twin._current()]
        while len(rows) < steps:
            twin.step()
            rows.append(twin._current())
        return np.array(rows)

    def _span(self) -> int:
        return 100

    def _twin(self) -> LRScheduler:
        """A copy on groups of its own, which have their first rates."""
        return copy.deepcopy(self, {id(self.optimizer): _Groups(self.optimizer.param_groups)})

    def plot(self, path=None, steps: int | None = None):
        """Draw `rates` over the steps into the image file ``path``, if given, and return matplotlib's Figure.

        The suffix of ``path`` says the format. Raises ImportError without matplotlib (the extra ``plots``).
        """
        return draw({self._name: self.rates(steps)}, path)

    def __repr__(self) -> str:
        hidden = {*self._unsaved(), "base_lrs"}
        shown = {k: v for k, v in vars(self).items() if k not in hidden and not k.startswith("_")}
        return f"{self._name}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class _Groups:
    """What a scheduler sees of an optimizer: the options of its groups, at their first rates."""

    def __init__(self, groups: list[dict]):
        self.param_groups = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        for group in self.param_groups:
            group["lr"] = group.get("initial_lr", group["lr"])


class SharedLR(LRScheduler):
    """A schedule that is a share of the base rate: lr(t) = low + (base - low) share(t), low being 0 for most.

    A step multiplies what is above low in the rate in force by share(t) / share(t - 1). So schedules compose, and a
    rate that was changed by hand stays changed, as in PyTorch.
    """

    eta_min = 0.0

    def _share(self, t: int) -> float:
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        now, before = self._share(self.last_epoch), self._share(self.last_epoch - 1) if self.last_epoch > 0 else 1.0
        if now == before:
            return self._current()
        if before == 0:
            return [lr + (base - self.eta_min) * now for lr, base in zip(self._current(), self.base_lrs, strict=True)]
        return [self.eta_min + (lr - self.eta_min) * (now / before) for lr in self._current()]

    def _closed_form(self) -> list[float]:
        return [self.eta_min + (base - self.eta_min) * self._share(self.last_epoch) for base in self.base_lrs]


def per_group(op: str, name: str, value, groups: list[dict]) -> list:
    """One value for each group, of a list or of a single one."""
    values = list(value) if isinstance(value, (list, tuple)) else [value] * len(groups)
    if len(values) != len(groups):
        raise ValueError(f"{op}: {name} must have one value for each of the {len(groups)} groups, got {len(values)}")
    return values


def _plain(value):
    return sorted(value.elements()) if isinstance(value, Counter) else value
