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


def _convolved(
    g: Graph, x: str, weight: str, bias: str, plan: Any, kind: str = "Conv", output_padding: list[int] | None = None
) -> str:
    """Conv of an image that is channels first, weight (K, R, S, C/groups); or ConvTranspose, (I, R, S, O/groups)."""
    stride, (top, bottom, left, right), dilation, groups = plan.geometry
    inputs = [x, g.transpose(weight, (0, 3, 1, 2)), *([bias] if bias else [])]
    return g.add(
        kind,
        inputs,
        kernel_shape=list(plan.kernel[1:3]),
        strides=list(stride),
        pads=[top, left, max(bottom, 0), max(right, 0)],
        dilations=list(dilation),
        group=groups,
        output_padding=output_padding,
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


def _conv_pool(kind: str) -> Callable[..., str]:
    def converter(g: Graph, op: Operation, *, plan: Any) -> str:
        """A convolution, its activation, and windows side by side."""
        x, weight, bias = op.names
        z = activated(g, _convolved(g, _first(g, x), weight, bias, plan), plan.activation)
        return _last(g, g.add(kind, [z], kernel_shape=list(plan.pool), strides=list(plan.pool)))

    return converter


def conv_transpose2d(g: Graph, op: Operation, *, plan: Any) -> str:
    """The plan's padding below 0 at an end is ONNX's output_padding."""
    x, weight, bias = op.names
    _, bottom, _, right = plan.geometry.padding
    more = [max(-bottom, 0), max(-right, 0)]
    y = _convolved(g, _first(g, x), weight, bias, plan, "ConvTranspose", more if any(more) else None)
    return activated(g, _last(g, y), plan.activation)


def _pooled(kind: str) -> Callable[..., str]:
    def converter(
        g: Graph, op: Operation, *, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, **more: Any
    ) -> str:
        """Windows; more: the dilation of the largest, or whether means count the padding."""
        if "dilation" in more:
            more = {"dilations": list(more["dilation"])}
        attributes = {name: int(value) if isinstance(value, bool) else value for name, value in more.items()}
        y = g.add(
            kind,
            [_first(g, op.names[0])],
            kernel_shape=list(kernel_size),
            strides=list(stride),
            pads=[*padding, *padding],
            ceil_mode=int(ceil_mode),
            **attributes,
        )
        return _last(g, y)

    return converter


def _whole_bins(g: Graph, x: str, size: Any, output_size: Any, kind: str) -> str | None:
    """Adaptive pooling to one bin, or to bins of one size, which are windows; None for others."""
    if tuple(output_size) == (1, 1):
        return g.add(f"Global{kind}", [x])
    if any(n % count for n, count in zip(size, output_size)):
        return None
    window = [n // count for n, count in zip(size, output_size)]
    return g.add(kind, [x], kernel_shape=window, strides=window)


def adaptive_avg_pool2d(g: Graph, op: Operation, *, output_size: tuple[int, int]) -> str:
    """Bins of unequal size are products with the shares that each pixel has in the mean of each bin."""
    x, size = _first(g, op.names[0]), op.x.shape[1:3]
    y = _whole_bins(g, x, size, output_size, "AveragePool")
    if y is None:
        rows, columns = (_shares(n, count, op.x.dtype) for n, count in zip(size, output_size, strict=True))
        y = g.add("MatMul", [g.constant(rows), g.add("MatMul", [x, g.constant(columns.T.copy())])])
    return _last(g, y)


def adaptive_max_pool2d(g: Graph, op: Operation, *, output_size: tuple[int, int]) -> str:
    """Bins of unequal size one by one."""
    x, size = _first(g, op.names[0]), op.x.shape[1:3]
    if (y := _whole_bins(g, x, size, output_size, "MaxPool")) is not None:
        return _last(g, y)
    for axis, (n, count) in enumerate(zip(size, output_size, strict=True), 2):
        parts = [g.slice(x, axis, start, end) for start, end in bins(n, count)]
        x = g.add("Concat", [g.add("ReduceMax", [part, g.numbers(axis)], keepdims=1) for part in parts], axis=axis)
    return _last(g, x)


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
    "conv2d_max_pool2d": _conv_pool("MaxPool"),
    "conv2d_avg_pool2d": _conv_pool("AveragePool"),
    "conv_transpose2d": conv_transpose2d,
    "max_pool2d": _pooled("MaxPool"),
    "avg_pool2d": _pooled("AveragePool"),
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "adaptive_max_pool2d": adaptive_max_pool2d,
    "interpolate": interpolate,
}
