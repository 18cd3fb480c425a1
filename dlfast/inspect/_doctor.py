"""doctor: all inspections of a model, its data and its training, and in words what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import random
from ..nn.module import Module
from ..optim import Optimizer
from ..train.evaluation import check_model
from ._evidence import Evidence, first_evidence, gather
from ._findings import Diagnosis, Finding, ordered
from ._history_rules import OF_HISTORY, learning_rate_too_high
from ._rules import OF_DATA, OF_MODEL, nan_in_data, nan_in_weights


def doctor(
    model: Module,
    data: Any,
    history: Any = None,
    loss: Callable | None = None,
    optimizer: Optimizer | None = None,
    val: Any = None,
) -> Diagnosis:
    """Say in words what is wrong with a model, its data or its training, and what the notes advise. Print the result.

    data       what it is trained on, as in `fit`; a fixed choice of its rows is looked at
    history    of its training, if it was trained, as `fit` returns it: what is over- and underfitted, and whether
               the learning rate was too high or too low, is judged by it
    loss       loss(outputs, targets), None for `cross_entropy` where the targets are integers, else `mse_loss`
    optimizer  tries its learning rate for a few steps, and smaller or larger ones
    val        data that it is not trained on

    `.findings` are the faults, the leading one first, each with `code`, `severity`, `words`, `figures`, `advice`, and
    `because` for what follows from another; `.healthy` says that there is none. The codes: nan_in_data, not_normalised,
    targets_not_normalised, labels, softmax_twice, exploding_gradients, learning_rate_too_high, nan_in_weights,
    vanishing_gradients, dead_relu, saturated_units, wrong_initial_loss, learning_rate_too_low, cannot_learn_tiny_batch,
    overfitting, underfitting, class_imbalance.
    Copies of the model run: it stays as it is, and so do the random numbers. Raises as `fit` for what does not fit.
    """
    check_model("doctor", model)
    state = random.get_state()
    try:
        with np.errstate(all="ignore"):
            return _examined(first_evidence(model, data, history, loss), optimizer, val)
    finally:
        random.set_state(state)


def _examined(found: Evidence, optimizer: Optimizer | None, val: Any) -> Diagnosis:
    findings: list[Finding] = [*nan_in_data(found), *nan_in_weights(found)]
    if findings:  # there is nothing to measure
        findings += learning_rate_too_high(found)
        return Diagnosis(ordered(findings), len(found.rows))
    gather(found, optimizer, val)
    for rule in (*OF_DATA, *OF_MODEL, *OF_HISTORY):
        findings += rule(found)
    return Diagnosis(
        ordered(findings),
        len(found.rows),
        found.gradients,
        found.units,
        found.initial,
        found.tiny,
        found.signal,
    )
