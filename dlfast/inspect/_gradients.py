"""gradient_flow: how large the gradients and the updates are, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._printing import plain_text
from ..nn.module import Module
from ..optim import Optimizer
from ..tensor import Parameter
from ._figures import COLOURS, FAINT, Pictured, bare, figure, height_of, layer_rows
from ._setting import Sample, copy_of, loss_at, loss_of, optimizer_for, sample_of


class GradientRow(NamedTuple):
    """A layer that learns: Euclidean norms of its weights and of their gradient, and what one is to the other.

    relative = gradient / weight: times the learning rate it is the share of itself by which plain gradient descent
    changes the layer in a step. update is that share for the optimizer that was given, else None. Biases and the scales
    of norms count only in layers that have nothing else.
    """

    name: str
    layer: str
    weight: float
    gradient: float
    relative: float
    update: float | None


@dataclass(frozen=True, repr=False)
class GradientFlow(Pictured):
    """`rows` of all layers that learn, first to last, and the loss that the gradients are of."""

    rows: list[GradientRow]
    loss: float

    def __iter__(self) -> Iterator[GradientRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def finite(self) -> bool:
        """Whether the loss and every gradient are finite."""
        return bool(np.isfinite([self.loss, *(row.gradient for row in self.rows)]).all())

    def __str__(self) -> str:
        return plain_text(self)

    __repr__ = __str__

    def __rich__(self) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
        for name in ("name", "layer"):
            table.add_column(name, overflow="fold")
        for name in ("|w|", "|gradient|", "gradient/w", "update/w"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in self.rows:
            figures = (row.weight, row.gradient, row.relative)
            update = "" if row.update is None else f"{row.update:.2e}"
            table.add_row(row.name, row.layer, *(f"{value:.3g}" for value in figures), update)
        return table

    def figure(self) -> Any:
        """The norm of the gradient by layer, and gradients, or updates if an optimizer was given, over weights."""
        picture = figure(8.0, height_of(len(self.rows)))
        left, right = picture.subplots(1, 2, sharey=True)
        updates = [row.update for row in self.rows if row.update is not None]
        if len(updates) < len(self.rows):
            updates = []
        _draw_decades(left, [row.gradient for row in self.rows], COLOURS[0])
        _draw_decades(right, updates or [row.relative for row in self.rows], COLOURS[1])
        left.set_xlabel("norm of the gradient")
        right.set_xlabel("update / weight" if updates else "gradient / weight")
        if updates:
            right.axvline(1e-3, color=FAINT, linestyle="--", linewidth=1)
        layer_rows(left, [f"{row.name} {row.layer}".strip() for row in self.rows])
        return picture


def _draw_decades(axes: Any, values: list[float], colour: str) -> None:
    """A point for each layer on a logarithmic axis of whole decades; what is 0, NaN or infinite has none."""
    shown = np.array([value if np.isfinite(value) and value > 0 else np.nan for value in values])
    bare(axes).plot(shown, range(len(values)), "o-", color=colour, markersize=5, linewidth=1)
    axes.set_xscale("log")
    axes.tick_params(axis="x", which="minor", labelbottom=False)
    if np.isfinite(shown).any():
        low, high = np.floor(np.log10(np.nanmin(shown))), np.ceil(np.log10(np.nanmax(shown)))
        axes.set_xlim(10.0 ** (low - (low == high)), 10.0 ** (high + (low == high)))


def gradient_flow(
    model: Module, data: Any, loss: Callable | None = None, *, optimizer: Optimizer | None = None, rows: int = 256
) -> GradientFlow:
    """The norm of the gradient, and of the update over the weight, of each layer. Print it, or `.plot(path)`.

    data as in `fit`, of which a fixed choice of `rows` rows makes one batch; loss(outputs, targets), None for
    `cross_entropy` where the targets are integers, else `mse_loss`. optimizer: measures what a step of this one, with
    its state, would change; about a thousandth of the weights is usual.
    A copy of the model runs in training mode: the model, its gradients and the random numbers stay as they are.
    Source: Glorot and Bengio 2010, section 4, for the norms by layer; the notes of CS231n, "Neural networks 3", for the
    ratio.
    """
    sample = sample_of("gradient_flow", data, rows)
    return flow_of(model, sample, loss_of("gradient_flow", loss, sample), optimizer)


def flow_of(model: Module, sample: Sample, loss: Callable, optimizer: Optimizer | None) -> GradientFlow:
    """`gradient_flow` of rows at hand."""
    with copy_of("gradient_flow", model, training=True) as copied, np.errstate(all="ignore"):
        value = loss_at("gradient_flow", copied, sample, loss)
        if value.requires_grad:  # else everything is frozen
            value.backward()
        layers = list(_learning_layers(copied))
        found = [_row(name, module, parameters) for name, module, parameters in layers]
        if optimizer is not None and any(p.grad is not None for p in copied.parameters()):
            before = [[p.data.copy() for p in parameters] for _, _, parameters in layers]
            optimizer_for(copied, model, optimizer).step()
            for i, (_, _, parameters) in enumerate(layers):
                change = norm_of(p.data - old for p, old in zip(parameters, before[i]))
                found[i] = found[i]._replace(update=_over(change, norm_of(before[i])))
        return GradientFlow(found, float(value.item()))


def _learning_layers(model: Module) -> Iterator[tuple[str, Module, list[Parameter]]]:
    """Every module that holds parameters which learn, with its matrices, or what it has where there are none."""
    seen: set[int] = set()
    for name, module in model.named_modules():
        own = [p for p in vars(module).values() if isinstance(p, Parameter) and p.requires_grad and id(p) not in seen]
        seen |= {id(p) for p in own}
        own = [p for p in own if p.ndim > 1] or own
        if own:
            yield name, module, own


def _row(name: str, module: Module, parameters: list[Parameter]) -> GradientRow:
    weight = norm_of(p.data for p in parameters)
    gradient = norm_of(p.grad for p in parameters if p.grad is not None)
    return GradientRow(name, type(module).__name__, weight, gradient, _over(gradient, weight), None)


def norm_of(arrays: Any) -> float:
    """sqrt(sum a^2) over all arrays, in float64."""
    return float(np.sqrt(sum(float(np.sum(np.square(a, dtype=np.float64))) for a in arrays)))


def _over(part: float, whole: float) -> float:
    return part / whole if whole else float("inf") if part else 0.0
