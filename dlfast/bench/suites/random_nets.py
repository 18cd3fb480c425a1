"""Small convolutional networks drawn by chance, as whole training steps: what no table of networks names.

``groups(seed, count)`` draws `count` networks of 3 to 12 layers: widths of 6 to 96 and no multiples of anything,
kernels of 1 x 1 to 5 x 5, five activations, with and without batch normalisation, max- and average-pooling, batches of
1 to 96. A step is forward, cross-entropy, backward and Adam.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ... import nn
from ..networks import Training
from ..rows import Group, Row
from .random import Draw, choice, drawn, size
from .steps import KINKS

MOST_WORK = 1 << 28  # multiply-adds of a forward pass: some 10 ms a step
MEAN = 2.5
CLASSES = 10
ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}


def network(draw: Draw) -> Row:
    """A training step of one network; the name lists its layers."""
    while True:
        batch, side, channels = size(draw, 1, 96), size(draw, 8, 48), size(draw, 1, 12)
        words, layers, work = _layers(draw, side, channels)
        if batch * work <= MOST_WORK:
            break
    shape = batch, side, side, channels
    name = f"{'x'.join(map(str, shape))}: {', '.join(words)}"
    make = partial(_build, layers)
    return Row(name, partial(Training.drawn, make, shape, CLASSES), flops=6.0 * batch * work, tolerance=KINKS)


def _build(layers: list) -> nn.Sequential:
    return nn.Sequential(*(make() for make in layers))


def _layers(draw: Draw, side: int, channels: int) -> tuple[list[str], list, int]:
    """(words, what makes each module, multiply-adds for one image)."""
    words: list[str] = []
    layers: list[Any] = []
    work = 0
    normalised, activation = choice(draw, True, False), choice(draw, *ACTIVATIONS)
    convolutions, hidden = size(draw, 1, 8), choice(draw, True, False)
    for _ in range(convolutions):
        kernel, width, padded = choice(draw, 1, 2, 3, 3, 3, 4, 5), size(draw, 6, 96), choice(draw, True, True, False)
        padding = kernel // 2 if padded else 0
        out = side + 2 * padding - kernel + 1
        if out < 1:
            continue
        norm = normalised and out > 1  # its mean takes the bias away
        layers.append(partial(nn.Conv2d, channels, width, kernel, padding=padding, bias=not norm))
        words.append(f"conv {kernel}x{kernel} {width}")
        work += out * out * width * kernel * kernel * channels
        side, channels = out, width
        if norm:
            layers.append(partial(nn.BatchNorm2d, width))
            words.append("bn")
        layers.append(ACTIVATIONS[activation])
        words.append(activation)
        if side >= 4 and choice(draw, True, False):
            kind, window = choice(draw, "max", "avg"), choice(draw, 2, 2, 3)
            layers.append(partial(nn.MaxPool2d if kind == "max" else nn.AvgPool2d, window))
            words.append(f"{kind} {window}")
            side //= window
    features = side * side * channels
    layers.append(nn.Flatten)
    if hidden:
        width = size(draw, 6, 96)
        layers += [partial(nn.Linear, features, width), ACTIVATIONS[activation]]
        words += [f"linear {width}", activation]
        work += features * width
        features = width
    layers.append(partial(nn.Linear, features, CLASSES))
    return words, layers, work + features * CLASSES


def groups(seed: int, count: int) -> list[Group]:
    return [Group("random networks", drawn(network, np.random.default_rng([seed, 100]), count), MEAN, drawn=True)]
