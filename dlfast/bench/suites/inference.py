"""Inference on one image: the forward pass in evaluation mode with nothing recorded."""

from __future__ import annotations

from functools import partial

from ... import models
from ..networks import Inference
from ..rows import BEST, Group, Row


def forward(name: str, target: float, model, *shape: int) -> Row:
    """A row: the logits of a batch of that shape."""
    return Row(name, partial(Inference.drawn, model, shape), targets={BEST: target})


GROUPS = [
    Group(
        "inference, batch 1",
        [
            forward("LeNet-5 28x28x1", 5.0, models.lenet5, 1, 28, 28, 1),
            forward("ResNet-20 32x32x3", 3.0, models.resnet20, 1, 32, 32, 3),
            forward("ResNet-18 224x224x3", 1.5, models.resnet18, 1, 224, 224, 3),
        ],
    )
]
