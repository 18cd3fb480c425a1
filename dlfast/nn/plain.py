"""Layers on plain arrays, for nets that run step by step.

One row keeps a kernel busy for two microseconds; the checks, the tape and the calls on the way to it take more. Hence
none of them here: rows x (N, E), contiguous, of the layer's dtype, and nothing is recorded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from .._modes import no_grad
from ..kernels.halves import is_half
from ..tensor import Parameter, unwrap
from .linear import Linear
from .module import Module
from .norm import LayerNorm


def affine(x: np.ndarray, weight: Parameter, bias: Parameter | None, activation: str | None = None) -> np.ndarray:
    """act(x W^T + b)."""
    forward = kernels.active("linear", x)[0]
    return forward(x, weight.data, None if bias is None else bias.data, activation=activation)[0]


def gelu(x: np.ndarray) -> np.ndarray:
    return kernels.active("gelu", x)[0](x, approximate="none")[0]


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None, causal: bool) -> np.ndarray:
    """q, y (B, T, H, D), k and v (B, S, H, D), mask (T, S) of what is added to the scores."""
    options = {"heads_last": True, "causal": causal, "scale": q.shape[3] ** -0.5, "dropout": 0.0, "seed": 0}
    return kernels.active("attention", q)[0](q, k, v, None if mask is None else mask[None, None], **options)[0]


def run(layer: Any, x: np.ndarray) -> np.ndarray:
    """What a layer gives in evaluation mode; Linear and LayerNorm without detours, unless they have hooks."""
    kind = type(layer) if layer._hooks is None else Module
    if kind is Linear:
        return affine(x, layer.weight, layer.bias, layer.activation)
    whole = kind is LayerNorm and layer.weight is not None and layer.bias is not None and not is_half(x.dtype)
    if whole and len(layer.normalized_shape) == 1:
        return kernels.active("layer_norm", x)[0](x, layer.weight.data, layer.bias.data, eps=layer.eps)[0]
    with no_grad():
        return unwrap(layer(x))
