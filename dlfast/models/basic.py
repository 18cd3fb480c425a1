"""Perceptrons, and the network of the demo."""

from __future__ import annotations

from itertools import pairwise

from .. import nn


def perceptron(in_features: int, out_features: int = 1) -> nn.Sequential:
    """The perceptron y = f(W x + b), (N, in_features) -> (N, out_features), with the sigmoid as f.

    It draws one straight line through its inputs: it learns AND and OR, and cannot learn XOR.
    """
    return nn.Sequential(nn.Linear(in_features, out_features), nn.Sigmoid())


def mlp(*features: int, activation=nn.ReLU) -> nn.Sequential:
    """A multi-layer perceptron, A_l = g(W_l A_{l-1} + b_l), whose last layer is linear.

    ``mlp(784, 128, 64, 10)`` maps (N, 784) to (N, 10) through hidden layers of 128 and 64; ``activation`` makes g.
    Raises ValueError for fewer than two sizes.
    """
    if len(features) < 2:
        raise ValueError(f"mlp: expected the sizes of input, hidden layers and output, got {features}")
    layers: list[nn.Module] = []
    for in_features, out_features in pairwise(features):
        layers += [nn.Linear(in_features, out_features), activation()]
    return nn.Sequential(*layers[:-1])


def demo_cnn() -> nn.Sequential:
    """The network that `dlfast demo` trains: images (N, 28, 28, 1) -> logits (N, 10), 421,642 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(128, 10),
    )
