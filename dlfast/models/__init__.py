"""Models by name, as functions that build them: perceptrons, the convolutional networks of the papers, recurrent
networks over sequences, and language models.

Images are channels last, (N, H, W, C); the last layer gives logits, to which `functional.cross_entropy` applies the
softmax. `num_classes` and `in_channels` come first everywhere. The parameters of `alexnet`, `vgg11` and `resnet18` have
torchvision's names (but its `downsample` is `shortcut` here), in channels-last layouts: see `io.from_torch`.

Language models take codes of characters (B, T) to logits (B, T, V) of the characters that follow; `generate` writes
text with them.
"""

import typing as _typing

from .._suggest import missing as _missing
from .basic import demo_cnn, mlp, perceptron
from .classic import alexnet, lenet5, notes_cnn, small_vgg, vgg11
from .generation import generate
from .gpt import gpt
from .language import char_gru, char_lstm
from .resnet import resnet18, resnet20
from .sequence import forecaster, sequence_net

__all__ = [
    "alexnet",
    "char_gru",
    "char_lstm",
    "demo_cnn",
    "forecaster",
    "generate",
    "gpt",
    "lenet5",
    "mlp",
    "notes_cnn",
    "perceptron",
    "resnet18",
    "resnet20",
    "sequence_net",
    "small_vgg",
    "vgg11",
]

if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
