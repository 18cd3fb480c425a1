"""Where NaN and infinity came from: the batch is run once more, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np

from .. import random
from .._changes import note
from .._devices import device_of, values_of
from ..kernels.devices import DeviceArray
from ..nn import Module
from ..tensor import Tensor, no_grad, unwrap
from .history import History


class NonFiniteLoss(FloatingPointError):
    """The loss or a gradient became NaN or infinite. ``history`` holds the epochs before, ``layer`` the name of the
    layer or parameter where it began, None where it was not in the model.
    """

    def __init__(self, message: str, history: History, layer: str | None = None):
        super().__init__(message)
        self.history, self.layer = history, layer


class Before:
    """The random state and the buffers of a model before a batch, so that it can be undone and run again."""

    def __init__(self, model: Module):
        self._places = [(module, name) for module in model.modules() for name in module._buffer_names]
        self._kept: list[Any] = [None] * len(self._places)  # copies, written over by the next ones

    def take(self) -> None:
        """Remember them as they are now."""
        self._random = random.generator().bit_generator.state
        kept = self._kept
        for i, (module, name) in enumerate(self._places):
            buffer, copy = getattr(module, name), kept[i]
            if copy is not None and type(copy) is type(buffer) and _alike(copy, buffer):
                copy[...] = buffer
            else:
                kept[i] = None if buffer is None else buffer.copy()

    def restore(self) -> None:
        """Put them back as they were when they were taken."""
        random.set_state(dict(self._random))
        for (module, name), values in zip(self._places, self._kept):
            array = getattr(module, name)
            if array is not None and values is not None:
                array[...] = values
                note(array)


def _alike(copy: Any, buffer: Any) -> bool:
    return copy.shape == buffer.shape and copy.dtype == buffer.dtype and device_of(copy) == device_of(buffer)


_LARGE = 1e4  # numbers of a training that diverges, rather than of one that goes well
_SMALLER = "Try a smaller learning rate, clip the gradients (clip_grad_norm=1.0), or scale the data"


class _Call(NamedTuple):
    """A call of a layer: whether what it was given is finite, what it gave if that is not, the largest numbers."""

    name: str
    module: Module
    given_finite: bool
    found: str | None
    largest: float  # of inputs and weights
    largest_output: float


def of_loss(run, what: str, inputs: list, targets: Any) -> NonFiniteLoss:
    """The error for a loss that is not finite, with the first layer, or what else made it so. The model is left as it
    was before the batch.
    """
    run.optimizer.zero_grad()  # on a device there are gradients of this loss by now
    if run.ranks.sync_batch_norm:  # the other ranks do not run it again
        return NonFiniteLoss(f"fit: {what}; one rank alone, or without sync_batch_norm, finds where", run.history)
    with _again(run) as calls:
        run.loss(run.model(*inputs), targets)
    cause, advice, layer = _weights(run.model) or _layer(calls) or _data(inputs, targets) or _loss(calls)
    return NonFiniteLoss(f"fit: {what}: {cause}; the weights are those before this batch. {advice}", run.history, layer)


def of_gradient(run, what: str, inputs: list) -> NonFiniteLoss:
    """The error for a gradient that is not finite: the parameter that the backward pass came to first."""
    faulty = {id(p): name for name, p in run.model.named_parameters() if p.grad is not None and _found(p.grad)}
    with _again(run) as calls:
        run.model(*inputs)
    run.optimizer.zero_grad()
    backward = [faulty[id(p)] for call in reversed(calls) for p in vars(call.module).values() if id(p) in faulty]
    first = (backward or list(faulty.values()) or [None])[0]
    cause = (
        f"in the backward pass the gradient of {first} was the first to be so" if first else "those of the model are"
    )
    return NonFiniteLoss(
        f"fit: {what}: {cause}; the weights are those before this update. The loss was finite: look behind that layer, "
        "and in the loss and its penalties, for roots, logarithms and divisions near 0, whose slopes are infinite; or "
        "try a smaller learning rate",
        run.history,
        first,
    )


def _weights(model: Module) -> tuple[str, str, str] | None:
    for name, p in model.named_parameters():
        if found := _found(p.data):
            cause = f"the parameter {name} held {found} already"
            return cause, "Go on from a checkpoint, or start anew, with a smaller learning rate", name
    return None


def _layer(calls: list[_Call]) -> tuple[str, str, str] | None:
    for call in calls:
        if call.given_finite and call.found:
            layer = f"{call.name or 'the model itself'} ({type(call.module).__name__})"
            cause = f"the first layer that gave {call.found} was {layer}, from inputs and weights of up to "
            advice = "Look there for the logarithm or root of what may be 0 or below, and for divisions by 0"
            return f"{cause}{call.largest:.3g}", _SMALLER if call.largest > _LARGE else advice, call.name
    return None


def _data(inputs: list, targets: Any) -> tuple[str, str, None] | None:
    for what, array in [*(("inputs", x) for x in inputs), ("targets", targets)]:
        if found := _found(array):
            row = int(np.argmax(~np.isfinite(values_of(unwrap(array))).reshape(len(array), -1).all(axis=1)))
            cause = f"the data are at fault, row {row} of the batch's {what} holds {found}"
            return cause, f"Clean the {what}, or look at what `augment` does to them", None
    return None


def _loss(calls: list[_Call]) -> tuple[str, str, None]:
    if not calls:
        return "the batch could not be run again to find where it began", "Look for NaN in the data", None
    largest = calls[-1].largest_output
    cause = f"the outputs of the model are finite, up to {largest:.3g}, so the loss function made it"
    advice = "Look there for the logarithm of 0 and divisions by 0; F.cross_entropy and "
    advice += "F.binary_cross_entropy_with_logits take logits and have none"
    return cause, _SMALLER if largest > _LARGE else advice, None


@contextmanager
def _again(run) -> Iterator[list[_Call]]:
    """Run a batch as it was run before, in the body of the `with`, and note each call of a layer as it ends."""
    calls: list[_Call] = []
    run.before.restore()
    with ExitStack() as handles:
        for name, module in run.model.named_modules():
            handles.enter_context(module.register_forward_hook(_noting(name, calls), with_kwargs=True))
        try:
            with no_grad(), np.errstate(all="ignore"), run.mixed.casting():
                yield calls
        except Exception:  # what is wrong with the batch is to be told, not this
            calls.clear()
    run.before.restore()


def _noting(name: str, calls: list[_Call]) -> Callable:
    def hook(module: Module, args: tuple, kwargs: dict, output: Any) -> None:
        given, outputs = _arrays((args, kwargs)), _arrays(output)
        found = next(filter(None, map(_found, outputs)), None)
        largest = _largest([*given, *(values_of(p.data) for p in module.parameters())])
        calls.append(_Call(name, module, not any(map(_found, given)), found, largest, _largest(outputs)))

    return hook


def _arrays(value: Any) -> list[np.ndarray]:
    """The arrays of numbers in nested tuples, lists and dictionaries."""
    if isinstance(value, (Tensor, np.ndarray, DeviceArray)):
        return [values_of(unwrap(value))]
    if isinstance(value, dict):
        value = list(value.values())
    return [array for part in value for array in _arrays(part)] if isinstance(value, (tuple, list)) else []


def _found(value: Any) -> str | None:
    """Which number that is not finite an array holds, if it does."""
    array = values_of(unwrap(value))
    if array.dtype.kind not in "fc" or np.isfinite(array).all():
        return None
    return "NaN" if np.isnan(array).any() else "infinity"


def _largest(arrays: list[np.ndarray]) -> float:
    """The largest size of a number that is finite."""
    sizes = [np.abs(a[np.isfinite(a)]).max(initial=0) for a in arrays if a.dtype.kind in "fiu"]
    return float(max(sizes, default=0.0))
