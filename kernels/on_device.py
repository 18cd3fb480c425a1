"""The kernels that serve arrays on a device: those of "cuda", handed arrays as they want them.

Whoever computes with arrays may hand over views; kernels on a device read arrays from end to end, four numbers at a
time, and so take them C-contiguous and aligned. Every array that is not is copied here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from .devices import DeviceArray


def ready(x: Any) -> Any:
    """An array as kernels take it: itself, or a copy; a tuple of them; what is no array as it is."""
    if isinstance(x, DeviceArray):
        return x.contiguous()  # type: ignore[attr-defined]
    return tuple(map(ready, x)) if type(x) is tuple else x


def taking_views(op: str, functions: Any) -> Any:
    """An operation's (forward, backward), a sum or a transform, for arrays that may be views."""
    if op.endswith("_step"):  # updates its arrays in place, in which an optimizer keeps them
        return functions
    return (_forward(functions[0]), _backward(functions[1])) if type(functions) is tuple else _forward(functions)


def _forward(function: Callable) -> Callable:
    @wraps(function)
    def forward(*arrays: Any, **options: Any) -> Any:
        return function(*map(ready, arrays), **options)

    return forward


def _backward(function: Callable) -> Callable:
    @wraps(function)
    def backward(dy: Any, saved: Any, needs: Any) -> Any:
        return function(ready(dy), saved, needs)

    return backward
