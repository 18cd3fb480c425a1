"""Whole training steps: forward, cross-entropy, backward and Adam (PyTorch's fused) on networks of many sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ... import models, nn
from ..networks import WINDOWS, Training
from ..rows import BEST, Group, Row

TOLERANCE = 1e-3  # of gradients that come through many layers
# Batch normalisation carries a value that rounding puts on the other side of ReLU's kink into all gradients: PyTorch's
# two layouts differ by as much, while on two images, where no value is so near the kink, all agree to 1e-5.
KINKS = 0.2
DEEP = 0.1  # five poolings behind one another: with AVX-512, PyTorch's own gradients are 0.025 from the reference's


def network(model: Callable[[], nn.Module], name: str, *shape: int, classes: int = 10, tolerance: float = TOLERANCE):
    """A function (batch, target) -> Row that trains the network on inputs of that shape."""

    def row(batch: int, target: float) -> Row:
        work = partial(Training.drawn, model, (batch, *shape), classes)
        return Row(f"{name}, batch {batch}", work, targets={BEST: target}, tolerance=tolerance)

    return row


mlp = network(partial(models.mlp, 784, 128, 64, 10), "MLP 784-128-64-10", 784)
small_mlp = network(partial(models.mlp, 4, 32, 16, 4), "MLP 4-32-16-4", 4, classes=4)
lenet = network(models.lenet5, "LeNet-5", 28, 28, 1)
demo = network(models.demo_cnn, "demo CNN", 28, 28, 1, tolerance=WINDOWS)
resnet = network(models.resnet20, "ResNet-20 32x32x3", 32, 32, 3, tolerance=KINKS)
notes = network(models.notes_cnn, "notes_cnn 224x224x3", 224, 224, 3, classes=1000, tolerance=WINDOWS)
vgg = network(partial(models.vgg11, 10, image_size=32), "VGG-11 32x32x3", 32, 32, 3, tolerance=DEEP)

PERCEPTRONS = [mlp(1, 8.0), mlp(32, 4.0), mlp(128, 2.5), small_mlp(1, 15.0), small_mlp(128, 10.0)]
CNNS = [lenet(1, 6.0), lenet(32, 5.0), lenet(128, 5.0), demo(64, 2.5), resnet(32, 2.0), notes(2, 2.0), vgg(32, 2.0)]
GROUPS = [Group("training step, perceptrons", PERCEPTRONS), Group("training step, CNNs", CNNS)]
