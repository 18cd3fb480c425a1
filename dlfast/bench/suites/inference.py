"""Inference: the forward pass in evaluation mode with nothing recorded, beside PyTorch and ONNX Runtime."""

from __future__ import annotations

from functools import partial
from typing import Any

from ... import models
from ..networks import Inference
from ..rows import BEST, Group, Row

NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "MLP 784-128-64-10": (partial(models.mlp, 784, 128, 64, 10), (784,)),
    "LeNet-5 28x28x1": (models.lenet5, (28, 28, 1)),
    "ResNet-20 32x32x3": (models.resnet20, (32, 32, 3)),
    "VGG-11 with batch norm 32x32x3": (partial(models.vgg11, 10, image_size=32, batch_norm=True), (32, 32, 3)),
    "ResNet-18 224x224x3": (models.resnet18, (224, 224, 3)),
}
LARGE = "ResNet-18 224x224x3"  # 64 images would take seconds a call and say nothing that 8 do not


def rows(batch: int) -> list[Row]:
    """The logits of a batch of that size."""
    return [
        Row(name, partial(Inference.drawn, model, (batch, *shape)), targets={BEST: 1.0})
        for name, (model, shape) in NETWORKS.items()
        if batch < 64 or name != LARGE
    ]


GROUPS = [Group(f"inference, batch {batch}", rows(batch)) for batch in (1, 8, 64)]
