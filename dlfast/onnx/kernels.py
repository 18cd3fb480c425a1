"""The operations of the library as nodes of ONNX: what computes them, and which operators say the same.

A converter takes the graph, an `Operation` (its arrays, and their names in the graph) and the kernel's options, and
gives the name of the result, or a list of them. Images are channels last here and channels first in ONNX; each
operation that cares turns its own, and `tidy` cancels what meets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from . import images, sequences
from .elementwise import ACTIVATIONS, activated
from .graph import Graph
from .recording import Recorded, Recorder, depends, name_of, values_of


class Operation(NamedTuple):
    """What a converter is told: arrays and their names, "" and None for one that is not given."""

    names: list[str]
    arrays: list[Any]

    @property
    def x(self) -> np.ndarray:
        return self.arrays[0]


Converter = Callable[..., Any]


@cache
def kernel(op: str) -> Any:
    """(forward, backward) for recorded arrays. TypeError for an operation without a form in ONNX."""
    if op not in CONVERTERS:
        raise TypeError(f"export: {op} has no form in ONNX here; only what models do in evaluation can be exported")
    return _forward(op), _no_backward


def _no_backward(dy: Any, saved: Any, needs: Any) -> Any:
    raise TypeError("export: gradients are not recorded")


def _forward(op: str) -> Callable[..., Any]:
    def forward(*arrays: Any, **options: Any) -> Any:
        values = [values_of(array) for array in arrays]
        values = [np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value for value in values]
        found, _ = kernels.active(op, values[0])[0](*values, **options)
        recorder = next(array.device for array in arrays if isinstance(array, Recorded))
        results = found if isinstance(found, tuple) else (found,)
        if not depends(*arrays):
            recorded = [Recorded(recorder, value) for value in results]
        else:
            recorded = _converted(recorder, op, arrays, values, results, options)
        return (tuple(recorded) if isinstance(found, tuple) else recorded[0]), None

    return forward


def _converted(
    recorder: Recorder, op: str, arrays: tuple, values: list, results: tuple, options: dict[str, Any]
) -> list[Recorded]:
    names = [name_of(recorder.graph, array) for array in arrays]
    made = CONVERTERS[op](recorder.graph, Operation(names, values), **options)
    made = made if isinstance(made, list) else [made]
    return [Recorded(recorder, value, name) for value, name in zip(results, made, strict=True)]


# Products


def linear(g: Graph, op: Operation, *, activation: str | None) -> str:
    """x W^T + b: Gemm for a matrix, MatMul with leading axes."""
    x, weight, bias = op.names
    if op.x.ndim == 2:
        return activated(g, g.add("Gemm", [x, weight, *([bias] if bias else [])], transB=1), activation)
    y = g.add("MatMul", [x, g.transpose(weight, (1, 0))])
    return activated(g, g.add("Add", [y, bias]) if bias else y, activation)


def matmul(g: Graph, op: Operation) -> str:
    return g.add("MatMul", op.names)


def embedding(g: Graph, op: Operation, *, padding_idx: int | None) -> str:
    indices, weight = op.names
    return g.add("Gather", [weight, indices], axis=0)


# Normalisation


def batch_norm(g: Graph, op: Operation, *, eps: float, activation: str | None) -> str:
    """BatchNormalization over channels first, the residual and the activation behind it."""
    x, weight, bias, residual, mean, var = op.names
    channels, dtype, axes = op.x.shape[-1], op.x.dtype, op.x.ndim
    weight = weight or g.constant(np.ones(channels, dtype))
    bias = bias or g.constant(np.zeros(channels, dtype))
    first = g.channels_first(x, axes) if axes > 2 else x
    y = g.add("BatchNormalization", [first, weight, bias, mean, var], epsilon=float(eps))
    y = g.channels_last(y, axes) if axes > 2 else y
    return activated(g, g.add("Add", [y, residual]) if residual else y, activation)


def layer_norm(g: Graph, op: Operation, *, eps: float) -> str:
    x, weight, bias = op.names
    weight = weight or g.constant(np.ones(op.x.shape[-1], op.x.dtype))
    return g.add("LayerNormalization", [x, weight, *([bias] if bias else [])], axis=-1, epsilon=float(eps))


def rms_norm(g: Graph, op: Operation, *, eps: float) -> str:
    x, weight = op.names
    weight = weight or g.constant(np.ones(op.x.shape[-1], op.x.dtype))
    return g.add("RMSNormalization", [x, weight], axis=-1, epsilon=float(eps))


def group_norm(g: Graph, op: Operation, *, groups: int, eps: float) -> str:
    x, weight, bias = op.names
    channels, dtype, axes = op.x.shape[-1], op.x.dtype, op.x.ndim
    weight = weight or g.constant(np.ones(channels, dtype))
    bias = bias or g.constant(np.zeros(channels, dtype))
    first = g.channels_first(x, axes) if axes > 2 else x
    y = g.add("GroupNormalization", [first, weight, bias], num_groups=groups, epsilon=float(eps))
    return g.channels_last(y, axes) if axes > 2 else y


def softmax(g: Graph, op: Operation, *, axis: int) -> str:
    return g.add("Softmax", op.names, axis=axis)


def log_softmax(g: Graph, op: Operation, *, axis: int) -> str:
    return g.add("LogSoftmax", op.names, axis=axis)


CONVERTERS: dict[str, Converter] = {
    "linear": linear,
    "matmul": matmul,
    "embedding": embedding,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "softmax": softmax,
    "log_softmax": log_softmax,
    **ACTIVATIONS,
    **images.CONVERTERS,
    **sequences.CONVERTERS,
}
