"""A 1 x 1 convolution with stride 1 is a matrix product: pixels (N H W, C) times weights (K, C)."""

from __future__ import annotations

import numpy as np

from ..conv_methods import Geometry
from .gemm import bias_gradient, gemm


def forward(x, weight, bias, relu, geometry: Geometry) -> np.ndarray:
    """y = act(x W^T + b)."""
    y = gemm(_rows(x), _matrix(weight), trans_b=True, bias=bias, relu=relu)
    return y.reshape(*x.shape[:3], weight.shape[0])


def input_gradient(dz, weight, shape, geometry: Geometry) -> np.ndarray:
    """dx = dz W."""
    return gemm(_rows(dz), _matrix(weight)).reshape(shape)


def weight_gradient(dz, x, shape, geometry: Geometry, with_bias: bool):
    """dweight = dz^T x and, where wanted, dbias."""
    return gemm(_rows(dz), _rows(x), trans_a=True).reshape(shape), bias_gradient(dz, with_bias)


def _rows(image) -> np.ndarray:
    return image.reshape(-1, image.shape[3])


def _matrix(weight) -> np.ndarray:
    return weight.reshape(weight.shape[0], weight.shape[3])
