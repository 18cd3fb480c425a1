"""filters: what the units of the first layer look for, as small images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn
from ..nn.module import Module
from ..train.evaluation import check_model
from ._figures import Pictured, figure

_MOST = 144


@dataclass(frozen=True, repr=False)
class Filters(Pictured):
    """weights (K, R, S, C) of the layer `name`, one small image for each of its K units."""

    name: str
    layer: str
    weights: np.ndarray

    def grid(self, gap: int = 1) -> np.ndarray:
        """All filters side by side: (rows, columns, 3) for three channels, else (rows, columns), the mean of them.

        float64 in 0..1; each filter is scaled by its own largest weight, and 0.5 is a weight of 0. At most 144 filters.
        `gap` pixels between them are NaN, which pictures leave empty.
        """
        shown = self.weights[:_MOST].astype(np.float64)
        if shown.shape[3] != 3:
            shown = shown.mean(axis=3, keepdims=True)
        largest = np.abs(shown).max(axis=(1, 2, 3), keepdims=True)
        shown = 0.5 + 0.5 * shown / np.where(largest > 0, largest, 1)
        count, height, width, channels = shown.shape
        columns = math.ceil(math.sqrt(count * height / width))
        lines = math.ceil(count / columns)
        image = np.full((lines * (height + gap) - gap, columns * (width + gap) - gap, channels), np.nan)
        for i, one in enumerate(shown):
            top, left = i // columns * (height + gap), i % columns * (width + gap)
            image[top : top + height, left : left + width] = one
        return image if channels == 3 else image[..., 0]

    def __str__(self) -> str:
        count, height, width, channels = self.weights.shape
        of = f"{channels} channel" + ("s" if channels > 1 else "")
        return f"{count} filters of {height} x {width} pixels, {of}, in layer {self.name!r} ({self.layer})"

    __repr__ = __str__

    def figure(self) -> Any:
        image = self.grid()
        height, width = image.shape[:2]
        picture = figure(4.5, min(12.0, max(1.0, 4.5 * height / width)))
        axes = picture.add_subplot()
        axes.set_axis_off()
        if image.ndim == 3:
            image = np.dstack([np.nan_to_num(image), np.isfinite(image[..., 0]).astype(np.float64)])
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        return picture


def filters(model: Module, layer: str | None = None, image_shape: Sequence[int] | None = None) -> Filters:
    """The filters of a convolution, the first one if `layer` does not name another. Print it, or `.plot(path)`.

    image_shape (H, W, C): show the weights of a Linear layer on flattened images, the first one, instead.
    Raises ValueError where there is no such layer, or where the shape does not fit.
    """
    check_model("filters", model)
    kind: type[Any] = nn.Conv2d if image_shape is None else nn.Linear
    modules = {name: module for name, module in model.named_modules() if isinstance(module, kind)}
    if layer is None:
        layer = next(iter(modules), None)
    if layer is None or layer not in modules:
        which = f"no {kind.__name__}" if layer is None else f"no {kind.__name__} named {layer!r}"
        advice = "; for a Linear on flattened images give image_shape=(H, W, C)" if kind is nn.Conv2d else ""
        raise ValueError(f"filters: the model has {which}{advice}")
    weight = modules[layer].weight.cpu().data
    if image_shape is not None:
        if len(image_shape) != 3 or math.prod(image_shape) != weight.shape[1]:
            raise ValueError(f"filters: image_shape must be (H, W, C) of {weight.shape[1]} features, got {image_shape}")
        weight = weight.reshape(len(weight), *image_shape)
    return Filters(layer, kind.__name__, weight.copy())
