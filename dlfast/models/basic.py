"""Perceptrons, and the network of the demo."""

from __future__ import annotations

from itertools import pairwise

from .. import _check as check
from .. import nn
from ._build import sizes


def perceptron(in_features: int, out_features: int = 1) -> nn.Sequential:
    """The perceptron y = f(W x + b), (N, in_features) -> (N, out_features), with the sigmoid as f.

    It draws one straight line through its inputs: it learns AND and OR, and cannot learn XOR.
    """
    return nn.Sequential(nn.Linear(in_features, out_features), nn.Sigmoid())


def mlp(*features: int, activation=nn.ReLU, dropout: float = 0.0) -> nn.Sequential:
    """A multi-layer perceptron, A_l = g(W_l A_{l-1} + b_l), whose last layer is linear.

    ``mlp(784, 128, 64, 10)`` maps (N, 784) to (N, 10) through hidden layers of 128 and 64; ``activation`` makes g,
    `dropout` is behind each. Raises ValueError for fewer than two sizes.
    """
    if len(features) < 2:
        raise ValueError(f"mlp: expected the sizes of input, hidden layers and output, got {features}")
    layers: list[nn.Module] = []
    for in_features, out_features in pairwise(features[:-1]):
        layers += [nn.Linear(in_features, out_features), activation(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Linear(features[-2], features[-1]))


def demo_cnn(num_classes: int = 10, in_channels: int = 1, *, image_size: int = 28, width: int = 32) -> nn.Sequential:
    """The network that `dlfast demo` trains: images (N, 28, 28, 1) -> logits (N, 10), 421,642 parameters.

    Two convolutions 3 x 3 with width and 2 width channels, each with pooling to half, then Linear layers of 4 width and
    num_classes. image_size: the side of the images, 4 at least; what pooling leaves over is dropped.
    """
    num_classes, in_channels = sizes("demo_cnn", num_classes, in_channels)
    side = check.integer("demo_cnn", "image_size", image_size, 4) // 2 // 2
    width = check.integer("demo_cnn", "width", width, 1)
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * side**2, 4 * width),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(4 * width, num_classes),
    )
