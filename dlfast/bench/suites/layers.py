"""What lies between the products of a network: pooling, batch normalisation, activations, softmax with cross-entropy.

Memory is their limit, so each row also says what share of the copy rate it reaches; bytes count each array once for
each pass that must read or write it.
"""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np

from ... import functional as F
from ...kernels.geometry import pool_output_size
from ..rows import BEST, Group, Operation, Row, quarters, traffic

COPY_SHARE = 0.8
MILLION = 1 << 20


def max_pool(batch: int, size: int, channels: int, kernel: int, *, stride: int, padding: int = 0) -> Row:
    """A row: square windows over images (batch, size, size, channels); winners are kept in one byte each."""
    out = pool_output_size(size, kernel, stride, padding, 1, False)
    shape, output = (batch, size, size, channels), (batch, out, out, channels)
    ours = partial(F.max_pool2d, kernel_size=kernel, stride=stride, padding=padding)
    return Row(
        f"max-pool {kernel}x{kernel} stride {stride}, {batch}x{size}x{size}x{channels}",
        partial(Operation, [shape], (True,), output, ours, partial(_max_pool, kernel, stride, padding)),
        bytes=2 * (4.0 * prod(shape) + 5.0 * prod(output)),
        targets={"PyTorch NHWC": 1.3, "PyTorch NCHW": 5.0},
        copy_share=COPY_SHARE,
    )


def _max_pool(kernel, stride, padding, torch, x):
    return torch.nn.functional.max_pool2d(x, kernel, stride, padding)


def batch_norm(batch: int, size: int, channels: int, target: float | None, *, residual: bool) -> Row:
    """A row: y = relu(batch norm of x + residual) while training; statistics and column sums are passes of their own.

    Values are few, so that none lies so near to ReLU's kink that contenders round to different sides of it.
    """
    shape = (batch, size, size, channels)
    shapes = [shape, (channels,), (channels,), *[shape] * residual]
    ours = partial(F.batch_norm, training=True, activation="relu")
    passes = 2 + 1 + 3 + 3 + 2 * residual
    return Row(
        f"batch norm + {'residual + ' * residual}ReLU, {batch}x{size}x{size}x{channels}",
        partial(Operation, shapes, (True,) * len(shapes), shape, partial(_ours, ours), _batch_norm, draw=quarters),
        bytes=4.0 * passes * prod(shape),
        targets=None if target is None else {BEST: target},
        copy_share=COPY_SHARE,
    )


def _ours(batch_norm, x, weight, bias, residual=None):
    return batch_norm(x, weight=weight, bias=bias, residual=residual)


def _batch_norm(torch, x, weight, bias, residual=None):
    y = torch.nn.functional.batch_norm(x, None, None, weight, bias, training=True)
    return (y if residual is None else y.add_(residual)).relu_()


def group_norm(batch: int, size: int, channels: int, groups: int, target: float) -> Row:
    """A row: group norm of images, weight and bias with it; statistics and sums are passes of their own."""
    shapes = [(batch, size, size, channels), (channels,), (channels,)]
    return Row(
        f"group norm, {groups} groups, {batch}x{size}x{size}x{channels}",
        partial(
            Operation,
            shapes,
            (True,) * 3,
            shapes[0],
            partial(_grouped, F.group_norm, groups),
            partial(_group_norm, groups),
        ),
        bytes=4.0 * (2 + 1 + 3 + 2) * prod(shapes[0]),
        targets={BEST: target},
    )


def _grouped(group_norm, groups, x, weight, bias):
    return group_norm(x, groups, weight, bias)


def _group_norm(groups, torch, x, weight, bias):
    return _grouped(torch.nn.functional.group_norm, groups, x, weight, bias)


def layer_norm(rows: int, features: int, target: float | None = None) -> Row:
    """A row: layer norm with weight and bias."""
    shapes, output = [(rows, features), (features,), (features,)], (rows, features)
    return Row(
        f"layer norm, {rows} x {features}",
        partial(Operation, shapes, (True,) * 3, output, _layer_norm_ours, _layer_norm),
        bytes=traffic(shapes, (True,) * 3, output),
        targets=None if target is None else {BEST: target},
        tolerance=1e-3,
    )


def _layer_norm_ours(x, weight, bias):
    return F.layer_norm(x, weight.shape, weight, bias)


def _layer_norm(torch, x, weight, bias):
    return torch.nn.functional.layer_norm(x, weight.shape, weight, bias)


def rms_norm(rows: int, features: int, target: float) -> Row:
    """A row: RMS norm of rows, weight with it."""
    shapes = [(rows, features), (features,)]
    return Row(
        f"RMS norm, {rows} x {features}",
        partial(Operation, shapes, (True,) * 2, shapes[0], _rms_norm_ours, _rms_norm),
        bytes=traffic(shapes, (True,) * 2, shapes[0]),
        targets={BEST: target},
    )


def _rms_norm_ours(x, weight):
    return F.rms_norm(x, weight.shape, weight, 1e-5)


def _rms_norm(torch, x, weight):
    return torch.nn.functional.rms_norm(x, weight.shape, weight, 1e-5)


def activation(name: str, target: float | None, size: int = MILLION, copy_share: float | None = None) -> Row:
    """A row: an activation of so many values; it reads x, writes y, reads dy and what it kept, writes dx."""
    shapes, output = [(size,)], (size,)
    return Row(
        f"{name}, {size >> 20} M values",
        partial(Operation, shapes, (True,), output, getattr(F, name), partial(_activation, name)),
        bytes=traffic(shapes, (True,), output),
        targets=None if target is None else {BEST: target},
        copy_share=copy_share,
    )


def _activation(name, torch, x):
    return getattr(torch if name in ("tanh", "sigmoid", "relu") else torch.nn.functional, name)(x)


def softmax(name: str, rows: int, classes: int, target: float | None = None) -> Row:
    """A row: "softmax" or "log_softmax" of rows."""
    shapes = [(rows, classes)]
    return Row(
        f"{name.replace('_', '-')}, {rows} x {classes}",
        partial(Operation, shapes, (True,), shapes[0], getattr(F, name), partial(_softmax, name)),
        bytes=traffic(shapes, (True,), shapes[0]),
        targets=None if target is None else {BEST: target},
    )


def _softmax(name, torch, x):
    return getattr(torch.nn.functional, name)(x, -1)


def cross_entropy(rows: int, classes: int, target: float) -> Row:
    """A row: softmax and cross-entropy, the mean over the rows."""
    labels = np.arange(rows) * 7919 % classes
    shapes = [(rows, classes)]
    return Row(
        f"softmax + cross-entropy, {rows} x {classes}",
        partial(Operation, shapes, (True,), (), partial(F.cross_entropy, target=labels), partial(_loss, labels)),
        bytes=traffic(shapes, (True,), shapes[0]),
        targets={BEST: target},
    )


def _loss(labels, torch, x):
    return torch.nn.functional.cross_entropy(x, torch.from_numpy(labels))


GROUPS = [
    Group("pooling", [max_pool(64, 28, 32, 2, stride=2), max_pool(8, 112, 64, 3, stride=2, padding=1)]),
    Group(
        "batch norm",
        [
            batch_norm(8, 112, 64, 1.7, residual=False),
            batch_norm(8, 112, 64, None, residual=True),
            batch_norm(32, 32, 16, None, residual=True),
        ],
    ),
    Group("group and RMS norm", [group_norm(8, 56, 64, 32, 1.5), rms_norm(2048, 768, 1.5)]),
    Group("loss", [cross_entropy(2048, 768, 2.0)]),
    Group(
        "activations",
        [
            activation(name, target)
            for name, target in (("tanh", 2.2), ("elu", 2.0), ("gelu", 1.7), ("silu", 1.4), ("sigmoid", 1.0))
        ]
        + [activation("relu", None), activation("relu", None, 16 * MILLION, COPY_SHARE)],
    ),
]
