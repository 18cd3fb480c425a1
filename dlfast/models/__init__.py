"""Models by name, as functions that build them: perceptrons, and the convolutional networks of the papers.

Images are channels last, (N, H, W, C); the last layer gives logits, to which `functional.cross_entropy` applies the
softmax. `num_classes` and `in_channels` come first everywhere. The parameters of `alexnet`, `vgg11` and `resnet18` have
torchvision's names (but its `downsample` is `shortcut` here), in channels-last layouts.
"""

import typing as _typing

from .._suggest import missing as _missing
from .basic import demo_cnn, mlp, perceptron
from .classic import alexnet, lenet5, notes_cnn, vgg11
from .resnet import resnet18, resnet20

__all__ = [
    "alexnet",
    "demo_cnn",
    "lenet5",
    "mlp",
    "notes_cnn",
    "perceptron",
    "resnet18",
    "resnet20",
    "vgg11",
]

if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
