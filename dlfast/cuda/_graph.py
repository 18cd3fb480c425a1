"""graph: a function captured once, and then repeated by the GPU without Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import update_wrapper
from typing import Any

import numpy as np

from ..kernels.devices import DeviceArray, device_name
from ..tensor import Tensor


def graph(function: Callable, *, warmup: int = 1) -> Graphed:
    """Let a GPU repeat a function of fixed shapes, as a whole training step, without Python in between.

    ::

        def step(x, labels):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            return loss

        step = dlfast.cuda.graph(step)
        for x, labels in batches:                  # all of one shape, on the GPU
            loss = step(x, labels)

    The first `warmup` calls run the function; the next one captures what it makes the GPU do, and each one from there
    on does that again. Every call trains, and all give the numbers that plain calls would: learning rates, step counts
    and the seeds of dropout are those of the call. What is returned are the same Tensors each time, with new values.

    What Python does besides is not repeated: no printing, counting or `if` by a value; nothing may be read from the
    GPU (``.item()``), made on the CPU or brought over within. Arguments: Tensors and arrays on the GPU, in tuples,
    lists and dictionaries too; anything else is a constant.

    Where the CPU plays the GPU, and for arrays of the CPU, the function is called each time, with the same checks.

    Raises ValueError for arguments of other shapes, dtypes or constants than the first time, for one that requires a
    gradient and for a warmup below 1; RuntimeError for what cannot be captured.
    """
    return Graphed(function, warmup)


class Graphed:
    """A function that `graph` repeats."""

    def __init__(self, function: Callable, warmup: int = 1):
        if not callable(function):
            raise TypeError(f"graph: expected a function, got {type(function).__name__}")
        if isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 1:
            raise ValueError(f"graph: warmup must be an integer from 1 on, got {warmup!r}")
        self._function, self._warmup = function, warmup
        self._calls = 0
        self._known: dict[str, Any] | None = None  # the arguments of the first call: what each is
        self._static: tuple[tuple, dict] = (), {}
        self._graph: Any = None
        update_wrapper(self, function, updated=())

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        leaves = dict(_leaves(arguments, named))
        self._check({place: _kind(place, value) for place, value in leaves.items()})
        arrays = [_array(value) for value in leaves.values() if _array(value) is not None]
        device = next((x.device for x in arrays if isinstance(x, DeviceArray)), None)
        self._calls += 1
        if device is None or not device.records or self._calls <= self._warmup:
            return self._function(*arguments, **named)
        if self._graph is None:
            self._capture(device, arguments, named)
        for (_, static), value in zip(_leaves(*self._static), leaves.values(), strict=True):
            if (array := _array(value)) is not None:
                _copy(device, array, _array(static))
        self._graph.replay()
        return self._graph.result

    def _check(self, kinds: dict[str, Any]) -> None:
        """Raise ValueError where the arguments are of another kind than those of the first call."""
        if self._known is None:
            self._known = kinds
        if kinds == self._known:
            return
        for place in {**self._known, **kinds}:
            ours, theirs = self._known.get(place, "missing"), kinds.get(place, "missing")
            if ours != theirs:
                raise ValueError(
                    f"graph: {place} must be as in the first call, {_text(ours)}, got {_text(theirs)}; call the "
                    "function itself for what differs, or make a graph of its own"
                )

    def _capture(self, device: Any, arguments: tuple, named: dict) -> None:
        from ..kernels.cuda.capture import Graph

        static = _mapped(arguments, _own_copy), _mapped(named, _own_copy)
        self._graph = Graph(device, lambda: self._function(*static[0], **static[1]))
        self._static = static


def _leaves(arguments: tuple, named: dict) -> Iterator[tuple[str, Any]]:
    """Each value with its place, through tuples, lists and dictionaries."""
    for j, value in enumerate(arguments):
        yield from _below(f"argument {j}", value)
    for name, value in named.items():
        yield from _below(f"argument {name}", value)


def _below(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (tuple, list)):
        yield f"the length of {place}", len(value)
        for j, part in enumerate(value):
            yield from _below(f"{place}[{j}]", part)
    elif isinstance(value, dict):
        yield f"the keys of {place}", tuple(value)
        for name, part in value.items():
            yield from _below(f"{place}[{name!r}]", part)
    else:
        yield place, value


def _mapped(value: Any, function: Callable) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(part, function) for part in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_mapped(part, function) for part in value)
    if isinstance(value, dict):
        return {name: _mapped(part, function) for name, part in value.items()}
    return function(value)


def _array(value: Any) -> Any:
    """The array of a Tensor, or an array itself; None for anything else."""
    value = value.data if isinstance(value, Tensor) else value
    return value if isinstance(value, (np.ndarray, DeviceArray)) else None


def _kind(place: str, value: Any) -> Any:
    """What must stay the same of an argument. Raises ValueError for one that requires a gradient."""
    if isinstance(value, Tensor) and value.requires_grad:
        raise ValueError(
            f"graph: {place} requires a gradient, which would go to a copy of it; let the function use it from "
            "outside, as it does parameters"
        )
    array: Any = _array(value)
    return (type(value), value) if array is None else (array.shape, str(array.dtype), device_name(array))


def _text(kind: Any) -> str:
    if isinstance(kind, str):
        return kind
    return repr(kind[1]) if len(kind) == 2 else "{1} of shape {0} on {2}".format(*kind)


def _own_copy(value: Any) -> Any:
    """Room of the graph's own for an argument."""
    array = _array(value)
    if not isinstance(array, DeviceArray):
        return value
    room = array.device.empty(array.shape, array.dtype)
    return Tensor(room) if isinstance(value, Tensor) else room


def _copy(device: Any, source: Any, target: Any) -> None:
    if isinstance(source, DeviceArray) and source.pointer != target.pointer:
        device.copy(source.contiguous(), target)
