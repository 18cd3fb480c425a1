"""An error that arises inside a model says in which layer: "2 (Linear): linear: x must have ..."."""

from __future__ import annotations

from typing import Any


def name_layer(error: Exception, module: Any) -> None:
    """Note the layer that raised ``error``, or, where an outer module passes it on, put the layer's name before it.

    The innermost module is the first to see the error and knows no name of its own; each one around it writes the name
    under which it holds that layer. Errors of other classes than Python's own are left as they are: what their
    arguments mean is not known here.
    """
    if type(error).__module__ != "builtins" or len(error.args) != 1 or type(error.args[0]) is not str:
        return
    noted = error.__dict__.setdefault("_layer", (module, error.args[0]))
    layer, message = noted
    for name, part in module.named_modules():
        if part is layer and name:
            error.args = (f"{name} ({type(layer).__name__}): {message}",)
