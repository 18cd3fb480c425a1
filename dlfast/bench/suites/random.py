"""Shapes drawn by chance: what the other suites' tables do not name, channels that fill no register above all.

``groups(seed, count)`` draws `count` rows of each kind, forward and backward with every gradient. Sizes are drawn
log-uniformly, so that small and large ones are as frequent, within bounds that keep a row under some milliseconds. The
rows of a kind follow from the seed alone: neither the other kinds nor what is filtered changes them, and a smaller
count gives the first rows of a larger one. Values are those of every row, seed or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from math import prod

import numpy as np

from ... import functional as F
from ...kernels.geometry import conv_output_size, pool_output_size
from ..rows import Group, Operation, Row, quarters, traffic
from ..updates import Update
from . import layers

ELEMENTS = 1 << 21  # of an image, at most
WISH = 1.3  # geometric mean of the kinds that memory and calls limit

Draw = np.random.Generator


def size(draw: Draw, low: int, high: int) -> int:
    """A whole number in low..high, log-uniformly."""
    return int(math.exp(draw.uniform(math.log(low), math.log(high + 1))))


def choice(draw: Draw, *values):
    return values[draw.integers(len(values))]


def image(draw: Draw, most: int = ELEMENTS, channels: int = 256) -> tuple[int, int, int, int]:
    """(N, H, W, C) of at most `most` elements; every other one square."""
    while True:
        height, width = size(draw, 4, 112), size(draw, 4, 112)
        shape = size(draw, 1, 64), height, choice(draw, width, height), size(draw, 1, channels)
        if prod(shape) <= most:
            return shape


def text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def pool(draw: Draw) -> Row:
    """Max- and average pooling with windows of 2 to 5."""
    name, kernel, shape = choice(draw, "max", "avg"), choice(draw, 2, 2, 3, 3, 4, 5), image(draw)
    stride, padding = choice(draw, 1, 2, kernel), choice(draw, 0, kernel // 2)
    kernel = min(kernel, *shape[1:3])
    stride, padding = min(stride, kernel), min(padding, kernel // 2)
    out = [pool_output_size(length, kernel, stride, padding, 1, False) for length in shape[1:3]]
    output = (shape[0], *out, shape[3])
    ours = partial(getattr(F, f"{name}_pool2d"), kernel_size=kernel, stride=stride, padding=padding)
    return Row(
        f"{name}-pool {kernel}x{kernel} stride {stride} padding {padding}, {text(shape)}",
        partial(Operation, [shape], (True,), output, ours, partial(_pool, name, kernel, stride, padding)),
        bytes=traffic([shape], (True,), output),
    )


def _pool(name, kernel, stride, padding, torch, x):
    return getattr(torch.nn.functional, f"{name}_pool2d")(x, kernel, stride, padding)


def norm(draw: Draw) -> Row:
    """Batch norm of images while training, plain, with ReLU and with a residual; layer norm of rows."""
    if choice(draw, True, False):
        rows, features = size(draw, 1, 8192), size(draw, 8, 4096)
        while rows * features > ELEMENTS:
            rows, features = size(draw, 1, 8192), size(draw, 8, 4096)
        return layers.layer_norm(rows, features)
    shape = image(draw)
    while prod(shape[:3]) < 32:  # with few values to a channel, gradients are what rounding leaves of a difference
        shape = image(draw)
    activation = choice(draw, None, "relu")
    shapes = [shape, shape[3:], shape[3:], *[shape] * choice(draw, False, False, True)]
    ours = partial(F.batch_norm, training=True, activation=activation)
    return Row(
        f"batch norm{' + residual' * (len(shapes) > 3)}{f' + {activation}' if activation else ''}, {text(shape)}",
        partial(
            Operation,
            shapes,
            (True,) * len(shapes),
            shape,
            partial(layers._ours, ours),
            layers._batch_norm if activation else _batch_norm,
            draw=_few_values,
        ),
        bytes=traffic(shapes, (True,) * len(shapes), shape),
        tolerance=1e-3,
    )


def _few_values(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """`quarters`, but weights and biases normal: so few sums, and none that is nearly 0, where ReLU has its kink."""
    return quarters(draw, shape) if len(shape) > 1 else draw.standard_normal(shape, np.float32)


def _batch_norm(torch, x, weight, bias, residual=None):
    y = torch.nn.functional.batch_norm(x, None, None, weight, bias, training=True)
    return y if residual is None else y.add_(residual)


def softmax(draw: Draw) -> Row:
    """Softmax and log-softmax of rows; cross-entropy, the mean over the rows."""
    name = choice(draw, "softmax", "log_softmax", "cross_entropy")
    rows, classes = size(draw, 1, 8192), size(draw, 2, 4096)
    while rows * classes > ELEMENTS:
        rows, classes = size(draw, 1, 8192), size(draw, 2, 4096)
    if name == "cross_entropy":
        labels, shapes = np.arange(rows) * 7919 % classes, [(rows, classes)]
        ours, pytorch = partial(F.cross_entropy, target=labels), partial(layers._loss, labels)
        work = partial(Operation, shapes, (True,), (), ours, pytorch)
        return Row(f"cross-entropy, {rows} x {classes}", work, bytes=traffic(shapes, (True,), shapes[0]))
    return layers.softmax(name, rows, classes)


def activation(draw: Draw) -> Row:
    """One of them on so many values."""
    names = (
        *("relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "softplus", "hardswish"),
        *("relu6", "hardtanh", "hardsigmoid", "selu", "celu", "mish", "softsign", "logsigmoid"),
    )
    name, count = choice(draw, *names), size(draw, 64, 2 * ELEMENTS)
    return Row(
        f"{name}, {count} values",
        partial(Operation, [(count,)], (True,), (count,), getattr(F, name), partial(layers._activation, name)),
        bytes=traffic([(count,)], (True,), (count,)),
    )


def optimizer(draw: Draw) -> Row:
    """A step of one of the optimizers on a few matrices and as many rows, as a perceptron has them."""
    kinds: dict[str, list[dict]] = {
        "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}],
        "Adam": [{}, {"weight_decay": 1e-2}],
        "AdamW": [{}],
        "RMSprop": [{}, {"momentum": 0.9}],
        "Adagrad": [{}, {"lr_decay": 0.1}],
        "NAdam": [{}],
        "RAdam": [{}],
    }
    kind = choice(draw, *kinds)
    options = choice(draw, *kinds[kind])
    widths = [size(draw, 2, 1500) for _ in range(size(draw, 2, 12))]
    while sum(map(prod, zip(widths, widths[1:]))) > ELEMENTS:
        widths = [size(draw, 2, 1500) for _ in range(size(draw, 2, 12))]
    shapes = [shape for fan_in, fan_out in zip(widths, widths[1:]) for shape in ((fan_out, fan_in), (fan_out,))]
    count, words = sum(map(prod, shapes)), "".join(f", {option}" for option in options)
    return Row(f"{kind}{words}, {len(shapes)} arrays, {count} numbers", partial(Update, shapes, None, kind, options))


def linear(draw: Draw) -> Row:
    """A fully connected layer with bias, plain or with ReLU."""
    bounds = (1, 1024), (2, 2048), (2, 2048)
    batch, inputs, outputs = (size(draw, *each) for each in bounds)
    while batch * inputs * outputs > 1 << 26:
        batch, inputs, outputs = (size(draw, *each) for each in bounds)
    act = choice(draw, None, "relu")
    shapes, needs, output = [(batch, inputs), (outputs, inputs), (outputs,)], (True,) * 3, (batch, outputs)
    ours = partial(F.linear, activation=act)
    return Row(
        f"linear{f' + {act}' if act else ''}, batch {batch}, {inputs} to {outputs}",
        partial(Operation, shapes, needs, output, ours, partial(_linear, act), draw=quarters),
        flops=3 * 2.0 * batch * inputs * outputs,
        bytes=traffic(shapes, needs, output),
    )


def _linear(act, torch, x, weight, bias):
    y = torch.nn.functional.linear(x, weight, bias)
    return y.relu_() if act else y


def convolution(draw: Draw) -> Row:
    """Kernels of 1x1 to 7x7, dense, in groups or one to a channel, with strides, dilation and padding."""
    kind = choice(draw, "dense", "dense", "dense", "groups", "depthwise")
    while True:
        shape, kernel = image(draw, ELEMENTS >> 2), choice(draw, 1, 2, 3, 3, 3, 4, 5, 7)
        stride, dilation = choice(draw, 1, 1, 2, 3), choice(draw, 1, 1, 1, 2)
        padding, kernels = choice(draw, 0, kernel // 2, kernel // 2), size(draw, 1, 256)
        channels = shape[3]
        divisors = [each for each in range(2, channels) if channels % each == 0 and kind == "groups"]
        groups = channels if kind == "depthwise" else choice(draw, *divisors) if divisors else 1
        kernels = max(1, round(kernels / groups)) * groups if kind == "groups" else kernels
        kernels = channels if kind == "depthwise" else kernels
        if min(shape[1:3]) + 2 * padding <= dilation * (kernel - 1) or kind != "dense" and groups == 1:
            continue
        out = [conv_output_size(length, kernel, stride, padding, padding, dilation) for length in shape[1:3]]
        output = (shape[0], *out, kernels)
        products = prod(output) * kernel * kernel * channels // groups
        if products <= 1 << 26 and prod(output) <= ELEMENTS >> 2:
            break
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    shapes = [shape, (kernels, kernel, kernel, channels // groups), (kernels,)]
    words = [f"{name} {value}" for name, value in options.items() if value != (name != "padding")]
    return Row(
        ", ".join([f"conv {kernel}x{kernel}", *words, f"{text(shape)} to {kernels}"]),
        partial(Operation, shapes, (True,) * 3, output, partial(F.conv2d, **options), partial(_conv, options)),
        flops=6.0 * products,
        bytes=traffic(shapes, (True,) * 3, output),
    )


def _conv(options, torch, x, weight, bias):
    return torch.nn.functional.conv2d(x, weight, bias, **options)


KINDS: dict[str, tuple[Callable[[Draw], Row], float | None]] = {
    "pools": (pool, WISH),
    "norms": (norm, WISH),
    "softmax": (softmax, WISH),
    "activations": (activation, WISH),
    "optimizers": (optimizer, WISH),
    "linear": (linear, None),
    "convolutions": (convolution, None),
}


def groups(seed: int, count: int) -> list[Group]:
    """A group for each kind, of `count` rows with different names."""
    return [
        Group(f"random {kind}", drawn(function, np.random.default_rng([seed, i]), count), wish, drawn=True)
        for i, (kind, (function, wish)) in enumerate(KINDS.items())
    ]


def drawn(function: Callable[[Draw], Row], draw: Draw, count: int) -> list[Row]:
    """The first `count` different rows that the function draws."""
    rows: dict[str, Row] = {}
    while len(rows) < count:
        row = function(draw)
        rows.setdefault(row.name, row)
    return list(rows.values())
