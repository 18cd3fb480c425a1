"""The algorithms of convolution on a device, and which one `auto` takes; those of the CPU stand in `conv_methods`.

| method | what it does | what it needs |
|---|---|---|
| implicit | tiles of a matrix product that fetch their numbers where the windows have them | nothing |
| im2col | writes the windows as a matrix and multiplies; a 1 x 1 kernel multiplies the image itself | memory for it |
| cudnn | NVIDIA's cuDNN, by a plan that its heuristics choose | cuDNN, a padding alike on both sides |
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .conv_methods import Choice, Geometry

DEVICE_METHODS = ("implicit", "im2col", "cudnn")


class OnDevice(NamedTuple):
    """What there is besides our own kernels, for arrays of one dtype.

    no_cudnn: why cuDNN cannot be used, empty where it can. cublas: whether products are cuBLASLt's. tensor_cores:
    whether these multiply by tensor cores, as halves and TF32.
    """

    no_cudnn: str
    cublas: bool
    tensor_cores: bool


def is_product(kernel, geometry: Geometry) -> bool:
    """Whether the image itself is the matrix of windows."""
    plain = geometry.stride == (1, 1) and not any(geometry.padding) and geometry.groups == 1
    return plain and kernel[1:3] == (1, 1)


def unfit_on_device(method: str, image, kernel, geometry: Geometry, able: OnDevice) -> str | None:
    """Why `method` cannot do this convolution, None where it can."""
    if method != "cudnn":
        return None
    if able.no_cudnn:
        return f"cannot be used: {able.no_cudnn}"
    top, bottom, left, right = geometry.padding
    if (top, left) != (bottom, right):
        return "needs as much padding above as below and on the left as on the right"
    if not math.prod(image) or not math.prod(kernel):
        return "takes no empty arrays"
    return None


def choose_on_device(image, kernel, geometry: Geometry, method: str, able: OnDevice) -> Choice:
    """The method of all passes; "auto" and what the device has not leave the choice."""
    if method in DEVICE_METHODS and unfit_on_device(method, image, kernel, geometry, able) is None:
        return Choice(method, "asked for")
    no_cudnn = unfit_on_device("cudnn", image, kernel, geometry, able)
    if no_cudnn is None:
        return Choice("cudnn", "cuDNN is installed")
    because = f"cudnn {no_cudnn}"
    if geometry.groups == image[3] > 1:
        return Choice("implicit", f"one channel a group, by kernels of their own; {because}")
    if is_product(kernel, geometry):
        return Choice("im2col", f"a 1 x 1 kernel is a product with the image; {because}")
    if able.cublas and able.tensor_cores and geometry.groups == 1:
        return Choice("im2col", f"cuBLASLt multiplies by tensor cores; {because}")
    return Choice("implicit", because)
