"""Inputs for a model of which only the shapes are known."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from . import _check as check
from .nn.embedding import Embedding
from .nn.module import Module
from .tensor import Tensor, no_grad, unwrap


def example_inputs(op: str, model: Module, given: Any) -> list[Any]:
    """The arguments of a model, on the CPU: arrays as given, and for each shape, batch included, an array filled.

    It is filled with normal numbers of the model's dtype, or with integers where an `Embedding` of the model reads it.
    Raises TypeError for what is neither shape nor array.
    """
    dtype = next((p.dtype for p in model.parameters() if p.dtype.kind == "f"), np.dtype(np.float32))
    inputs, filled = [], []
    for array, is_shape in _parts(op, given, dtype):
        inputs.append(array)
        filled.append(is_shape)
    if any(filled) and any(isinstance(module, Embedding) for module in model.modules()):
        _as_embeddings_read(model, inputs, filled)
    return inputs


def _parts(op: str, given: Any, dtype: np.dtype) -> list[tuple[Any, bool]]:
    """Each argument, and whether only its shape was given."""
    if isinstance(given, (Tensor, np.ndarray)):
        return [(given.cpu() if isinstance(given, Tensor) else given, False)]
    if not isinstance(given, (tuple, list)) or not given:
        raise TypeError(
            f"{op}: input_shape must be a shape with the batch, such as (32, 784), or an array, got {given!r}"
        )
    if any(isinstance(part, (tuple, list, Tensor, np.ndarray)) for part in given):
        return [found for part in given for found in _parts(op, part, dtype)]
    shape = [check.integer(op, "input_shape", size, 0) for size in given]
    return [(np.random.default_rng(0).standard_normal(shape).astype(dtype), True)]


class _ReadByEmbedding(Exception):
    """Input number `position` is read by an embedding of `count` rows."""

    def __init__(self, position: int, count: int) -> None:
        self.position, self.count = position, count


def _as_embeddings_read(model: Module, inputs: list[Any], filled: list[bool]) -> None:
    """Put integers in place of the inputs that embeddings read: a copy of the model runs until they refuse none."""
    model = copy.deepcopy(model).cpu().eval()

    def look(embedding: Any, args: tuple) -> None:
        found = unwrap(args[0]) if args else np.empty(0)
        for i, array in enumerate(inputs):
            if filled[i] and found.dtype.kind == "f" and np.may_share_memory(found, array):
                raise _ReadByEmbedding(i, embedding.num_embeddings)

    for module in model.modules():
        if isinstance(module, Embedding):
            module.register_forward_pre_hook(look)
    for _ in inputs:
        try:
            with no_grad():
                model(*inputs)
        except _ReadByEmbedding as read:
            shape = inputs[read.position].shape
            inputs[read.position] = np.random.default_rng(0).integers(read.count, size=shape)
        except Exception:  # what else does not fit is told by who runs the model with these inputs
            return
        else:
            return
