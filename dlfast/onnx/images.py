"""Convolution, pooling and resizing as nodes of ONNX, whose images are channels first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.resizing import bins
from .elementwise import activated
from .graph import Graph

if TYPE_CHECKING:
    from .kernels import Operation


def _first(g: Graph, x: str) -> str:
    return g.channels_first(x, 4)


def _last(g: Graph, x: str) -> str:
    return g.channels_last(x, 4)


def _pads(padding: tuple[int, int, int, int]) -> list[int]:
    """ONNX's order: the starts of both axes, then the ends."""
    top, bottom, left, right = padding
    return [top, left, bottom, right]


def _convolved(g: Graph, x: str, weight: str, bias: str, plan: Any) -> str:
    """Conv of an image that is channels first; weight (K, R, S, C/groups)."""
    stride, padding, dilation, groups = plan.geometry
    inputs = [x, g.transpose(weight, (0, 3, 1, 2)), *([bias] if bias else [])]
    return g.add(
        "Conv",
        inputs,
        kernel_shape=list(plan.kernel[1:3]),
        strides=list(stride),
        pads=_pads(padding),
        dilations=list(dilation),
        group=groups,
    )


def conv2d(g: Graph, op: Operation, *, plan: Any) -> str:
    x, weight, bias = op.names
    return activated(g, _last(g, _convolved(g, _first(g, x), weight, bias, plan)), plan.activation)


def conv2d_batch_norm(g: Graph, op: Operation, *, plan: Any, eps: float) -> str:
    """The normalisation's scale and shift go into the weights, which are constants."""
    x, weight, bias, norm_weight, norm_bias, residual, mean, var = op.names
    if all(not name or name in g.constants for name in (weight, bias, norm_weight, norm_bias, mean, var)):
        _, w, b, nw, nb, _, m, v = op.arrays
        scale = (1 if nw is None else nw.astype(np.float64)) / np.sqrt(v.astype(np.float64) + eps)
        shift = ((0 if b is None else b.astype(np.float64)) - m) * scale + (0 if nb is None else nb)
        folded = g.constant((w * scale[:, None, None, None]).astype(w.dtype)), g.constant(shift.astype(w.dtype))
        y = _convolved(g, _first(g, x), *folded, plan)
    else:
        channels, dtype = plan.output[3], op.x.dtype
        rows = norm_weight or g.constant(np.ones(channels, dtype)), norm_bias or g.constant(np.zeros(channels, dtype))
        z = _convolved(g, _first(g, x), weight, bias, plan)
        y = g.add("BatchNormalization", [z, *rows, mean, var], epsilon=float(eps))
    y = _last(g, y)
    return activated(g, g.add("Add", [y, residual]) if residual else y, plan.activation)


def _conv_pool(average: bool) -> Callable[..., str]:
    def converter(g: Graph, op: Operation, *, plan: Any) -> str:
        """A convolution, its activation, and windows side by side."""
        x, weight, bias = op.names
        z = activated(g, _convolved(g, _first(g, x), weight, bias, plan), plan.activation)
        kind = "AveragePool" if average else "MaxPool"
        return _last(g, g.add(kind, [z], kernel_shape=list(plan.pool), strides=list(plan.pool)))

    return converter


def conv_transpose2d(g: Graph, op: Operation, *, plan: Any) -> str:
    """weight (I, R, S, O/groups); padding below 0 at an end is ONNX's output_padding."""
    x, weight, bias = op.names
    stride, padding, dilation, groups = plan.geometry
    more = [max(-padding[1], 0), max(-padding[3], 0)]
    padding = padding[0], max(padding[1], 0), padding[2], max(padding[3], 0)
    inputs = [_first(g, x), g.transpose(weight, (0, 3, 1, 2)), *([bias] if bias else [])]
    # With padding at an end and more pixels there, what is cut off is the difference.
    y = g.add(
        "ConvTranspose",
        inputs,
        kernel_shape=list(plan.kernel[1:3]),
        strides=list(stride),
        pads=_pads(padding),
        dilations=list(dilation),
        group=groups,
        output_padding=more if any(more) else None,
    )
    return activated(g, _last(g, y), plan.activation)


def max_pool2d(
    g: Graph, op: Operation, *, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> str:
    attributes: dict[str, Any] = {"strides": list(stride), "pads": [*padding, *padding], "dilations": list(dilation)}
    x = _first(g, op.names[0])
    return _last(g, g.add("MaxPool", [x], kernel_shape=list(kernel_size), ceil_mode=int(ceil_mode), **attributes))


def avg_pool2d(
    g: Graph, op: Operation, *, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool
) -> str:
    x, pads = _first(g, op.names[0]), [*padding, *padding]
    attributes: dict[str, Any] = {"strides": list(stride), "pads": pads, "count_include_pad": int(count_include_pad)}
    return _last(g, g.add("AveragePool", [x], kernel_shape=list(kernel_size), ceil_mode=int(ceil_mode), **attributes))


def adaptive_avg_pool2d(g: Graph, op: Operation, *, output_size: tuple[int, int]) -> str:
    """One bin is the mean of all; equal bins are windows; others are products with the shares of each bin."""
    x, size = _first(g, op.names[0]), op.x.shape[1:3]
    if tuple(output_size) == (1, 1):
        return _last(g, g.add("GlobalAveragePool", [x]))
    if (window := _window(size, output_size)) is not None:
        return _last(g, g.add("AveragePool", [x], kernel_shape=window, strides=window))
    rows, columns = (_shares(n, count, op.x.dtype) for n, count in zip(size, output_size, strict=True))
    return _last(g, g.add("MatMul", [g.constant(rows), g.add("MatMul", [x, g.constant(columns.T.copy())])]))


def adaptive_max_pool2d(g: Graph, op: Operation, *, output_size: tuple[int, int]) -> str:
    """As the means; bins of unequal size one by one."""
    x, size = _first(g, op.names[0]), op.x.shape[1:3]
    if tuple(output_size) == (1, 1):
        return _last(g, g.add("GlobalMaxPool", [x]))
    if (window := _window(size, output_size)) is not None:
        return _last(g, g.add("MaxPool", [x], kernel_shape=window, strides=window))
    for axis, (n, count) in enumerate(zip(size, output_size, strict=True), 2):
        parts = [g.slice(x, axis, start, end) for start, end in bins(n, count)]
        x = g.add("Concat", [g.add("ReduceMax", [part, g.numbers(axis)], keepdims=1) for part in parts], axis=axis)
    return _last(g, x)


def _window(size: Any, output_size: Any) -> list[int] | None:
    return None if any(n % count for n, count in zip(size, output_size)) else [
        n // count for n, count in zip(size, output_size)
    ]  # fmt: skip


def _shares(n: int, count: int, dtype: Any) -> np.ndarray:
    """(count, n): the share of each pixel in the mean of each bin."""
    shares = np.zeros((count, n), dtype)
    for i, (start, end) in enumerate(bins(n, count)):
        shares[i, start:end] = 1 / (end - start)
    return shares


def interpolate(g: Graph, op: Operation, *, size: Any, step: Any, mode: str, align_corners: bool) -> str:
    """Resize by the scales that `step` tells: pixels of x to a pixel of y."""
    where = "asymmetric" if mode == "nearest" else "align_corners" if align_corners else "half_pixel"
    attributes: dict[str, Any] = {"mode": "nearest" if mode == "nearest" else "linear"}
    attributes["coordinate_transformation_mode"] = where
    if mode == "nearest":
        attributes["nearest_mode"] = "floor"
    x, pairs = _first(g, op.names[0]), zip(size, op.x.shape[1:3], step, strict=True)
    if not align_corners and all(abs(m / s - n) < 1e-6 for n, m, s in pairs):
        scales = g.constant(np.array([1, 1, 1 / step[0], 1 / step[1]], np.float32))
        return _last(g, g.add("Resize", [x, "", scales], **attributes))
    shape = g.sizes([op.x.shape[0], op.x.shape[3], *size])
    return _last(g, g.add("Resize", [x, "", "", shape], **attributes))


CONVERTERS: dict[str, Callable[..., Any]] = {
    "conv2d": conv2d,
    "conv2d_batch_norm": conv2d_batch_norm,
    "conv2d_max_pool2d": _conv_pool(False),
    "conv2d_avg_pool2d": _conv_pool(True),
    "conv_transpose2d": conv_transpose2d,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "adaptive_max_pool2d": adaptive_max_pool2d,
    "interpolate": interpolate,
}
