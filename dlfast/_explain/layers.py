"""The layers of a model as they run: found in one forward pass, each timed on its own input."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

import numpy as np

from .. import kernels
from ..kernels.devices import DeviceArray
from ..nn.module import Module
from ..tensor import Tensor
from .ops import flops

_SECONDS, _LEAST, _MOST = 0.1, 3, 50  # a layer is timed for so long, at least and at most so many times


@dataclass
class Layer:
    """Calls of one layer, with inputs of the same shapes; `ops` are those that it runs itself, not by layers within."""

    module: Module
    args: tuple
    kwargs: dict[str, Any]
    output: Any
    ops: list[kernels.Call]
    calls: int = 1
    has_inner: bool = False
    within: list[tuple[int, int]] = field(default_factory=list)  # first and last operations of the layers it called


@contextmanager
def layers_called(names: dict[int, str], ops: list[kernels.Call]) -> Iterator[list[Layer]]:
    """Note the layers that this thread calls, those that call others only where they multiply too; what is being called
    lies on a stack."""
    found: dict[tuple, Layer] = {}
    layers: list[Layer] = []
    stack: list[Layer] = []
    plain, thread = Module.__call__, get_ident()

    def call(self: Module, *args: Any, **kwargs: Any) -> Any:
        if get_ident() != thread:
            return plain(self, *args, **kwargs)
        layer, begun, place = Layer(self, args, kwargs, None, []), len(ops), len(layers)
        stack.append(layer)
        try:
            layer.output = plain(self, *args, **kwargs)
        except _Misfit:
            raise
        except (TypeError, ValueError) as error:
            raise _Misfit(_complaint(layer, names.get(id(self), ""), error)) from error
        finally:
            stack.pop()
            if stack:
                stack[-1].has_inner = True
                stack[-1].within.append((begun, len(ops)))
        own = set(range(begun, len(ops))).difference(*(range(*span) for span in layer.within))
        layer.ops = [ops[i] for i in sorted(own)]
        if not layer.has_inner or any(flops(op)[0] for op in layer.ops):
            key = id(self), repr([_shape(x) for x in leaves((args, kwargs))])
            if key in found:
                _again(found[key], layer)
            else:
                found[key] = layer
                layers.insert(place, layer)  # before those that it called
        return layer.output

    Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield layers
    finally:
        Module.__call__ = plain  # type: ignore[method-assign]


class _Misfit(ValueError):
    """An input that does not fit, told with the name of the layer."""


def _complaint(layer: Layer, name: str, error: Exception) -> str:
    shapes = ", ".join(str(x.shape) for x in leaves((layer.args, layer.kwargs)) if hasattr(x, "shape"))
    which = f"layer {name!r}" if name else "the model"
    return f"explain: {which} ({type(layer.module).__name__}) cannot take its input of shape {shapes}: {error}"


def _again(first: Layer, layer: Layer) -> None:
    """One more call of a layer; of all its calls one with the most gradients to compute is timed."""
    first.calls += 1
    if gradients_of_inputs(layer) > gradients_of_inputs(first):
        first.args, first.kwargs, first.output, first.ops = layer.args, layer.kwargs, layer.output, layer.ops


def gradients_of_inputs(layer: Layer) -> int:
    return sum(isinstance(x, Tensor) and x.requires_grad for x in leaves((layer.args, layer.kwargs)))


def _shape(x: Any) -> Any:
    return x.shape if hasattr(x, "shape") else x


def leaves(value: Any) -> Iterator[Any]:
    """What lies in nested tuples, lists and dictionaries."""
    if isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    else:
        yield value


def differentiable(output: Any) -> Tensor | None:
    """The first Tensor of an output that a gradient can start from."""
    return next((x for x in leaves(output) if isinstance(x, Tensor) and x.requires_grad), None)


def least_seconds(layer: Layer) -> tuple[float, float | None]:
    """The least seconds of forward and backward over several runs; the first run, which compiles, does not count."""
    args, kwargs, tensors = _detached(layer)
    output = differentiable(layer.output)
    dy = None if output is None else _random_like(output)
    best_forward = best_backward = math.inf
    runs, spent = -1, 0.0
    while runs < _LEAST or (spent < _SECONDS and runs < _MOST):
        layer.module.zero_grad()
        for x in tensors:
            x.grad = None
        start = time.perf_counter()
        y = layer.module(*args, **kwargs)
        _wait(y)
        forward = time.perf_counter() - start
        backward = _backward_seconds(y, dy)
        runs += 1
        if runs:
            best_forward, best_backward = min(best_forward, forward), min(best_backward, backward)
            spent += forward + backward
    return best_forward, None if dy is None else best_backward


def _random_like(output: Tensor) -> Any:
    """Random numbers of its shape and dtype, where it lies."""
    numbers = np.random.default_rng(1).standard_normal(output.shape).astype(output.dtype)
    return Tensor(numbers).to(output.device).data


def _wait(value: Any) -> None:
    """Wait for the devices of the arrays in a value; those of the CPU are there."""
    for device in {x.data.device for x in leaves(value) if isinstance(x, Tensor) and isinstance(x.data, DeviceArray)}:
        device.synchronize()


def _backward_seconds(y: Any, dy: Any) -> float:
    if dy is None:
        return 0.0
    output = differentiable(y)
    assert output is not None
    start = time.perf_counter()
    output.backward(dy)
    _wait(output)
    return time.perf_counter() - start


def _detached(layer: Layer) -> tuple[tuple, dict[str, Any], list[Tensor]]:
    """The arguments with Tensors that remember no history, and these Tensors."""
    made: dict[int, Tensor] = {}

    def convert(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)(map(convert, value))
        if isinstance(value, dict):
            return {key: convert(part) for key, part in value.items()}
        if isinstance(value, Tensor):
            return made.setdefault(id(value), Tensor(value.data, value.requires_grad))
        return value

    return convert(layer.args), convert(layer.kwargs), list(made.values())
