"""Transforms of batches of images (N, H, W, C): augmentation, and the scale of the values.

A transform is called as ``y = t(x, generator)`` and gives a new array; x is never changed. Random ones draw from the
NumPy generator that they are given, by default dlfast's own (`dlfast.manual_seed`): the same seed gives the same bits.
Each image of a batch gets numbers of its own. Names and arguments are torchvision's where torchvision has the thing;
images are float32, float64 or uint8, and keep their dtype but where a docstring says otherwise.

``train.fit(..., augment=t)`` transforms every training batch; `dlfast.data.Transformed` is a data set seen through one.
"""

from ._base import Compose, Lambda, Transform
from .affine import RandomAffine, RandomRotation
from .colour import ColorJitter, Normalize, Standardize, ToFloat
from .erasing import Cutout, RandomErasing
from .placing import RandomCrop, RandomHorizontalFlip, RandomVerticalFlip

__all__ = [
    "ColorJitter",
    "Compose",
    "Cutout",
    "Lambda",
    "Normalize",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomVerticalFlip",
    "Standardize",
    "ToFloat",
    "Transform",
]
