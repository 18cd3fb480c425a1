"""The algorithms of convolution: what each can do, and the measured rules by which `auto` chooses.

A convolution has three passes, "forward", "dx" and "dweight", each with an algorithm of its own.

| method | what it does | what it can do |
|---|---|---|
| im2col | gathers patches into a buffer in cache and multiplies | everything |
| direct | multiplies an overlapping view of the image, gathers nothing | no groups, no dilation along a row |
| winograd | F(4x4, 3x3): a quarter of the multiplications | 3 x 3, stride 1, no dilation, no groups |
| pointwise | one matrix product | 1 x 1, stride 1, no padding, no groups |
| depthwise | lets the channels be the lanes of the registers | one channel a group |
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from .geometry import conv_output_size

METHODS = ("im2col", "direct", "winograd", "pointwise", "depthwise")
AUTOMATIC = ("auto", "exact")  # "exact" leaves out Winograd, the one method that gives up accuracy

FEW_CHANNELS = 8  # of the image: below this gathering costs more than multiplying
WINOGRAD_CHANNELS = 32  # of image and output together: below this the transforms cost more than they save
WINOGRAD_KERNELS = {"forward": 16, "dx": 16, "dweight": 8}  # tiles that take as long as transforming the kernels
WINOGRAD_SAVING = 1.4  # times fewer multiplications, these included, from which on it is faster
DEPTHWISE_CHANNELS = 16  # a register of float32 on any CPU


class Geometry(NamedTuple):
    """Everything about a convolution but its arrays: padding is (top, bottom, left, right)."""

    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int


def geometry_of(options) -> Geometry:
    """The geometry among the options of a convolution."""
    return Geometry(*(options[name] for name in Geometry._fields))


class Choice(NamedTuple):
    """A method and, in words, why."""

    method: str
    why: str


def output_shape(image, kernel, geometry: Geometry) -> tuple[int, int, int, int]:
    """(N, P, Q, K) for an image (N, H, W, C) and a weight (K, R, S, C/groups)."""
    top, bottom, left, right = geometry.padding
    p = conv_output_size(image[1], kernel[1], geometry.stride[0], top, bottom, geometry.dilation[0])
    q = conv_output_size(image[2], kernel[2], geometry.stride[1], left, right, geometry.dilation[1])
    return image[0], p, q, kernel[0]


def unfit(method: str, passing: str, kernel, geometry: Geometry) -> str | None:
    """Why `method` cannot do this pass (kernel: the shape of the weight), None where it can."""
    k, r, s, c = kernel
    stride, padding, dilation, groups = geometry
    if method == "direct" and (groups > 1 or (dilation[1] > 1 and s > 1)):
        return "takes no groups and no dilation along a row"
    if method == "winograd" and not ((r, s) == (3, 3) and stride == (1, 1) and dilation == (1, 1) and groups == 1):
        return "needs a 3 x 3 kernel with stride 1, dilation 1 and groups 1"
    if method == "pointwise" and not ((r, s) == (1, 1) and stride == (1, 1) and not any(padding) and groups == 1):
        return "needs a 1 x 1 kernel with stride 1, no padding and groups 1"
    if method == "depthwise" and not (c == 1 and k == groups and k >= DEPTHWISE_CHANNELS):
        return f"needs one channel a group, as many outputs, and at least {DEPTHWISE_CHANNELS} of them"
    return None


@lru_cache(maxsize=1024)
def choose(passing: str, image, kernel, geometry: Geometry, method: str = "auto") -> Choice:
    """The method for one pass over an image of this shape."""
    if method not in AUTOMATIC:
        why = unfit(method, passing, kernel, geometry)
        return Choice(method, "asked for") if why is None else Choice("im2col", f"{method} {why}")
    for name in ("pointwise", "depthwise"):
        if unfit(name, passing, kernel, geometry) is None:
            return Choice(name, "a 1 x 1 kernel" if name == "pointwise" else "one channel a group")
    channels, outputs = kernel[3], kernel[0]
    if channels < FEW_CHANNELS and unfit("direct", passing, kernel, geometry) is None:
        return Choice("direct", f"{channels} channels: gathering would cost more than multiplying")
    if unfit("winograd", passing, kernel, geometry) is None and method == "auto":
        return _winograd_or_im2col(passing, output_shape(image, kernel, geometry), channels, outputs)
    return Choice("im2col", "the general case" if method == "auto" else "the general case, exact")


@lru_cache(maxsize=1024)
def method_of(passing: str, image, kernel, geometry: tuple, method: str) -> str:
    """The method alone; `geometry` may be a plain tuple of the fields of Geometry, which is cheaper to make."""
    return choose(passing, image, kernel, Geometry(*geometry), method).method


def _winograd_or_im2col(passing: str, output: tuple, channels: int, outputs: int) -> Choice:
    if min(channels, outputs) < FEW_CHANNELS or channels + outputs < WINOGRAD_CHANNELS:
        return Choice("im2col", f"{channels} and {outputs} channels are few for Winograd's transforms")
    pixels, tiles = math.prod(output[:3]), output[0] * -(-output[1] // 4) * -(-output[2] // 4)
    if 9 * pixels < WINOGRAD_SAVING * 36 * (tiles + WINOGRAD_KERNELS[passing]):
        return Choice("im2col", f"{tiles} tiles of 4 x 4 for {pixels} pixels would not pay for their transforms")
    return Choice("winograd", "3 x 3 with stride 1 and enough channels")


@lru_cache(maxsize=1024)
def pooling_pays(image, kernel, geometry: Geometry, pool_size, method: str = "auto") -> bool:
    """Whether convolution and max-pooling (windows side by side) are best computed at once.

    That saves writing and reading the convolution's output, which is large against its arithmetic where the image has
    few channels: there the direct method computes it row by row of windows, forward and for the weights. Winograd's
    tiles hold whole windows of 2 x 2, forward and for both gradients.
    """
    shape = output_shape(image, kernel, geometry)
    if shape[1] < pool_size[0] or shape[2] < pool_size[1]:
        return False
    methods = [choose(passing, image, kernel, geometry, method).method for passing in ("forward", "dweight", "dx")]
    return methods[:2] == ["direct"] * 2 or (methods == ["winograd"] * 3 and pool_size == (2, 2))
