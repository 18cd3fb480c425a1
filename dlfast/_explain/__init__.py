"""explain: which algorithm and backend run each layer of a model, why, and how fast."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import kernels, random
from .._example_inputs import example_inputs
from ..kernels.conv_methods import Choice
from ..kernels.cuda.tf32 import tf32_is_allowed
from ..kernels.threads import get_num_threads
from ..nn.linear import Affine
from ..nn.module import Module
from ..nn.norm import BatchNorm1d, BatchNorm2d
from ..tensor import ArrayLike, Tensor
from .layers import Layer, differentiable, gradients_of_inputs, layers_called, least_seconds, leaves
from .ops import PASSES, choices, flops
from .table import Explanation, Row

_POOLS = {"conv2d_max_pool2d": "MaxPool2d", "conv2d_avg_pool2d": "AvgPool2d"}
_ACTIVATIONS = {"relu": "ReLU", "sigmoid": "Sigmoid", "tanh": "Tanh"}


def explain(model: Module, input_shape: Sequence[int] | ArrayLike | Sequence[Any]) -> Explanation:
    """Say what runs each layer of a model for an input of this shape, why, and how fast. Print the result.

    input_shape: the whole shape, batch included, which is filled with random numbers of the model's dtype, or with
    integers where an embedding reads it; or an array; or a tuple of such for a model of several inputs. A copy of the
    model runs, where the model lies, once as it is (in training or evaluation mode) to learn each layer's input; then
    every layer, fused with its activation where `Sequential` does so, is timed alone, forward and backward. A module
    that multiplies by itself and calls layers too, as attention does, has a row for its own part. The model, its
    gradients and the library's random numbers stay as they are.
    The result has `rows`, named tuples of the figures, and prints as a table. Times are the least of several runs.
    Raises TypeError for what is no Module, ValueError where the input does not fit, naming the layer.
    """
    if not isinstance(model, Module):
        raise TypeError(f"explain: model must be a Module, got {type(model).__name__}")
    from .._machine import fma_roof

    dtype = next((p.dtype for p in model.parameters() if p.dtype.kind == "f"), np.dtype(np.float32))
    where = next((str(p.device) for p in model.parameters()), "cpu")
    state = random.get_state()
    try:
        inputs = [_beside(x, where) for x in example_inputs("explain", model, input_shape)]
        rows, whole = _measure(copy.deepcopy(model), inputs)
    finally:
        random.set_state(state)
    if where != "cpu":
        return Explanation(rows, whole, None, 0, dtype.name, ("cuda",), where, tf32_is_allowed())
    reached = max((row.gflops for row in rows if row.gflops and "winograd" not in " ".join(row[5:8])), default=0.0)
    peak = fma_roof(get_num_threads(), dtype, reached)
    rows, whole = [_under(row, peak) for row in rows], _under(whole, peak)
    return Explanation(rows, whole, peak, get_num_threads(), dtype.name, kernels.get_backend())


def _beside(x: Any, where: str) -> Any:
    """An argument on the model's device."""
    if where == "cpu" or not isinstance(x, (Tensor, np.ndarray)):
        return x
    return (x if isinstance(x, Tensor) else Tensor(x)).to(where)


def _under(row: Row, peak: float) -> Row:
    """The row with its share of the peak."""
    return row if row.gflops is None else row._replace(of_peak=row.gflops / peak)


def _measure(model: Module, inputs: list[Any]) -> tuple[list[Row], Row]:
    """A row for each layer, and one for the model in one piece."""
    names = {id(module): name for name, module in model.named_modules()}
    with kernels.watch() as ops, layers_called(names, ops) as layers:
        output = model(*inputs)
    rows = _less_those_within([_layer_row(layer, names.get(id(layer.module), "")) for layer in layers], layers)
    whole = Layer(model, tuple(inputs), {}, output, [])
    cells = {"backend": "", "forward": "", "dx": "", "dweight": "", "why": ()}
    return rows, _row(whole, "", "whole model", cells, sum(row.flops for row in rows))


def _less_those_within(rows: list[Row], layers: list[Layer]) -> list[Row]:
    """The rows, with the times of the layers that a layer calls taken off its own: each was timed alone."""
    found: list[Row] = []
    for row, layer in zip(reversed(rows), reversed(layers)):  # those within a layer come after it
        if layer.has_inner:
            prefix = f"{row.name}." if row.name else ""
            within = [other for other in found if other.name.startswith(prefix) and other.name != row.name]
            forward = max(0.0, row.forward_seconds - sum(other.forward_seconds for other in within))
            backward = row.backward_seconds
            if backward is not None:
                backward = max(0.0, backward - sum(other.backward_seconds or 0.0 for other in within))
            row = row._replace(forward_seconds=forward, backward_seconds=backward)
            row = row._replace(gflops=_rate(row.flops, forward, backward))
        found.append(row)
    return found[::-1]


def _layer_row(layer: Layer, name: str) -> Row:
    needed = _needed(layer)
    methods: dict[str, list[str]] = {which: [] for which in PASSES}
    why: dict[Choice, None] = {}
    for op in layer.ops:
        for which, choice in choices(op).items():
            if needed[which]:
                methods[which].append(choice.method)
                why[choice] = None
    cells: dict[str, Any] = {
        which: ", ".join(dict.fromkeys(found)) if needed[which] else "-" if methods["forward"] else ""
        for which, found in methods.items()
    }
    cells |= {"backend": ", ".join(dict.fromkeys(op.backend for op in layer.ops)) or "numpy", "why": tuple(why)}
    work = sum(count for op in layer.ops for which, count in zip(PASSES, flops(op)) if needed[which])
    return _row(layer, name, _label(layer), cells, layer.calls * work)


def _needed(layer: Layer) -> dict[str, bool]:
    """Whether training runs each pass: data and frozen parameters need no gradient."""
    backward = differentiable(layer.output) is not None
    learns = any(p.requires_grad for p in layer.module.parameters())
    return {"forward": True, "dx": backward and gradients_of_inputs(layer) > 0, "dweight": backward and learns}


def _row(layer: Layer, name: str, label: str, cells: dict[str, Any], work: int) -> Row:
    forward, backward = least_seconds(layer)
    forward, backward = layer.calls * forward, None if backward is None else layer.calls * backward
    shape = next((x.shape for x in leaves(layer.output) if isinstance(x, (Tensor, np.ndarray))), None)
    return Row(
        name=name,
        layer=label,
        output=shape,
        calls=layer.calls,
        **cells,
        flops=work,
        forward_seconds=forward,
        backward_seconds=backward,
        gflops=_rate(work, forward, backward),
        of_peak=None,
    )


def _rate(work: int, forward: float, backward: float | None) -> float | None:
    """GF/s; None where memory is the limit, or where the clock saw no time."""
    seconds = forward + (backward or 0.0)
    return 1e-9 * work / seconds if work and seconds else None


def _label(layer: Layer) -> str:
    """ "Conv2d + Tanh + AvgPool2d", "BatchNorm2d + sum + ReLU" for a layer that runs its neighbours in its pass."""
    name, module = type(layer.module).__name__, layer.module
    if not isinstance(module, (Affine, BatchNorm1d, BatchNorm2d)):
        return name
    given = layer.args[1] if len(layer.args) > 1 else layer.kwargs.get("activation")
    activation = given or module.activation
    of_norm = isinstance(module, (BatchNorm1d, BatchNorm2d))
    residual = layer.args[2 if of_norm else 4 :][:1]  # where `forward` has it
    summed, ops = bool(residual) and residual[0] is not None, [op.op for op in layer.ops]
    norm = "BatchNorm2d" if "conv2d_batch_norm" in ops else ""
    pool = next((_POOLS[op] for op in ops if op in _POOLS), "")
    parts = [name, norm, "sum" if summed else "", _ACTIVATIONS[activation] if activation else "", pool]
    return " + ".join(filter(None, parts))
