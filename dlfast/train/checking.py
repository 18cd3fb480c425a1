"""Checks of arguments that several functions of training take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..nn import Module
from ..optim import Optimizer
from .callbacks import Callback
from .progress import ProgressBar


def check_model(op: str, model) -> None:
    """Raise TypeError for what is no model, but perhaps a class of them."""
    if not isinstance(model, Module):
        made = f"; make one: {model.__name__}(...)" if isinstance(model, type) else ""
        raise TypeError(f"{op}: model must be a Module, got {model if made else type(model).__name__}{made}")


def check_loss(op: str, loss) -> Callable:
    """`loss`, which must be a function, not a class of them. Raises TypeError."""
    if loss is None:
        raise TypeError(f"{op}: loss is missing: loss=F.cross_entropy for classes, loss=F.mse_loss for numbers")
    if isinstance(loss, type):
        raise TypeError(f"{op}: loss must be made: loss={loss.__name__}(), got the class")
    if not callable(loss):
        raise TypeError(f"{op}: loss must be a function of outputs and targets, got {type(loss).__name__}")
    return loss


def check_optimizer(op: str, model, optimizer: Any) -> Optimizer:
    """The optimizer, which holds parameters of the model. Raises TypeError and ValueError."""
    if optimizer is None:
        raise TypeError(f"{op}: optimizer is missing: optimizer=optim.Adam(model.parameters(), lr=1e-3) for example")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{op}: optimizer must be made, as in optim.Adam(model.parameters()), got {optimizer!r}")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(id(p) in held for p in model.parameters()):
        raise ValueError(f"{op}: the optimizer holds no parameter of this model; make it from model.parameters()")
    return optimizer


def check_callbacks(given, progress: bool) -> list[Callback]:
    """The callbacks, with a progress bar in front if it is wanted and there is none. Raises TypeError."""
    callbacks = list(given)
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(f"fit: callbacks must be Callback objects, got {callback!r}")
    if progress and not any(isinstance(callback, ProgressBar) for callback in callbacks):
        callbacks.insert(0, ProgressBar())
    return callbacks


def check_augment(op: str, augment) -> None:
    """Raise TypeError for what is no transform."""
    if isinstance(augment, type):
        raise TypeError(f"{op}: augment must be made: augment={augment.__name__}(...), got the class")
    if augment is not None and not callable(augment):
        raise TypeError(f"{op}: augment must be a function of a batch of inputs, got {type(augment).__name__}")
