"""How the parameters of a model lie in PyTorch, whose images are channels first.

A convolution's weight is (O, I, R, S) there and (O, R, S, I) here; that of a transposed one (I, O, R, S) and
(I, R, S, O). A Linear behind a flattened image reads its C H W numbers in that order there, in the order H W C here:
what counts is C, the number of channels; so does one whose output becomes an image. All else lies as it does here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..nn import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    ConvTranspose1d,
    ConvTranspose2d,
    Dropout1d,
    Dropout2d,
    Flatten,
    GroupNorm,
    LayerNorm,
    Linear,
    MaxPool1d,
    MaxPool2d,
    Module,
    RMSNorm,
    Upsample,
)

Kinds = tuple[type[Module], ...]

CONVOLUTIONS = (Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d)
_ADAPTIVE: Kinds = (AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d)
POOLS: Kinds = (AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d, *_ADAPTIVE, Dropout1d, Dropout2d, Upsample)
OF_IMAGES: Kinds = (*CONVOLUTIONS, *POOLS, BatchNorm2d, GroupNorm)
OF_ROWS: Kinds = (Linear, BatchNorm1d, LayerNorm, RMSNorm)


@dataclass(frozen=True)
class Layout:
    """axes: the order in which ours takes PyTorch's; rows, columns: the channels of the flattened image that lies along
    the first or last axis, None where there is none."""

    axes: tuple[int, ...] | None = None
    rows: int | None = None
    columns: int | None = None

    def ours(self, array: np.ndarray) -> np.ndarray:
        """From PyTorch's layout."""
        array = array if self.axes is None else array.transpose(self.axes)
        array = array if self.rows is None else _turned(array, 0, self.rows, True)
        return array if self.columns is None else _turned(array, array.ndim - 1, self.columns, True)

    def torch(self, array: np.ndarray) -> np.ndarray:
        """To PyTorch's layout."""
        array = array if self.axes is None else array.transpose(np.argsort(self.axes))
        array = array if self.rows is None else _turned(array, 0, self.rows, False)
        return array if self.columns is None else _turned(array, array.ndim - 1, self.columns, False)


def _turned(array: np.ndarray, axis: int, channels: int, from_first: bool) -> np.ndarray:
    """Along an axis: C groups of pixels as pixels of C channels, or back."""
    shape = array.shape
    pixels = shape[axis] // channels
    parts = (channels, pixels) if from_first else (pixels, channels)
    return array.reshape(*shape[:axis], *parts, *shape[axis + 1 :]).swapaxes(axis, axis + 1).reshape(shape)


class Undecided(Exception):
    """The structure of a model does not tell how a Linear is to be read."""


class Findings:
    """What was found out about modules: the channels of the images that they read or make as rows."""

    def __init__(self) -> None:
        self.reads: dict[int, int] = {}
        self.makes: dict[int, int] = {}
        self.of_images: set[int] = set()  # LayerNorms over whole images

    def layout(self, module: Module, name: str) -> Layout:
        """How the parameter or buffer `name` of the module lies."""
        if isinstance(module, CONVOLUTIONS) and name == "weight":
            return Layout((0, 2, 1) if isinstance(module, (Conv1d, ConvTranspose1d)) else (0, 2, 3, 1))
        reads, makes = self.reads.get(id(module)), self.makes.get(id(module))
        if isinstance(module, Linear):
            return Layout(None, makes, reads if name == "weight" else None)
        if isinstance(module, (BatchNorm1d, LayerNorm, RMSNorm)) and name != "num_batches_tracked":
            if id(module) in self.of_images:
                axes = len(module.normalized_shape)  # type: ignore[union-attr]
                return Layout((*range(1, axes), 0))
            return Layout(None, makes or reads)
        return Layout()


def has_images(model: Module) -> bool:
    """Whether it computes on images or sequences whose channels lie elsewhere in PyTorch, or flattens anything."""
    return any(isinstance(module, (*OF_IMAGES, Flatten)) for module in model.modules())


def has_rows(model: Module) -> bool:
    return any(isinstance(module, OF_ROWS) for module in model.modules())


def owners(model: Module, keys: Any) -> Iterator[tuple[str, Module, str]]:
    """(key, the module that it belongs to, its name there)."""
    for key in keys:
        *path, name = key.split(".")
        module: Any = model
        for part in path:
            module = getattr(module, part)
        yield key, module, name
