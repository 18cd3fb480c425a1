"""Convolution: forward and backward with the gradients of weights, bias and image, batches of images and single ones.

The image's gradient is left out in first layers (1 or 3 channels), which need none in training.
"""

from __future__ import annotations

from functools import partial

from ... import functional as F
from ...kernels.geometry import conv_output_size
from ..rows import BEST, Group, Operation, Row, traffic


def conv(target, batch, size, channels, kernels, kernel, *, stride=1, padding=0, groups=1) -> Row:
    """A row: images (batch, size, size, channels), kernels (kernels, kernel, kernel, channels / groups) and a bias.

    target: a ratio to the fastest peer, or ratios by peer.
    """
    out = conv_output_size(size, kernel, stride, padding, padding, 1)
    shapes = [(batch, size, size, channels), (kernels, kernel, kernel, channels // groups), (kernels,)]
    needs, output = (channels > 3, True, True), (batch, out, out, kernels)
    options = {"stride": stride, "padding": padding, "groups": groups}
    products = 2.0 * batch * out * out * kernels * kernel * kernel * channels // groups
    kind = f"depthwise {kernel}x{kernel}" if groups > 1 else f"{kernel}x{kernel}"
    name = f"{kind}{f' stride {stride}' if stride > 1 else ''}, {batch}x{size}x{size}x{channels} to {kernels}"
    return Row(
        name if needs[0] else f"{name}, no dx",
        partial(Operation, shapes, needs, output, partial(F.conv2d, **options), partial(_pytorch, options)),
        flops=products * (1 + sum(needs[:2])),
        bytes=traffic(shapes, needs, output),
        targets={BEST: target} if isinstance(target, float) else target,
    )


def _pytorch(options, torch, x, weight, bias):
    return torch.nn.functional.conv2d(x, weight, bias, **options)


SHAPES = [
    # target, batch, size, channels, kernels, kernel size
    ((2.0, 8, 56, 64, 64, 3), {"padding": 1}),
    ((2.0, 8, 28, 128, 128, 3), {"padding": 1}),
    ((2.0, 8, 14, 256, 256, 3), {"padding": 1}),
    ((2.0, 8, 7, 512, 512, 3), {"padding": 1}),
    ((2.0, 64, 14, 32, 64, 3), {"padding": 1}),
    ((2.0, 64, 8, 64, 64, 3), {"padding": 1}),
    ((2.5, 8, 224, 3, 32, 3), {}),
    ((2.5, 8, 224, 3, 64, 7), {"stride": 2, "padding": 3}),
    ((2.5, 8, 224, 3, 64, 11), {"stride": 4, "padding": 2}),
    ((2.5, 64, 28, 1, 32, 3), {"padding": 1}),
    ((1.2, 8, 27, 64, 192, 5), {"padding": 2}),
    ((1.2, 8, 14, 256, 1024, 1), {}),
    ((1.2, 8, 56, 64, 128, 3), {"stride": 2, "padding": 1}),
    ((1.2, 64, 32, 16, 16, 3), {"padding": 1}),
    (({"PyTorch NHWC": 1.6, "PyTorch NCHW": 8.0}, 8, 56, 128, 128, 3), {"padding": 1, "groups": 128}),
]
GROUPS = [
    Group("convolution", [conv(*row, **options) for row, options in SHAPES], mean=2.2),
    Group("convolution, batch 1", [conv(None, 1, *row[2:], **options) for row, options in SHAPES], mean=1.5),
]
