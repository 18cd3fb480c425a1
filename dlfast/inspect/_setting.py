"""What every inspection shares: a copy of the model to work on, rows of the data, the loss and the optimizer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from .. import random
from .._arrays import plain_array
from ..data import DataLoader
from ..nn.module import Module
from ..optim import Optimizer
from ..tensor import Tensor
from ..train.evaluation import batch_loss, check_loss, check_model
from ..train.sources import as_loader

SAMPLE_ROWS = 512


@contextmanager
def copy_of(op: str, model: Module, training: bool) -> Iterator[Any]:
    """A copy of the model in this mode, on the CPU, without gradients; what is done to it leaves no trace.

    The library's random numbers begin at the same place every time, so that an inspection gives the same figures again,
    and go on afterwards where they were. Raises TypeError for what is no model.
    """
    check_model(op, model)
    state = random.get_state()
    try:
        random.set_state(dict(np.random.default_rng(0).bit_generator.state))
        made = copy.deepcopy(model).cpu().train(training)
        made.zero_grad()
        yield made
    finally:
        random.set_state(state)


@dataclass(frozen=True)
class Sample:
    """Some rows of a data set: the inputs of a model, and the targets."""

    inputs: tuple[np.ndarray, ...]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def rows(self, part: Any) -> Sample:
        """Those of a slice or of an array of indices."""
        return Sample(tuple(x[part] for x in self.inputs), self.targets[part])


def sample_of(op: str, data: Any, rows: int = SAMPLE_ROWS) -> Sample:
    """At most so many rows of what `fit` takes as data, from all over a data set and the same ones every time.

    Of batches that somebody else makes, the first. Raises as `fit` for what is no data.
    """
    state = random.get_state()
    try:
        loader = as_loader(op, data, rows)
        if isinstance(loader, DataLoader):
            count = len(loader.dataset)
            chosen = np.sort(np.random.default_rng(0).permutation(count)[:rows])
            batches = [loader._gather(chosen)]
        else:
            batches = _first(iter(loader), rows)
        *inputs, targets = (np.concatenate(parts)[:rows] for parts in zip(*batches, strict=True))
    finally:
        random.set_state(state)
    return Sample(tuple(inputs), targets)


def _first(batches: Iterator[tuple], rows: int) -> list[tuple]:
    found, count = [], 0
    while count < rows and (batch := next(batches, None)) is not None:
        found.append(tuple(plain_array(part) for part in batch))
        count += len(found[-1][-1])
    return found


def loss_of(op: str, loss: Callable | None, sample: Sample) -> Callable:
    """The loss that is given, else `cross_entropy` for integer targets and `mse_loss` for others."""
    if loss is not None:
        loss = check_loss(op, loss)
        return copy.deepcopy(loss).cpu() if isinstance(loss, Module) else loss
    return F.cross_entropy if is_classes(sample.targets) else F.mse_loss


def is_classes(targets: np.ndarray) -> bool:
    """Whether the targets name classes."""
    return targets.dtype.kind in "iub"


def loss_at(op: str, model: Any, sample: Sample, loss: Callable) -> Tensor:
    """The mean loss of the rows, a Tensor of one number."""
    return batch_loss(op, loss, model(*sample.inputs), sample.targets)[0]


def optimizer_for(
    copied: Module, model: Module, optimizer: Optimizer, scale: float = 1.0, fresh: bool = False
) -> Optimizer:
    """An optimizer of the copy, with the options and the state of this one, and its learning rates times `scale`.

    Parameters that are not the model's are left out, and then the state is; so it is if `fresh`, and then the rates are
    those before any schedule.
    """
    twins = {id(p): q for p, q in zip(model.parameters(), copied.parameters(), strict=True)}
    groups, whole = [], True
    for group in optimizer.param_groups:
        options = {name: group[name] for name in optimizer.defaults if name in group}
        params = [twins[id(p)] for p in group["params"] if id(p) in twins]
        whole = whole and len(params) == len(group["params"])
        if fresh:
            options["lr"] = max(group["lr"], group.get("initial_lr", 0.0), optimizer.defaults["lr"])
        if params:
            groups.append({**options, "params": params})
    if not groups:
        raise ValueError("optimizer: it holds no parameter of this model; make it from model.parameters()")
    made = type(optimizer)(groups)  # type: ignore[call-arg]
    if whole and not fresh:
        made.load_state_dict(optimizer.state_dict())
    made.clip_grad_norm = optimizer.clip_grad_norm
    for group in made.param_groups:
        group["lr"] *= scale
    return made
