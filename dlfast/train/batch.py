"""What training does with one batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import nonfinite
from .evaluation import batch_loss
from .interrupts import Interrupts
from .run import Run
from .update import NonFiniteGradient


def _augmented(augment: Callable | None, inputs: list) -> list:
    if augment is None:
        return inputs
    x = augment(inputs[0])
    if np.shape(x)[:1] != np.shape(inputs[0])[:1]:
        raise ValueError(f"fit: augment must give as many rows as it gets, got {np.shape(x)} for {np.shape(inputs[0])}")
    return [x, *inputs[1:]]


def train_batch(run: Run, inputs: list, targets: Any, interrupts: Interrupts) -> None:
    """Forward, loss, backward; the update, where a group of batches is whole; callbacks."""
    inputs = _augmented(run.augment, inputs)
    run.before.take()
    outputs = run.model(*inputs)
    loss, weight, counts = batch_loss("fit", run.loss, outputs, targets)
    value = loss.item()
    if weight and not math.isfinite(value):  # a mean over nothing is NaN
        what = f"the loss of batch {run.batch} in epoch {run.epoch} is {value}"
        raise nonfinite.of_loss(run, what, inputs, targets)
    run.update.add(loss, weight)
    measured = {"loss": (value, weight)}
    learns = False
    if run.update.due(last=run.batch == run.batches):
        learns, penalty = _prepared(run, inputs)
        if penalty is not None:
            measured["penalty"] = penalty, 1
    if learns:
        with interrupts.held():
            run.update.step()
            run.steps += 1
    run.means.add(len(targets), measured)
    run.means.measure(outputs, targets, counts)
    run.tell("on_batch_end")
    if learns:
        with interrupts.held():
            run.schedule.after_update()
            run.tell("after_update")


def _prepared(run: Run, inputs: list) -> tuple[bool, float | None]:
    try:
        return run.update.prepare()
    except NonFiniteGradient as error:
        what = f"{error} of batch {run.batch} in epoch {run.epoch} is not finite"
        raise nonfinite.of_gradient(run, what, inputs) from None
