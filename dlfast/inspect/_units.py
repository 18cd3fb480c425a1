"""dead_units: units that never fire, and units that are stuck at the ends of their range."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from .._printing import plain_text
from ..nn.linear import Affine
from ..nn.module import Module
from ..nn.norm import BatchNorm1d, BatchNorm2d
from ._figures import COLOURS, Pictured, bare, figure, height_of, layer_rows
from ._layers import watch_outputs
from ._setting import SAMPLE_ROWS, Sample, sample_of

# A sigmoid or tanh is stuck where its derivative is below this share of its largest: sigmoid beyond (0.01, 0.99), tanh
# beyond 0.98. A unit is so where that holds in this share of what it was shown.
_SLOPE, _OFTEN = 0.04, 0.95

_KINDS: dict[type, str] = {nn.ReLU: "relu", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh"}
_STUCK: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda y: ~(y > 0),
    "sigmoid": lambda y: 4 * y * (1 - y) < _SLOPE,
    "tanh": lambda y: 1 - y * y < _SLOPE,
}


class UnitRow(NamedTuple):
    """An activation: how many units it has, how many of them are dead or saturated, and how often its units are active.

    dead: ReLU units that are 0 whatever they are shown. saturated: units of sigmoid and tanh at the ends of their
    range, where hardly a gradient passes. active: the share of all values that are neither. output: whether it gives
    the model's output, where being sure is no fault.
    """

    name: str
    activation: str
    units: int
    dead: int
    saturated: int
    active: float
    output: bool


@dataclass(frozen=True, repr=False)
class DeadUnits(Pictured):
    """`rows` of all activations in the order in which they run, and how many `shown` rows of data they have seen."""

    rows: list[UnitRow]
    shown: int

    def __iter__(self) -> Iterator[UnitRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dead(self) -> int:
        return sum(row.dead for row in self.rows)

    @property
    def saturated(self) -> int:
        return sum(row.saturated for row in self.rows)

    def __str__(self) -> str:
        return plain_text(self)

    __repr__ = __str__

    def __rich__(self) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
        for name in ("name", "activation"):
            table.add_column(name, overflow="fold")
        for name in ("units", "dead", "saturated", "active"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in self.rows:
            stuck = [str(count) if count else "" for count in (row.dead, row.saturated)]
            table.add_row(row.name, row.activation, str(row.units), *stuck, f"{row.active:.0%}")
        return table

    def figure(self) -> Any:
        """For each activation the share of its units that are dead or saturated."""
        picture = figure(7.0, height_of(len(self.rows)))
        axes = bare(picture.add_subplot())
        places = range(len(self.rows))
        stuck = [(row.dead + row.saturated) / row.units for row in self.rows]
        axes.barh(places, [1 - share for share in stuck], height=0.62, color=COLOURS[2], label="working")
        axes.barh(places, stuck, left=[1 - share for share in stuck], height=0.62, color=COLOURS[1], label="stuck")
        axes.set(xlim=(0, 1), xlabel="share of units")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8, frameon=False)
        layer_rows(axes, [f"{row.name} {row.activation}".strip() for row in self.rows])
        return picture


def dead_units(model: Module, data: Any, *, rows: int = SAMPLE_ROWS) -> DeadUnits:
    """Units of ReLU that never fire, and of sigmoid and tanh that are always saturated, by layer. Print it or plot it.

    A unit is a feature, channels last: of a convolution one channel at all pixels. It is judged by a fixed choice of
    `rows` rows of data, in evaluation mode. Activations are layers, or those that Linear, convolutions, normalisations
    and Residual compute themselves. The model stays as it is.
    """
    return units_of(model, sample_of("dead_units", data, rows))


def units_of(model: Module, sample: Sample) -> DeadUnits:
    """`dead_units` of rows at hand."""
    counts: dict[str, list[Any]] = {}

    def look(name: str, module: Module, output: np.ndarray, last: bool) -> None:
        kind = _activation_of(module)
        if kind is None:
            return
        values = output.reshape(-1, output.shape[-1] if output.ndim > 1 else 1)
        stuck = _STUCK[kind](values).sum(axis=0)
        entry = counts.setdefault(name, [kind, 0, 0, False])
        entry[1], entry[2], entry[3] = entry[1] + len(values), entry[2] + stuck, entry[3] or last

    watch_outputs("dead_units", model, sample, look)
    return DeadUnits([_row(name, *entry) for name, entry in counts.items()], len(sample))


def _row(name: str, kind: str, shown: int, stuck: np.ndarray, output: bool) -> UnitRow:
    relu = kind == "relu"
    dead = int((stuck == shown).sum()) if relu else 0
    saturated = 0 if relu else int((stuck >= _OFTEN * shown).sum())
    return UnitRow(name, kind, len(stuck), dead, saturated, float(1 - stuck.sum() / (shown * len(stuck))), output)


def _activation_of(module: Module) -> str | None:
    if type(module) in _KINDS:
        return _KINDS[type(module)]
    if isinstance(module, (Affine, BatchNorm1d, BatchNorm2d, nn.Residual)):
        return module.activation
    return None
