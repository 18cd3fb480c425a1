"""What training does with one batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._counting import Count
from .._devices import on_device
from ..tensor import Tensor
from . import nonfinite
from .evaluation import batch_loss
from .interrupts import Interrupts
from .run import Run
from .update import NonFiniteGradient


def _augmented(augment: Callable, inputs: list) -> list:
    x = augment(inputs[0])
    if np.shape(x)[:1] != np.shape(inputs[0])[:1]:
        raise ValueError(f"fit: augment must give as many rows as it gets, got {np.shape(x)} for {np.shape(inputs[0])}")
    return [x, *inputs[1:]]


class _Forward(NamedTuple):
    """The forward pass of a rank's part of a batch; of no rows, without a loss."""

    inputs: list
    outputs: Any = None
    loss: Tensor | None = None
    value: float = 0.0
    weight: float = 0.0
    counts: Sequence[Count] = ()
    went_back: bool = False  # whether its gradient has been taken


def _forward(run: Run, inputs: list, targets: Any) -> _Forward:
    if run.augment is not None and len(targets):
        inputs = _augmented(run.augment, inputs)
    *inputs, targets = run.place.put((*inputs, targets))
    run.before.take()
    with run.mixed.casting():
        outputs = run.model(*inputs)
        loss, weight, counts = batch_loss("fit", run.loss, outputs, targets)
    early = on_device(loss.data) and run.ranks.comm.size == 1
    if early:  # the device is given the way back before it is waited for
        run.update.add(loss, weight, weight)
    value = loss.item()
    if weight and not math.isfinite(value):  # a mean over nothing is NaN
        what = f"the loss of batch {run.batch} in epoch {run.epoch} is {value}"
        raise nonfinite.of_loss(run, what, inputs, targets)
    if not weight and run.ranks.sync_batch_norm:
        loss = outputs.sum()  # of which 0 times the gradient goes back, since the other ranks wait for it
    return _Forward(inputs, outputs, loss, value if weight else 0.0, weight, counts, early)


def train_batch(run: Run, inputs: list, targets: Any, interrupts: Interrupts) -> None:
    """Forward, loss, backward; the update, where a group of batches is whole; callbacks."""
    part, error = _Forward(inputs), None
    try:
        if len(targets) or run.ranks.comm.size == 1 or run.ranks.sync_batch_norm:
            with run.ranks.drawing(run):
                part = _forward(run, inputs, targets)
    except Exception as raised:
        if run.ranks.sync_batch_norm and not isinstance(raised, nonfinite.NonFiniteLoss):
            raise  # the others may wait within a layer
        error = raised
    own = [part.weight, part.value * part.weight, len(targets)]
    weight, total, rows = run.ranks.totals(run, own, error, interrupts)
    if not part.went_back:
        run.update.add(part.loss, part.weight, weight)
    run.means.add_total("loss", total, weight)
    learns = run.update.due(last=run.batch == run.batches) and _prepared(run, part.inputs)
    if learns:
        with interrupts.held():
            run.update.step()
            run.steps += 1
    run.means.measure(part.outputs if len(targets) else None, targets, part.counts, rows)
    run.tell("on_batch_end")
    if learns:
        with interrupts.held():
            run.schedule.after_update()
            run.tell("after_update")


def _prepared(run: Run, inputs: list) -> bool:
    """Whether the group of batches that has ended gives an update; what it is, is made ready then."""
    try:
        learns = run.update.prepare()
    except NonFiniteGradient as error:
        what = f"{error} of batch {run.batch} in epoch {run.epoch} is not finite"
        raise nonfinite.of_gradient(run, what, inputs) from None
    if learns and run.update.penalty is not None:
        run.means.add("penalty", run.update.penalty, 1)
    return learns
