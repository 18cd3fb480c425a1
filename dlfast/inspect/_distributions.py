"""activations and weights: how the values of each layer are spread."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from .._printing import plain_text
from ..nn.module import Module
from ..train.evaluation import check_model
from ._figures import COLOURS, Pictured, bare, figure, short
from ._layers import is_leaf, watch_outputs
from ._setting import SAMPLE_ROWS, Sample, sample_of

_BINS, _COLUMNS = 50, 4
_MANY_ZEROS = 0.1  # above, the bin with 0 in it is cut off, else nothing of the others would be seen
_PASSED_ON = (nn.Flatten, nn.Identity, nn.Dropout)  # their values are those of the layer before


class Distribution(NamedTuple):
    """The values of a layer: counts (50,) of those between the edges (51,), of the finite ones; zeros is a share."""

    name: str
    layer: str
    mean: float
    std: float
    least: float
    most: float
    zeros: float
    finite: bool
    counts: np.ndarray
    edges: np.ndarray


@dataclass(frozen=True, repr=False)
class Distributions(Pictured):
    """`rows`, one for each layer or parameter; `what` says of what."""

    rows: list[Distribution]
    what: str

    def __iter__(self) -> Iterator[Distribution]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return plain_text(self)

    __repr__ = __str__

    def __rich__(self) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
        for name in ("name", "layer"):
            table.add_column(name, overflow="fold")
        for name in ("mean", "std", "least", "most", "zeros"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in self.rows:
            figures = [f"{value:.3g}" for value in (row.mean, row.std, row.least, row.most)]
            table.add_row(row.name, row.layer, *figures, f"{row.zeros:.0%}" if row.zeros else "")
        return table

    def figure(self) -> Any:
        """A histogram for each row."""
        lines = max(1, math.ceil(len(self.rows) / _COLUMNS))
        picture = figure(8.0, min(40.0, 1.55 * lines))
        for i, row in enumerate(self.rows):
            axes = bare(picture.add_subplot(lines, _COLUMNS, i + 1))
            axes.stairs(row.counts, row.edges, fill=True, color=COLOURS[0])
            title = short(f"{row.name} {row.layer}".strip())
            if row.zeros > _MANY_ZEROS:
                title += f", {row.zeros:.0%} zero"
                others = np.delete(row.counts, np.searchsorted(row.edges[1:-1], 0, side="right"))
                axes.set_ylim(0, 1.15 * max(1, others.max()))
            axes.set_title(title, fontsize=8, loc="left")
            axes.set_yticks([])
            axes.tick_params(labelsize=7)
            axes.locator_params(axis="x", nbins=4)
        return picture


def activations(model: Module, data: Any, *, rows: int = SAMPLE_ROWS) -> Distributions:
    """How the outputs of each layer are spread for a fixed choice of `rows` rows, in evaluation mode. Print or plot it.

    data as in `fit`. Healthy ones neither shrink nor grow from layer to layer: Glorot and Bengio 2010, section 4.
    """
    return activations_of(model, sample_of("activations", data, rows))


def activations_of(model: Module, sample: Sample) -> Distributions:
    """`activations` for rows at hand."""
    found = []

    def look(name: str, module: Module, output: np.ndarray, last: bool) -> None:
        if is_leaf(module) and not isinstance(module, _PASSED_ON) and output.dtype.kind == "f":
            found.append(_distribution(name, type(module).__name__, output))

    watch_outputs("activations", model, sample, look)
    return Distributions(found, "activations")


def weights(model: Module) -> Distributions:
    """How the values of each parameter are spread. Print it, or `.plot(path)`."""
    check_model("weights", model)
    found = [_distribution(name, "", p.cpu().data) for name, p in model.named_parameters() if p.size]
    return Distributions(found, "weights")


def _distribution(name: str, layer: str, array: np.ndarray) -> Distribution:
    values = array[np.isfinite(array)].astype(np.float64)
    whole = values.size == array.size
    if not values.size:
        values = np.zeros(1)
    low, high = float(values.min()), float(values.max())
    room = 0.0 if high > low else max(abs(low), 1.0) * 1e-3
    counts, edges = np.histogram(values, _BINS, (low - room, high + room))
    zeros = float((values == 0).mean())
    mean, std = float(values.mean()), float(values.std())
    return Distribution(name, layer, mean, std, low, high, zeros, whole, counts, edges)
