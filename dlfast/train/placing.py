"""Where a model computes, and its batches on their way there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._devices import CPU, find, on_cpu, on_device
from ..data import DataLoader
from ..data.moving import moved
from ..nn import Module
from ..optim import Optimizer
from ..tensor import unwrap
from .sources import Loader


class Place:
    """A device: that of a model, to which what it reads is copied. On the CPU everything stays as it is."""

    def __init__(self, model: Module):
        first: Any = next((p.data for p in model.parameters()), None)
        first = next(model.buffers(), None) if first is None else first
        self.device = first.device if on_device(first) else CPU

    @property
    def on_cpu(self) -> bool:
        return self.device is CPU

    def take(self, loss: Any) -> None:
        """Move the weights of classes that a loss has to the device."""
        if isinstance(loss, Module):
            loss.to(self.device)

    def put(self, batch: tuple) -> tuple:
        """The arrays of a batch as Tensors on the device; those that lie there already as they are."""
        return batch if self.on_cpu else moved(batch, self.device)

    def batches(self, loader: Loader, batches: Iterator[tuple]) -> Iterator[tuple]:
        """Batches of a loader on the device, copied ahead where that changes nothing."""
        if self.on_cpu or (isinstance(loader, DataLoader) and loader.device is not None):
            return batches
        if isinstance(loader, DataLoader):
            return loader.moved(batches, self.device)
        return map(self.put, batches)


def move_run(model: Module, optimizer: Optimizer, device: Any) -> None:
    """Move a model, and what its optimizer holds, to a device. Raises as `Module.to`, before anything is changed."""
    place = find(device)
    model.to(place)
    optimizer.to(place)


def as_array(outputs: Any) -> np.ndarray:
    """Outputs of a model as an array on the CPU."""
    array = unwrap(outputs)
    return on_cpu(array) if on_device(array) else array
