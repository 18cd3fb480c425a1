"""An error that arises inside a model says in which layer, and what is wrong: "2 (Linear): x must have ..."."""

from __future__ import annotations

import math
from typing import Any

from .._layout import channels_first, missing_axis

# Layer -> the argument that says how many numbers the last axis of x has, what they are, the axes of x.
_INPUTS = {
    "Linear": ("in_features", "features", None),
    "Conv1d": ("in_channels", "channels", "N, L, C"),
    "Conv2d": ("in_channels", "channels", "N, H, W, C"),
    "ConvTranspose1d": ("in_channels", "channels", "N, L, C"),
    "ConvTranspose2d": ("in_channels", "channels", "N, H, W, C"),
    "BatchNorm1d": ("num_features", "channels", None),
    "BatchNorm2d": ("num_features", "channels", None),
    "GroupNorm": ("num_channels", "channels", None),
    "RNNCell": ("input_size", "features", "B, I"),
    "LSTMCell": ("input_size", "features", "B, I"),
    "GRUCell": ("input_size", "features", "B, I"),
}


def name_layer(error: Exception, module: Any, inputs: tuple) -> None:
    """Note the layer that raised ``error``, or, where an outer module passes it on, put the layer's name before it.

    The innermost module is the first to see the error and knows no name of its own; each one around it writes the name
    under which it holds that layer. Errors of other classes than Python's own are left as they are: what their
    arguments mean is not known here.
    """
    if type(error).__module__ != "builtins" or len(error.args) != 1 or type(error.args[0]) is not str:
        return
    if "_layer" not in error.__dict__:
        fault = _misfit(module, inputs[0], error) if inputs else None
        error.__dict__["_layer"] = module, fault or error.args[0]
        if fault:
            error.args = (f"{type(module).__name__}: {fault}",)
    layer, message = error.__dict__["_layer"]
    for name, part in module.named_modules():
        if part is layer and name:
            error.args = (f"{name} ({type(layer).__name__}): {message}",)


def _misfit(module: Any, x: Any, error: Exception) -> str | None:
    """What is wrong with x, in the words with which the layer was made; None where it is something else."""
    if x is None and isinstance(error, TypeError) and "None" in error.args[0]:
        return "x is None; an array of numbers is needed"
    names = [kind.__name__ for kind in type(module).__mro__ if kind.__name__ in _INPUTS]
    if not names or not hasattr(x, "shape") or not isinstance(error, ValueError):
        return None
    argument, what, letters = _INPUTS[names[0]]
    wanted, shape = getattr(module, argument, None), tuple(x.shape)
    axes = letters.count(",") + 1 if letters else len(shape)
    if len(shape) != axes:
        return f"x must have {axes} axes ({letters}), got shape {shape}{missing_axis(x, axes, wanted)}"
    if not shape or wanted is None or shape[-1] == wanted:
        return None
    hint = channels_first(x, wanted)
    if names[0] == "Linear" and math.prod(shape[1:]) == wanted:
        hint = "; put nn.Flatten() before it"
    return f"x must have {argument}={wanted} {what} in its last axis, got shape {shape}{hint}"
