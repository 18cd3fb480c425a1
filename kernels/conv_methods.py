"""The algorithms of convolution: what each can do, and the measured rules by which `auto` chooses.

A convolution has three passes, "forward", "dx" and "dweight", each with an algorithm of its own.

| method | what it does | what it can do |
|---|---|---|
| im2col | gathers patches into a buffer in cache and multiplies | everything |
| direct | reads the image where it lies, gathers nothing | everything by `lists`, else no groups, no dilated rows |
| winograd | a quarter to a third of the multiplications | 3 x 3, 4 x 4, 5 x 5, no dilation, no groups |
| pointwise | one matrix product | 1 x 1, stride 1, no padding, no groups |
| depthwise | lets the channels be the lanes of the registers | one channel a group; by `grouped`, groups of any |

Winograd's F(4x4, 3x3), F(3x3, 4x4) and F(2x2, 5x5) make tiles of so many outputs from 6 x 6 pixels. A convolution with
a stride becomes one without, of smaller kernels over more channels: the phases of the image (`phases`). So 11 x 11 with
stride 4 on 3 channels is 3 x 3 on 48.

Rounding errors of all three come from the points 0, 1, -1, 2, -2 and infinity that they share: the transforms add
numbers of mixed size. They are up to about six times those of a direct sum in float32 in y and dx, 25 times in dweight;
|error| <= 64 eps max|x| max over k of sum|w| in y, and likewise in the gradients (tests/test_winograd.py).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from .geometry import conv_output_size

if TYPE_CHECKING:
    from .conv_on_device import OnDevice

METHODS = ("im2col", "direct", "winograd", "pointwise", "depthwise")
AUTOMATIC = ("auto", "exact")  # "exact" leaves out Winograd, the one method that gives up accuracy

FEW_CHANNELS = 8  # of the image: below this gathering costs more than multiplying
WINOGRAD_TILES = {3: 4, 4: 3, 5: 2}  # taps of a kernel -> outputs of a tile, along one axis
WINOGRAD_PRODUCTS = 36  # of a tile, for each input and output channel
WINOGRAD_CHANNELS = 32  # of image and output together: below this the transforms cost more than they save
WINOGRAD_KERNELS = {"forward": 7, "dx": 16, "dweight": 8}  # tiles that take as long as transforming the kernels
WINOGRAD_SAVING = 1.4  # times fewer multiplications, these included, from which on it is faster than im2col
WINOGRAD_TRANSFORMS = 16  # multiplications at each point that take as long as transforming a channel
WINOGRAD_OVER_DIRECT = 0.9  # times fewer multiplications, these included too, from which on it is faster than direct
DEPTHWISE_CHANNELS = 16  # a register of float32 on any CPU
LANES = 8  # of groups' outputs in a register; measured with AVX2, and all that follows
SHUFFLE, GATHER = 11, 40  # multiply-adds of a register that take as long as spreading one over the lanes
DWEIGHT_STEP, DWEIGHT_ROW = 2, 12  # those of one of dweight, and of a row of it
PRODUCT, PRODUCT_EACH = 30, 0.13  # those of the product of a group at one tap, and more for each number of it
TILE = 40  # those of a pixel of the direct tile, beside its products
SPREAD_BYTES = 1 << 20  # as DIRECT_BYTES, of a row that is spread over the lanes
MOST_STRIDE = 1024  # of direct and depthwise, which have a table entry for each phase of the image
DIRECT_BYTES = 1 << 24  # of the padded rows that direct copies for one row of outputs: no cache holds more


class Geometry(NamedTuple):
    """Everything about a convolution but its arrays: padding is (top, bottom, left, right)."""

    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int


class Abilities(NamedTuple):
    """What a backend's convolutions can do; each backend's `conv` says so of itself.

    only_3x3: Winograd's method for kernels of 3 x 3 with stride 1 only. pooled: the methods that do max-pooling on the
    way and write no pixel between; averaged: those that read the windows of average-pooling from cache. scatters: a
    transposed convolution of few outputs by a method of its own. lists: the passes in which the direct method reads the
    image by a list of runs: it takes everything then, and is the general case instead of im2col. grouped:
    depthwise takes groups of any channels, whose outputs are lanes across groups. on_device: of kernels for arrays on a
    device, whose methods are those of `conv_on_device`.
    """

    methods: tuple[str, ...] = METHODS
    only_3x3: bool = False
    pooled: tuple[str, ...] = ()
    averaged: tuple[str, ...] = ()
    scatters: bool = False
    lists: tuple[str, ...] = ()
    grouped: bool = False
    on_device: OnDevice | None = None


PLAIN, ANY = Abilities(("im2col",)), Abilities()  # nothing but the classic; every method, in its usual extent


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


def phases(kernel, stride) -> tuple[int, int, int]:
    """Rows, columns and channels of the kernels of the convolution without stride that does the same.

    Pixels (i sh + a, j sw + b) of an image are its phase (a, b); each becomes a channel of its own.
    """
    return -(-kernel[1] // stride[0]), -(-kernel[2] // stride[1]), math.prod(stride) * kernel[3]


def unfit(method: str, passing: str, kernel, geometry: Geometry, able: Abilities = ANY) -> str | None:
    """Why `method` cannot do this pass in such a backend (kernel: the shape of the weight), None where it can."""
    k, r, s, c = kernel
    stride, padding, dilation, groups = geometry
    if method == "direct" and passing not in able.lists and (groups > 1 or (dilation[1] > 1 and s > 1)):
        return "takes no groups and no dilation along a row"
    if method == "winograd" and (why := _unfit_winograd(kernel, geometry, able.only_3x3)):
        return why
    if method == "pointwise" and not ((r, s) == (1, 1) and stride == (1, 1) and not any(padding) and groups == 1):
        return "needs a 1 x 1 kernel with stride 1, no padding and groups 1"
    if method == "depthwise" and able.grouped:
        return "needs groups" if groups == 1 else None
    if method == "depthwise" and not _alone(kernel, groups):
        return f"needs one channel a group, as many outputs, and at least {DEPTHWISE_CHANNELS} of them"
    return None


def _alone(kernel, groups: int) -> bool:
    """Whether the channels, as they lie, are lanes of whole registers."""
    return kernel[3] == 1 and kernel[0] == groups >= DEPTHWISE_CHANNELS


def lanes_across_groups(passing: str, image, kernel, geometry: Geometry) -> float:
    """What depthwise does for groups: multiply-adds of registers, and what spreading a row over lanes costs in those.

    Every register of outputs reads `each` numbers of a pixel, lane by lane those of its groups: by one shuffle where
    they lie within a register.
    """
    _, p, q, outputs = output_shape(image, kernel, geometry)
    (sh, sw), (dh, dw), each, taps = geometry.stride, geometry.dilation, kernel[3], kernel[1] * kernel[2]
    rows, columns = (p - 1) * sh + (kernel[1] - 1) * dh + 1, (q - 1) * sw + (kernel[2] - 1) * dw + 1
    points, spread = p * q * taps, rows * columns
    if passing == "dx":  # every phase of pixels spreads dz
        spread = (image[1] + kernel[1] * dh) * (image[2] + kernel[2] * dw)
        points, outputs, each = image[1] * image[2] * taps / (sh * sw), image[3], kernel[0] // geometry.groups
    if passing == "dweight":
        points *= DWEIGHT_STEP + DWEIGHT_ROW / max(1, q)
    reads = -(-LANES // max(1, outputs // geometry.groups)) * each
    return -(-outputs // LANES) * each * (points + spread * (SHUFFLE if reads <= LANES else GATHER))


def groups_apart(passing: str, image, kernel, geometry: Geometry) -> float:
    """The same of the method that takes one group after the other: direct, and im2col for the weights."""
    _, p, q, outputs = output_shape(image, kernel, geometry)
    outputs, channels, taps, groups = outputs // geometry.groups, kernel[3], kernel[1] * kernel[2], geometry.groups
    if passing == "dweight":
        return groups * p * q * taps * (PRODUCT + channels * outputs * PRODUCT_EACH)
    if passing == "dx":
        taps, p, q = taps / math.prod(geometry.stride), image[1], image[2]
        outputs, channels = channels, outputs
    return groups * -(-outputs // LANES) * p * q * (taps * channels + TILE)


def _unfit_winograd(kernel, geometry: Geometry, only_3x3: bool) -> str | None:
    rows, columns, _ = phases(kernel, geometry.stride)
    plain = geometry.dilation == (1, 1) and geometry.groups == 1
    if only_3x3 and not (plain and kernel[1:3] == (3, 3) and geometry.stride == (1, 1)):
        return "needs a 3 x 3 kernel with stride 1, dilation 1 and groups 1"
    if not (plain and rows == columns and rows in WINOGRAD_TILES):
        return "needs a kernel of 3, 4 or 5 strides a side (rounded up), dilation 1 and groups 1"
    return None


def _too_far(method: str, image, kernel, geometry: Geometry) -> str | None:
    """Why `method` is none for windows so far apart, though it could; im2col reads them where they lie."""
    if method in ("direct", "depthwise") and math.prod(geometry.stride) > MOST_STRIDE:
        return f"takes no strides with a product of more than {MOST_STRIDE}"
    if method == "depthwise" and kernel[0] != geometry.groups and direct_bytes(image, kernel, geometry) > SPREAD_BYTES:
        return "takes no rows as far apart as these, with as much padding"
    if method == "direct" and direct_bytes(image, kernel, geometry) > DIRECT_BYTES:
        return "takes no rows as far apart as these, with as much padding"
    return None


def direct_bytes(image, kernel, geometry: Geometry, rows: int = 1) -> int:
    """Bytes, at most, of the padded rows of the image under `rows` rows of outputs."""
    columns = (output_shape(image, kernel, geometry)[2] - 1) * geometry.stride[1] + kernel[2]
    lines = (rows - 1) * geometry.stride[0] + (kernel[1] - 1) * geometry.dilation[0] + 1
    return 8 * lines * columns * kernel[3]


@lru_cache(maxsize=1024)
def choose(
    passing: str,
    image,
    kernel,
    geometry: Geometry,
    method: str = "auto",
    able: Abilities = ANY,
) -> Choice:
    """The method for one pass over an image of this shape, in such a backend."""
    if method not in AUTOMATIC:
        why = unfit(method, passing, kernel, geometry, able) or _too_far(method, image, kernel, geometry)
        return Choice(method, "asked for") if why is None else Choice("im2col", f"{method} {why}")
    for name in ("pointwise", "depthwise"):
        if unfit(name, passing, kernel, geometry) is None and not _too_far(name, image, kernel, geometry):
            return Choice(name, "a 1 x 1 kernel" if name == "pointwise" else "one channel a group")
    if able.grouped and geometry.groups > 1 and not _too_far("depthwise", image, kernel, geometry):
        ways = lanes_across_groups, groups_apart
        across, apart = (way(passing, image, kernel, geometry) for way in ways)
        if across < apart:
            return Choice("depthwise", f"{geometry.groups} groups of few channels")
    far = _too_far("direct", image, kernel, geometry)
    direct = far is None and unfit("direct", passing, kernel, geometry, able) is None
    if kernel[3] < FEW_CHANNELS and direct:
        other = Choice("direct", f"{kernel[3]} channels: gathering would cost more than multiplying")
    else:
        general = "direct" if direct and passing in able.lists else "im2col"
        other = Choice(general, "the general case" if method == "auto" else "the general case, exact")
    if method == "exact" or unfit("winograd", passing, kernel, geometry, able):
        return other
    return _winograd_or(other, passing, image, kernel, geometry)


def _winograd_or(other: Choice, passing: str, image, kernel, geometry: Geometry) -> Choice:
    """Winograd's method where it is faster than the other, by the multiplications it saves and its transforms cost."""
    taps, _, channels = phases(kernel, geometry.stride)
    outputs, side = kernel[0], WINOGRAD_TILES[taps]
    if min(channels, outputs) < FEW_CHANNELS or channels + outputs < WINOGRAD_CHANNELS:
        few = Choice(other.method, f"{channels} and {outputs} channels are few for Winograd's transforms")
        return other if kernel[3] < FEW_CHANNELS else few
    pixels, tiles = math.prod(output_shape(image, kernel, geometry)[:3]), _tiles(passing, image, kernel, geometry)
    saving = pixels * math.prod(kernel[1:]) / (WINOGRAD_PRODUCTS * channels * (tiles + WINOGRAD_KERNELS[passing]))
    if other.method == "direct" and kernel[3] < FEW_CHANNELS:
        transforms = WINOGRAD_TRANSFORMS * (channels + outputs) / (channels * outputs)
        if saving < WINOGRAD_OVER_DIRECT * (1 + transforms):
            return other
    elif saving < WINOGRAD_SAVING:
        why = f"{tiles} tiles of {side} x {side} for {pixels} pixels would not pay for their transforms"
        return Choice(other.method, why)
    phased = "" if geometry.stride == (1, 1) else f", {channels} channels of phases"
    return Choice("winograd", f"F({side}x{side}, {taps}x{taps}){phased}: {saving:.1f} times fewer multiplications")


def _tiles(passing: str, image, kernel, geometry: Geometry) -> int:
    """How many tiles cover y or dz, or for dx the image or its phases."""
    _, *size, _ = output_shape(image, kernel, geometry)
    taps = phases(kernel, geometry.stride)[0]
    if passing == "dx":
        size = image[1:3] if geometry.stride == (1, 1) else [points + taps - 1 for points in size]
    return image[0] * math.prod(-(-points // WINOGRAD_TILES[taps]) for points in size)
