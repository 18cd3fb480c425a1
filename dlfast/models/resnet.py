"""Residual networks. Source: He et al. 2016, "Deep residual learning for image recognition"."""

from __future__ import annotations

from collections.abc import Callable

from .. import _check as check
from .. import functional as F
from .. import init, nn
from ..tensor import ArrayLike, Tensor, as_tensor
from ._build import initialise, sizes

Shortcut = Callable[[int, int, int], nn.Module]  # (in_channels, out_channels, stride) -> what brings x to f(x)'s shape


class PadShortcut(nn.Module):
    """Every stride-th row and column of x (N, H, W, C), with zeros for the channels that are new: option A.

    It has no parameters. Source: He et al. 2016, section 3.3.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        self.more, self.stride = out_channels - in_channels, stride

    def forward(self, x: ArrayLike) -> Tensor:
        rows = slice(None, None, self.stride)
        return F.pad(as_tensor(x)[:, rows, rows], [(0, 0), (0, 0), (0, 0), (0, self.more)])

    def extra_repr(self) -> str:
        return f"more={self.more}, stride={self.stride}"


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """A strided 1 x 1 convolution and batch normalisation: option B. Source: He et al. 2016, section 3.3."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
    )


def basic_block(in_channels: int, out_channels: int, stride: int, shortcut: Shortcut) -> nn.Residual:
    """y = relu(s(x) + bn(conv(relu(bn(conv(x)))))), 3 x 3 convolutions, x (N, H, W, C), y (N, H/stride, W/stride, K).

    s is the identity where shapes allow it, else `shortcut`. Source: He et al. 2016, figure 5 left.
    """
    layers = {
        "conv1": nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        "bn1": nn.BatchNorm2d(out_channels),
        "relu": nn.ReLU(),
        "conv2": nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        "bn2": nn.BatchNorm2d(out_channels),
    }
    same = stride == 1 and in_channels == out_channels
    short = None if same else shortcut(in_channels, out_channels, stride)
    return nn.Residual(layers, shortcut=short, activation="relu")


def _resnet(
    stem: dict[str, nn.Module], widths: tuple[int, ...], blocks: int, shortcut: Shortcut, num_classes: int
) -> nn.Sequential:
    """The stem, one stage of blocks for each width (all but the first halve the image), mean over pixels, Linear."""
    layers, width = dict(stem), widths[0]
    for i, out in enumerate(widths):
        stage = [basic_block(width, out, 1 if i == 0 else 2, shortcut)]
        stage += [basic_block(out, out, 1, shortcut) for _ in range(blocks - 1)]
        layers[f"layer{i + 1}"] = nn.Sequential(*stage)
        width = out
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(width, num_classes)}
    model = nn.Sequential(layers)
    initialise((m for m in model.modules() if isinstance(m, nn.Conv2d)), init.he_normal_)
    return model


def resnet20(num_classes: int = 10, in_channels: int = 3, *, shortcut: str = "A") -> nn.Sequential:
    """ResNet-20 for CIFAR-10: images (N, 32, 32, in_channels), of other sizes too, -> logits (N, num_classes).

    A 3 x 3 convolution, three stages of three blocks with 16, 32 and 64 channels, the mean over all pixels, one Linear.
    shortcut, where the shape changes: "A", without parameters (269,722 parameters in all, batch normalisation
    included), as in the paper's experiments on CIFAR; or "B", projections (272,474).
    Convolutions have no bias and start normal with variance 2 / fan_in, as the paper says by reference to He et al.
    2015, section 2.2; batch normalisation at weight 1 and bias 0; the Linear as `nn.Linear` does.
    Source: He et al. 2016, section 4.2.
    """
    num_classes, in_channels = sizes("resnet20", num_classes, in_channels)
    kind = PadShortcut if check.choice("resnet20", "shortcut", shortcut, ("A", "B")) == "A" else projection
    stem = {
        "conv1": nn.Conv2d(in_channels, 16, 3, padding=1, bias=False),
        "bn1": nn.BatchNorm2d(16),
        "relu": nn.ReLU(),
    }
    return _resnet(stem, (16, 32, 64), 3, kind, num_classes)


def resnet18(num_classes: int = 1000, in_channels: int = 3) -> nn.Sequential:
    """ResNet-18 for ImageNet: images (N, 224, 224, in_channels), of other sizes too, -> logits (N, num_classes).

    A 7 x 7 convolution and max-pooling, each of stride 2, four stages of two blocks with 64, 128, 256 and 512 channels,
    projections where the shape changes (option B), the mean over all pixels, one Linear: 11,689,512 parameters.
    Initial values as in `resnet20`. Source: He et al. 2016, table 1 and section 3.4.
    """
    num_classes, in_channels = sizes("resnet18", num_classes, in_channels)
    stem = {
        "conv1": nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False),
        "bn1": nn.BatchNorm2d(64),
        "relu": nn.ReLU(),
        "maxpool": nn.MaxPool2d(3, stride=2, padding=1),
    }
    model = _resnet(stem, (64, 128, 256, 512), 2, projection, num_classes)
    model.torch_names = {"shortcut": "downsample"}  # for io.to_torch
    return model
