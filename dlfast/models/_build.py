"""What the builders of networks share: the check of their arguments and the initial values."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .. import _check as check
from .. import init, nn

Affine = nn.Conv2d | nn.Linear


def sizes(op: str, num_classes: int, in_channels: int) -> tuple[int, int]:
    """Both as integers of at least 1."""
    return check.integer(op, "num_classes", num_classes, 1), check.integer(op, "in_channels", in_channels, 1)


def affine(model: nn.Module) -> list[Affine]:
    """The convolutions and fully connected layers of the tree, first to last."""
    return [module for module in model.modules() if isinstance(module, Affine)]


def initialise(layers: Iterable[Affine], weight: Callable[[nn.Parameter], object], bias: float = 0.0) -> None:
    """Draw the weights with `weight` and set all elements of the biases to `bias`."""
    for layer in layers:
        weight(layer.weight)
        if layer.bias is not None:
            init.constant_(layer.bias, bias)
