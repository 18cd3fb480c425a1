"""Batches on their way to a device: out of pinned memory, on a stream of their own, ahead of who uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._devices import on_device, remember
from .._tape import wrap
from ..tensor import Tensor
from .ahead import made_ahead

_AHEAD = 2  # batches that are there, or on their way, while the caller has one
_END = object()


def each_array(function: Callable[[Any], Any], batch: Any) -> Any:
    """The batch with what the function makes of each array of numbers in it, in tuples and dictionaries too."""
    if isinstance(batch, (tuple, list)):
        return tuple(each_array(function, part) for part in batch)
    if isinstance(batch, dict):
        return {key: each_array(function, part) for key, part in batch.items()}
    is_array = isinstance(batch, (np.ndarray, np.generic, Tensor)) or on_device(batch)
    return function(batch) if is_array and batch.dtype.kind in "fiub" else batch


def pinned(batch: Any, device: Any) -> Any:
    """Copies in memory that the device reads by itself; arrays that lie there already as they are."""
    from ..kernels.cuda.pinned import pinned_owner

    def copied(array: Any) -> Any:
        if type(array) is not np.ndarray or pinned_owner(array) is not None:
            return array
        copy = device.pinned_empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    return each_array(copied, batch)


def moved(batch: Any, device: Any, non_blocking: bool = False) -> Any:
    """The batch as Tensors on a device; what lies on one is left alone. Its values on the CPU are remembered.

    non_blocking: arrays in pinned memory are not waited for; leave them as they are.
    """

    def upload(array: Any) -> Tensor:
        if isinstance(array, Tensor):
            if on_device(array.data) or array.requires_grad:
                return array.to(device)
            array = array.data
        elif on_device(array):
            return wrap(array, None)
        host = np.asarray(array, order="C")
        there = device.upload(host, non_blocking)
        remember(there, host)
        return wrap(there, None)

    return each_array(upload, batch)


def moved_ahead(batches: Iterator[Any], device: Any) -> Iterator[Any]:
    """The batches on a device, in their order; a thread fetches and copies some ahead of the caller.

    An error of a batch reaches the caller at that batch.
    """
    stream = device.new_stream()

    def start(_: int) -> Any:
        batch = next(batches, _END)
        if batch is _END:
            return None
        before = device.set_stream(stream)
        try:
            return moved(pinned(batch, device), device, non_blocking=True), stream.record()
        finally:
            device.set_stream(before)

    for arrived in made_ahead(start, iter(int, 1), 1, _AHEAD):
        if arrived is None:
            return
        batch, event = arrived
        device.current_stream.wait(event)
        yield batch
